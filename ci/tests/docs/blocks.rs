//! The generated blocks of the documentation.

use std::fmt;
use std::fs;
use std::path::Path;

use indicatif::HumanCount;
use octopod::boot::command_line::{Named, TraceLevel};
use octopod::faults::Fault;
use octopod::options::Options;
use octopod::selftest::Part;
use octopod::stress::allocators::Allocator;
use octopod::stress::heap::Heap;
use octopod::stress::subject::SubjectKind;
use octopod::stress::workloads::Workload;
use octopod::wire::{BootStage, StagesUs};
use octopod_ci::base::verdict::STATUSES;
use octopod_ci::commands::cli;
use octopod_ci::commands::soak::Soak;
use octopod_ci::report::descriptions;
use strum::VariantArray;

use super::table::{ANY, HOOKS, LAUNCHER_LAYERS, LAYERS};

/// The names of all blocks.
pub(crate) const NAMES: [&str; 25] = [
    "template-kernel",
    "allocators",
    "ap-stages",
    "boot-path",
    "boot-path-table",
    "boot-protocols",
    "commands",
    "costs",
    "exit-status",
    "faults",
    "heap-workloads",
    "heaps",
    "hooks",
    "launcher-layers",
    "launcher-layers-table",
    "layers",
    "layers-table",
    "options",
    "parameters",
    "ratios",
    "scheduler-workloads",
    "selftest-parts",
    "soaks",
    "trace-levels",
    "workloads",
];

/// A first sentence of fewer bytes is followed by the next one.
const SHORT_HEAD: usize = 40;

/// What rt0 does, which is no stage of `src/wire/stage.rs`.
const RT0: &str = "32-bit code checks the image and the processor, chooses the kernel's address, and builds early page tables.";

/// The text of a block; `None` if there is no block of that name.
pub(crate) fn generate(root: &Path, name: &str) -> Option<String> {
    let named = |name: &'static str, summary: &str| vec![code(name), summary.trim().to_owned()];
    Some(match name {
        "workloads" => table(
            &["workload", "what it does"],
            <&Workload>::all()
                .iter()
                .filter(|one| one.kind() == SubjectKind::Frames)
                .map(|one| named(one.name, one.summary)),
        ),
        "heap-workloads" => table(
            &["workload", "what it does"],
            <&Workload>::all().iter().filter(|one| one.is_of_heaps()).map(|one| named(one.name, one.summary)),
        ),
        "scheduler-workloads" => table(
            &["workload", "what it does"],
            <&Workload>::all()
                .iter()
                .filter(|one| one.kind() == SubjectKind::Scheduler)
                .map(|one| named(one.name, one.summary)),
        ),
        "heaps" => {
            table(&["heap", "what it is"], <&Heap>::all().iter().map(|one| named(one.name, one.summary)))
        }
        "allocators" => table(
            &["allocator", "what it is"],
            <&Allocator>::all().iter().map(|one| named(one.name, one.summary)),
        ),
        "selftest-parts" => {
            table(&["part", "what it checks"], <&Part>::all().iter().map(|one| named(one.name, one.summary)))
        }
        "faults" => {
            table(&["fault", "what happens"], Fault::all().iter().map(|one| named(one.name(), one.summary())))
        }
        "soaks" => soaks(),
        "trace-levels" => table(
            &["`trace=`", "which events are recorded"],
            TraceLevel::all().iter().map(|one| named(one.name(), one.summary())),
        ),
        "parameters" => parameters(),
        "boot-path" => boot_path(root),
        "boot-path-table" => {
            let row =
                |(stage, what, result): (String, String, String)| vec![code(&stage), what, coded(&result)];
            table(&["stage", "what", "result"], stages(root).into_iter().map(row))
        }
        "ap-stages" => table(
            &["stage", "what happens"],
            StagesUs::default().in_order().map(|(name, _)| {
                vec![code(name), descriptions::cpu_stage(name).unwrap_or_default().to_owned()]
            }),
        ),
        "layers" => layers(root, "src", LAYERS),
        "launcher-layers" => layers(root, "ci/src", LAUNCHER_LAYERS),
        "layers-table" => layers_table(),
        "launcher-layers-table" => launcher_layers_table(root),
        "hooks" => hooks(),
        "commands" => commands(),
        "options" => options(),
        "boot-protocols" => boot_protocols(),
        "exit-status" => table(
            &["status", "meaning"],
            STATUSES.iter().map(|(status, meaning)| vec![status.to_string(), (*meaning).to_owned()]),
        ),
        "costs" => costs(root),
        "template-kernel" => template_kernel(root),
        "ratios" => ratios(root),
        _ => return None,
    })
}

/// The kernel that `octopod new` writes, without its first line, which has the project's name.
fn template_kernel(root: &Path) -> String {
    let text = fs::read_to_string(root.join("ci/templates/kernel/src/main.rs.liquid")).unwrap();
    let (_, kernel) = text.split_once('\n').unwrap();
    format!("```ignore\n{kernel}```\n")
}

/// The soaks, with the units of `--count` and its defaults.
fn soaks() -> String {
    let row = |soak: &Soak| {
        let (unit, default) = soak.counts();
        let default = default.map_or_else(|| "no limit".to_owned(), |count| HumanCount(count).to_string());
        vec![code(soak.name()), soak.summary().to_owned(), format!("{unit}; {default}")]
    };
    table(&["soak", "what it does", "`--count`, and its default"], Soak::VARIANTS.iter().map(row))
}

/// The text with fresh blocks. `prefix` begins each line of a block, as `//! ` in a source.
///
/// # Errors
/// A block without a name that is known, or without an end.
pub(crate) fn replace(
    text: &str,
    prefix: &str,
    mut generate: impl FnMut(&str) -> Option<String>,
) -> Result<String, String> {
    let (begin, end) = (format!("{prefix}<!-- generated: "), format!("{prefix}<!-- end -->"));
    let mut fresh = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        fresh += line;
        fresh.push('\n');
        let Some(name) = line.strip_prefix(&begin) else { continue };
        let name = name.strip_suffix(" -->").ok_or_else(|| format!("`{line}` is no begin of a block"))?;
        let block = generate(name).ok_or_else(|| format!("there is no block `{name}`"))?;
        if !lines.by_ref().any(|line| line == end) {
            return Err(format!("block `{name}` has no end"));
        }
        for line in ["", block.trim_end(), ""].join("\n").lines().chain([""]) {
            fresh += format!("{prefix}{line}").trim_end();
            fresh.push('\n');
        }
        fresh += &end;
        fresh.push('\n');
    }
    Ok(fresh)
}

/// The first line that differs: its number, the old one and the new one.
pub(crate) fn first_difference(old: &str, new: &str) -> Option<(usize, String, String)> {
    let (mut olds, mut news) = (old.lines(), new.lines());
    (1..).find_map(|number| match (olds.next(), news.next()) {
        (None, None) => Some(None),
        (old, new) if old == new => None,
        (old, new) => {
            let text = |line: Option<&str>| line.unwrap_or("(the end)").to_owned();
            Some(Some((number, text(old), text(new))))
        }
    })?
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// As code, unless it is empty.
fn coded(text: &str) -> String {
    if text.is_empty() { String::new() } else { code(text) }
}

fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let row = |cells: &[String]| {
        let cell = |text: &String| {
            if text.is_empty() { "| ".to_owned() } else { format!("| {} ", text.replace('|', "\\|")) }
        };
        cells.iter().map(cell).collect::<String>() + "|\n"
    };
    let heads: Vec<_> = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows: String = rows.into_iter().map(|cells| row(&cells)).collect();
    format!("{}|{}\n{rows}", row(&heads), "---|".repeat(heads.len()))
}

fn parameters() -> String {
    let rows = Options::parameters().map(|parameter| {
        let allowed = fmt::from_fn(|f| (parameter.allowed)(f)).to_string();
        let allowed = match parameter.name {
            "inject" => "a [fault](testing.md#fault-injection)".to_owned(),
            "stress.workloads" => {
                "a list of workloads of [frames](frames.md#the-stress) or [heaps](heap.md#the-stress)"
                    .to_owned()
            }
            "selftest.parts" => "a list of [parts](testing.md#self-test)".to_owned(),
            _ => allowed,
        };
        let default = fmt::from_fn(|f| (parameter.default)(f)).to_string();
        let default = if default.contains(',') { "see there".to_owned() } else { coded(&default) };
        let default = if parameter.name == "selftest.parts" { "all".to_owned() } else { default };
        vec![format!("`{}=`", parameter.name), allowed, default, parameter.summary.trim().to_owned()]
    });
    table(&["parameter", "values", "default", "meaning"], rows)
}

/// Each stage of the boot with its sentence and the type of its result.
fn stages(root: &Path) -> Vec<(String, String, String)> {
    // A stage is a function, or `run` in a file of its own.
    let source = fs::read_to_string(root.join("src/stages.rs")).unwrap();
    let result = |name: &str| {
        let file = fs::read_to_string(root.join(format!("src/stages/{name}.rs")));
        let function = file.as_ref().map_or_else(|_| format!("\nfn {name}("), |_| "fn run(".to_owned());
        let signature = file.as_ref().unwrap_or(&source).split_once(&function)?.1.split_once(" {\n")?.0;
        Some(signature.rsplit_once(") -> ")?.1.to_owned())
    };
    let mut stages = vec![("rt0".to_owned(), RT0.to_owned(), "Handoff".to_owned())];
    stages.extend(BootStage::ALL.iter().map(|stage| {
        let what = descriptions::boot_stage(stage.name()).unwrap_or_default().to_owned();
        (stage.name().to_owned(), what, result(stage.name()).unwrap_or_default())
    }));
    assert!(
        stages.iter().filter(|(_, _, result)| !result.is_empty()).count() > 6,
        "src/stages.rs has another form"
    );
    stages
}

fn boot_path(root: &Path) -> String {
    let stages = stages(root);
    let last = stages.len() - 1;
    let lines = stages.iter().enumerate().map(|(index, (stage, what, result))| {
        let arrow = match index {
            0 => '┌',
            _ if index == last => '└',
            _ => '├',
        };
        let result =
            if result.is_empty() { String::new() } else { format!("\n│                 -> {result}") };
        format!("{arrow} {stage:<13} {what}{result}\n")
    });
    format!("```text\n{}```\n", lines.collect::<String>())
}

/// The layers from the highest to the lowest, without the crate's roots.
fn rows_of(layers: &[(&'static str, u8)]) -> Vec<(u8, Vec<&'static str>)> {
    let highest = layers.iter().map(|(_, layer)| *layer).max().unwrap_or_default();
    let of = |layer: u8| {
        let modules = layers
            .iter()
            .filter(|(name, of)| *of == layer && !["lib", "main", "cargo_octopod"].contains(name));
        (layer, modules.map(|(name, _)| *name).collect::<Vec<_>>())
    };
    (0..=highest).rev().map(of).filter(|(_, modules)| !modules.is_empty()).collect()
}

/// A diagram of the layers, and what each module has.
fn layers(root: &Path, folder: &str, layers: &[(&'static str, u8)]) -> String {
    let rows = rows_of(layers);
    let width = rows.iter().map(|(_, modules)| modules.join(" ─ ").chars().count()).max().unwrap_or_default();
    let mut text = String::from("```text\n");
    for (layer, modules) in &rows {
        text += &format!("{layer:>2} │ {:^width$} │\n", modules.join(" ─ "));
    }
    text += "```\n\n";
    let cells = rows.iter().flat_map(|(layer, modules)| {
        modules.iter().map(|module| vec![layer.to_string(), code(module), head(root, folder, module, *layer)])
    });
    text + &table(&["layer", "module", "content"], cells)
}

/// The layers of the kernel alone, the lowest first.
fn layers_table() -> String {
    let list = |modules: &[&str]| modules.iter().map(|module| code(module)).collect::<Vec<_>>().join(", ");
    let rows = rows_of(LAYERS);
    let rows = rows.iter().rev().map(|(layer, modules)| vec![layer.to_string(), list(modules)]);
    table(&["layer", "modules"], rows)
}

/// The layers of the launcher, the lowest first, with links.
fn launcher_layers_table(root: &Path) -> String {
    let rows = rows_of(LAUNCHER_LAYERS).into_iter().rev().flat_map(|(layer, modules)| {
        modules
            .into_iter()
            .map(move |module| vec![format!("[`{module}`]"), head(root, "ci/src", module, layer)])
    });
    table(&["layer", "content"], rows)
}

/// What a module's documentation begins with.
fn head(root: &Path, folder: &str, module: &str, layer: u8) -> String {
    let files = [format!("{folder}/{module}.rs"), format!("{folder}/{module}/mod.rs")];
    let text = files.iter().find_map(|file| fs::read_to_string(root.join(file)).ok());
    let text = text.unwrap_or_else(|| panic!("there is no {}", files.join(" and no ")));
    first_sentences(&text, module, layer)
}

/// The first sentence, and more if it is short.
fn first_sentences(source: &str, module: &str, layer: u8) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//! "));
    let mut text = lines.collect::<Vec<_>>().join(" ");
    if let Some(rest) = text.strip_prefix("Layer ") {
        let (number, rest) = rest.split_once(": ").expect("`Layer N: ` begins the documentation");
        assert_eq!(
            number,
            layer.to_string(),
            "the documentation of {module} has another layer than tests/layers/table.rs"
        );
        text = rest.to_owned();
    }
    let ends = text.match_indices(". ").map(|(dot, _)| dot + 1);
    let end = ends.into_iter().find(|end| *end >= SHORT_HEAD).unwrap_or(text.len());
    let sentence = text[..end].replace("[`", "`").replace("`]", "`");
    let mut letters = sentence.chars();
    let sentence = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect::<String>();
    sentence.trim_end_matches([':', '.']).to_owned() + "."
}

fn hooks() -> String {
    let of_faults = |purpose: &str| purpose == "fault injection";
    let rows = HOOKS.iter().filter(|hook| !of_faults(hook.purpose)).map(|hook| {
        let setters = match hook.setters {
            ANY => "any layer".to_owned(),
            [] => "its own layer or a program".to_owned(),
            setters => setters.iter().map(|setter| code(setter)).collect::<Vec<_>>().join(", "),
        };
        vec![code(hook.name), code(hook.lower), setters, hook.purpose.to_owned()]
    });
    let patchable: Vec<_> = HOOKS.iter().filter(|hook| of_faults(hook.purpose)).collect();
    let names: Vec<_> = patchable.iter().map(|hook| format!("`{}::{}`", hook.lower, hook.name)).collect();
    format!(
        "{}\nFault injection may replace these functions, which are declared by `patchable!`: {}.\n",
        table(&["hook", "called by", "set by", "purpose"], rows),
        names.join(", ")
    )
}

fn commands() -> String {
    let grammar = cli::command();
    let rows = grammar.get_subcommands().map(|command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        vec![code(command.get_name()), format!("{about}.")]
    });
    table(&["command", "what it does"], rows)
}

/// An option, its help, and the commands that take it.
type OptionRow = (String, String, Vec<String>);

/// Each option with its commands, under the headings of `--help`.
fn options() -> String {
    let grammar = cli::command();
    let mut groups: Vec<(String, Vec<OptionRow>)> = Vec::new();
    for command in grammar.get_subcommands() {
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long().filter(|long| *long != "help") else { continue };
            let value = match arg.get_value_names() {
                Some([name, ..]) if arg.get_action().takes_values() => format!(" {name}"),
                _ => String::new(),
            };
            let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
            let name = format!("{short}`--{long}{value}`");
            let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let values: Vec<_> = arg.get_possible_values().iter().map(|one| code(one.get_name())).collect();
            if !values.is_empty() && arg.get_action().takes_values() {
                help += &format!(": {}", values.join(", "));
            }
            let defaults = arg.get_default_values();
            if let [default] = defaults
                && arg.get_action().takes_values()
            {
                help += &format!(" [default: {}]", default.to_string_lossy());
            }
            let heading = arg.get_help_heading().unwrap_or("Other options").to_owned();
            if !groups.iter().any(|(known, _)| *known == heading) {
                groups.push((heading.clone(), Vec::new()));
            }
            let (_, rows) = groups.iter_mut().find(|(known, _)| *known == heading).expect("it was added");
            match rows.iter_mut().find(|(option, text, _)| *option == name && *text == help) {
                Some((_, _, commands)) => commands.push(code(command.get_name())),
                None => rows.push((name, help, vec![code(command.get_name())])),
            }
        }
    }
    let text = groups.into_iter().map(|(heading, rows)| {
        let rows = rows.into_iter().map(|(option, help, commands)| vec![option, help, commands.join(", ")]);
        format!("### {heading}\n\n{}", table(&["option", "meaning", "commands"], rows))
    });
    text.collect::<Vec<_>>().join("\n")
}

fn boot_protocols() -> String {
    let grammar = cli::command();
    let boot = grammar.find_subcommand("boot").expect("there is a command `boot`");
    let option = boot.get_arguments().find(|arg| arg.get_long() == Some("boot")).expect("it has `--boot`");
    let rows = option.get_possible_values();
    let rows = rows.iter().map(|value| {
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        vec![code(value.get_name()), format!("{help}.")]
    });
    table(&["`--boot`", "how the kernel is loaded"], rows)
}

/// A limit, with the comment above it.
struct Cost {
    name: String,
    what: String,
    values: toml::Table,
}

/// The sections of `config/bench.toml` whose names begin with this.
fn sections(root: &Path, prefix: &str) -> Vec<Cost> {
    let text = fs::read_to_string(root.join("config/bench.toml")).unwrap();
    let all: toml::Table = text.parse().unwrap();
    let table = if prefix.is_empty() { &all } else { all["ratios"].as_table().unwrap() };
    let mut comment: Vec<&str> = Vec::new();
    let mut costs = Vec::new();
    for line in text.lines() {
        if let Some(part) = line.strip_prefix("# ") {
            comment.push(part);
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let own = match name.strip_prefix("ratios.") {
                Some(own) if !prefix.is_empty() => own,
                None if prefix.is_empty() => name,
                _ => continue,
            };
            let values = table[own].as_table().unwrap().clone();
            costs.push(Cost { name: own.to_owned(), what: comment.join(" "), values });
        } else {
            comment.clear();
        }
    }
    assert!(!costs.is_empty() && costs.iter().all(|cost| !cost.what.is_empty()), "a limit has no comment");
    costs
}

impl Cost {
    fn value(&self, key: &str) -> String {
        self.values.get(key).map(ToString::to_string).unwrap_or_default()
    }
}

fn costs(root: &Path) -> String {
    let rows = sections(root, "").into_iter().map(|cost| {
        vec![code(&cost.name), cost.value("limit"), cost.value("goal"), cost.value("linux"), cost.what]
    });
    table(&["cost", "limit", "goal", "Linux 6.1", "what it counts"], rows)
}

fn ratios(root: &Path) -> String {
    let rows = sections(root, "ratios").into_iter();
    table(
        &["ratio", "limit", "of what"],
        rows.map(|cost| vec![code(&cost.name), cost.value("limit"), cost.what]),
    )
}

#[cfg(test)]
mod tests;
