//! The commands of the documentation: found, taken apart, and checked by the parsers that read them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use octopod::boot::command_line::CommandLineError;
use octopod::options::{BuiltIn, Options};
use octopod_ci::commands::cli::{self, Cli, Command};
use octopod_ci::commands::soak::Soak;

use super::page::Page;

/// The target of the kernel, and the packages that compile for it.
const KERNEL_TARGET: &str = "x86_64-unknown-none";
const KERNEL_PACKAGES: [&str; 3] = ["octopod", "ap_trampoline", "octopod-unpacker"];

/// Words that stand for something else.
const PLACEHOLDERS: [&str; 5] = ["OLD", "NEW", "COMMAND", "NAME", "ELF"];

/// A line that a reader types.
#[derive(Debug, PartialEq)]
pub(crate) enum Typed {
    /// The launcher's words, and what is piped into it.
    Launcher { words: Vec<String>, input: Option<String> },
    /// A command of cargo's.
    Cargo { command: String, words: Vec<String> },
    /// A script of the checkout.
    Script(PathBuf),
}

/// Whether a line of a code block begins as a command.
fn is_command(line: &str) -> bool {
    let is_set = line.starts_with("OCTOPOD_") && line.contains(" cargo ");
    is_set || ["cargo ", "printf ", ".ci/"].iter().any(|begin| line.starts_with(begin))
}

/// The commands in a page's code blocks without their comments, each with its line; and what is wrong with the blocks.
pub(crate) fn lines_of(page: &Page) -> (Vec<(usize, String)>, Vec<String>) {
    let (mut commands, mut wrong) = (Vec::new(), Vec::new());
    for (fence, language, text) in &page.code {
        let lines: Vec<_> =
            (fence + 1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()).collect();
        let count = lines.iter().filter(|(_, line)| is_command(line)).count();
        if !language.is_empty() || count == 0 {
            continue;
        }
        for (line, text) in lines {
            if is_command(text) {
                let text = text.split_once(" # ").map_or(text, |(command, _)| command).trim_end();
                commands.push((line, text.to_owned()));
            } else {
                wrong.push(format!(
                    "{}:{line}: `{text}` is no command, as other lines of its block are",
                    page.name
                ));
            }
        }
    }
    (commands, wrong)
}

/// The commands in a page's text, without those that have gaps.
pub(crate) fn inline(page: &Page) -> Vec<(usize, String)> {
    let is_whole = |text: &str| {
        is_command(text)
            && !text.contains(['…', '['])
            && !text.split_whitespace().any(|word| PLACEHOLDERS.contains(&word))
    };
    page.spans
        .iter()
        .filter(|(_, text)| is_whole(text) && !text.starts_with("cargo mutants"))
        .cloned()
        .collect()
}

/// The examples of `--help`, each with its line.
pub(crate) fn examples_of_help() -> Vec<(usize, String)> {
    let help = cli::command().get_after_help().map(ToString::to_string).unwrap_or_default();
    let (_, examples) = help.split_once("Examples:").expect("`--help` has examples");
    let lines = (1..).zip(examples.lines());
    let examples = lines.filter_map(|(line, text)| {
        let text = text.trim_start();
        let command = text.split_once("  ").map_or(text, |(command, _)| command);
        is_command(command).then(|| (line, command.to_owned()))
    });
    examples.collect()
}

/// Takes a command apart.
///
/// # Errors
/// It is none that a reader can type.
pub(crate) fn parse(text: &str) -> Result<Typed, String> {
    let (before, text) = text.rsplit_once(" | ").map_or((None, text), |(before, text)| (Some(before), text));
    let input = before.map(printed).transpose()?;
    let words = shlex::split(text).ok_or("a quote is not closed")?;
    let is_setting = |word: &&String| {
        word.split_once('=')
            .is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
    };
    let settings = words.iter().take_while(is_setting).count();
    let mut words = words.into_iter().skip(settings);
    let program = words.next().ok_or("there is no program")?;
    if program != "cargo" {
        return Ok(Typed::Script(program.into()));
    }
    let command = words.next().ok_or("cargo has no command")?;
    let words: Vec<_> = words.collect();
    if command != "run" {
        return Ok(Typed::Cargo { command, words });
    }
    let own = words.iter().take_while(|word| *word != "--").count();
    if let Some(unknown) = words[..own].iter().find(|word| !["-q", "--release"].contains(&word.as_str())) {
        return Err(format!("{unknown} stands before --"));
    }
    Ok(Typed::Launcher { words: words.into_iter().skip(own + 1).collect(), input })
}

/// What `printf 'TEXT'` prints.
fn printed(command: &str) -> Result<String, String> {
    let words = shlex::split(command).ok_or("a quote is not closed")?;
    match words.as_slice() {
        [program, text] if program == "printf" => Ok(text.replace("\\n", "\n")),
        _ => Err(format!("`{command}` is no printf of one text")),
    }
}

/// What commands are checked against.
pub(crate) struct Checker {
    root: PathBuf,
    /// The packages of the workspace with their targets.
    packages: Vec<cargo_metadata::Package>,
    /// The names of the rows of the boot matrix.
    rows: Vec<String>,
}

impl Checker {
    /// Reads the checkout at `root`.
    pub(crate) fn new(root: &Path) -> Checker {
        let metadata = cargo_metadata::MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .no_deps()
            .other_options(["--offline".to_owned()])
            .exec()
            .unwrap();
        let machines: toml::Table =
            fs::read_to_string(root.join("config/machines.toml")).unwrap().parse().unwrap();
        let rows = machines["row"].as_array().unwrap();
        let rows = rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        Checker { root: root.to_owned(), packages: metadata.packages, rows }
    }

    /// Checks a command as far as it can be without running it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self, typed: &Typed) -> Result<(), String> {
        match typed {
            Typed::Launcher { words, .. } => self.check_launcher(words),
            Typed::Cargo { command, words } => self.check_cargo(command, words),
            Typed::Script(path) if self.root.join(path).is_file() => Ok(()),
            Typed::Script(path) => Err(format!("there is no {}", path.display())),
        }
    }

    fn check_launcher(&self, words: &[String]) -> Result<(), String> {
        let line = ["octopod"].into_iter().map(OsString::from).chain(words.iter().map(OsString::from));
        let cli = match Cli::read(line) {
            Ok(cli) => cli,
            // `--help`.
            Err(error) if error.exit_code() == 0 => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        match &cli.command {
            Command::Run(_) => {
                let (launch, _) = octopod_ci::parse(words).map_err(|error| error.to_string())?;
                let own = self.options_of_example(words);
                let is_own = |word: &&str| own.iter().any(|name| word.split('=').next() == Some(name));
                let parameters = launch.command_line.to_string();
                let parameters =
                    parameters.split(' ').filter(|word| !is_own(word)).collect::<Vec<_>>().join(" ");
                let parsed = Options::parse(parameters.as_bytes(), BuiltIn::ALL);
                parsed.map_err(|error: CommandLineError| error.to_string())?;
            }
            Command::Matrix(args) => {
                for name in &args.selection.names {
                    if !self.rows.iter().any(|row| row.contains(name.as_str())) {
                        return Err(format!("no row of config/machines.toml has {name} in its name"));
                    }
                }
            }
            Command::Soak(args) => drop(Soak::named(&args.names).map_err(|error| error.to_string())?),
            _ => {}
        }
        for (option, folder, extension) in [("--replay", "", ""), ("--example", "examples/", ".rs")] {
            let Some(at) = words.iter().position(|word| word == option) else { continue };
            let file = format!("{folder}{}{extension}", words[at + 1]);
            if !self.root.join(&file).is_file() {
                return Err(format!("there is no {file}"));
            }
        }
        Ok(())
    }

    /// The options that the program of `--example` declares by `option!`.
    fn options_of_example(&self, words: &[String]) -> Vec<String> {
        let name = words.iter().skip_while(|word| *word != "--example").nth(1);
        let path = name.map(|name| self.root.join(format!("examples/{name}.rs")));
        let source = path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let declarations =
            source.split("octopod::option! {").skip(1).filter_map(|rest| rest.split('}').next());
        let declared = declarations.flat_map(str::lines).filter(|line| line.contains("static"));
        declared.filter_map(|line| line.rsplit('"').nth(1)).map(str::to_owned).collect()
    }

    fn check_cargo(&self, command: &str, words: &[String]) -> Result<(), String> {
        let mut words = words.iter().map(String::as_str);
        let (mut packages, mut target, mut test) = (Vec::new(), None, None);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} has no value"));
            match word {
                "-p" => packages.push(value()?),
                "--target" => target = Some(value()?),
                "--test" if command == "test" => test = Some(value()?),
                "--lib" | "--workspace" | "--open" | "--no-deps" | "--all-features" | "-q" => {}
                "--" => break,
                // A filter by name.
                name if !name.starts_with('-') && command == "test" => {}
                _ => return Err(format!("cargo {command} does not take {word}, as far as this test knows")),
            }
        }
        let known = |name: &&str| self.packages.iter().find(|package| package.name.as_str() == *name);
        if let Some(unknown) = packages.iter().find(|name| known(name).is_none()) {
            return Err(format!("there is no package {unknown}"));
        }
        let has = |kind: cargo_metadata::TargetKind, name: Option<&str>| {
            let targets = packages.iter().filter_map(known).flat_map(|package| &package.targets);
            targets
                .into_iter()
                .any(|one| one.kind.contains(&kind) && name.is_none_or(|name| one.name == name))
        };
        match (command, target) {
            ("test", None) => match test {
                Some(name) if !has(cargo_metadata::TargetKind::Test, Some(name)) => {
                    Err(format!("these packages have no test {name}"))
                }
                _ => Ok(()),
            },
            ("bench", None) if has(cargo_metadata::TargetKind::Bench, None) => Ok(()),
            ("bench", None) => Err("these packages have no benchmark".to_owned()),
            ("doc", Some(KERNEL_TARGET)) if packages.is_empty() => Err(format!(
                "the packages for the host do not compile for {KERNEL_TARGET}: -p octopod is missing"
            )),
            ("doc", Some(KERNEL_TARGET)) => {
                match packages.iter().find(|name| !KERNEL_PACKAGES.contains(name)) {
                    Some(name) => Err(format!("{name} does not compile for {KERNEL_TARGET}")),
                    None => Ok(()),
                }
            }
            ("doc", None) => Ok(()),
            _ => Err(format!("cargo {command} for {target:?}: this test does not know whether that works")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        Checker::new(&super::super::root()).check(&parse(text)?)
    }

    #[track_caller]
    fn assert_wrong(text: &str, part: &str) {
        let error = checked(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }

    #[test]
    fn commands_are_found_without_their_comments() {
        let text = "```\ncargo run -- boot      # a boot\n\nprintf 'a\\n' | cargo run -q -- shell\n```\n\
                    ```\noutput\n```\n```sh\ncargo nope\n```\n```\ncargo run\nrun\n```\n`cargo run -- NAME` `cargo doc`\n";
        let page = Page::new("a.md", text);
        let (lines, wrong) = lines_of(&page);
        let lines: Vec<_> = lines.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!(
            lines,
            [(2, "cargo run -- boot"), (4, "printf 'a\\n' | cargo run -q -- shell"), (13, "cargo run")]
        );
        assert_eq!(wrong, ["a.md:14: `run` is no command, as other lines of its block are"]);
        assert_eq!(inline(&page), [(16, "cargo doc".to_owned())]);
        assert!(examples_of_help().len() > 15);
    }

    #[test]
    fn a_command_is_taken_apart() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            parse("printf 'cpus\\nirq\\n' | cargo run -q -- shell -c 'a b'"),
            Ok(Typed::Launcher {
                words: words(&["shell", "-c", "a b"]),
                input: Some("cpus\nirq\n".to_owned())
            })
        );
        assert_eq!(parse("cargo run"), Ok(Typed::Launcher { words: Vec::new(), input: None }));
        assert_eq!(
            parse("OCTOPOD_BLESS=1 cargo test -q"),
            Ok(Typed::Cargo { command: "test".to_owned(), words: words(&["-q"]) })
        );
        assert_eq!(parse(".ci/run"), Ok(Typed::Script(".ci/run".into())));
        assert!(parse("cargo run boot").is_err() && parse("cat x | cargo run").is_err());
    }

    #[test]
    fn a_wrong_command_of_the_launcher_is_found() {
        assert_eq!(checked("cargo run -- boot --smp 4 --append 'max_cpus=2 clock=hpet'"), Ok(()));
        assert_eq!(checked("cargo run -- bench --help"), Ok(()));
        assert_wrong("cargo run -- boots", "unrecognized subcommand");
        assert_wrong(
            "cargo run -- boot --seed 1",
            "--seed is an option of stress and alloc-trace, not of boot",
        );
        assert_wrong("cargo run -- boot --append colour=red", "unknown parameter");
        let misuse = "cargo run -- run --example heap_misuse --append 'heap.checked=on misuse=overrun";
        assert_eq!(checked(&format!("{misuse}'")), Ok(()));
        assert_wrong(&format!("{misuse} colour=red'"), "unknown parameter");
        assert_wrong("cargo run -- run --example hello --append misuse=overrun", "unknown parameter");
        assert_wrong("cargo run -- boot --append clock=sundial", "\"sundial\" is not known");
        assert_wrong("cargo run -- stress --workloads checkerboard", "\"checkerboard\" is not known");
        assert_wrong("cargo run -- boot --inject deaf_to_leave", "\"deaf_to_leave\" is not known");
        assert_wrong("cargo run -- matrix no-such-row", "no row");
        assert_wrong("cargo run -- soak forever", "there is no soak `forever`");
        assert_wrong("cargo run -- run --example goodbye", "there is no examples/goodbye.rs");
        assert_wrong("cargo run -- stress --replay ci/traces/none.trace", "there is no ci/traces/none.trace");
        assert_wrong(".ci/walk", "there is no .ci/walk");
    }

    #[test]
    fn a_wrong_command_of_cargo_is_found() {
        assert_eq!(checked("cargo doc -p octopod --target x86_64-unknown-none --open"), Ok(()));
        assert_wrong("cargo doc --target x86_64-unknown-none --open", "-p octopod is missing");
        assert_wrong("cargo doc -p octopod-ci --target x86_64-unknown-none", "does not compile for");
        assert_eq!(checked("cargo test -p octopod-ci --test boot cpus-2"), Ok(()));
        assert_wrong("cargo test -p octopod-ci --test boots", "no test boots");
        assert_wrong("cargo test -p octopus", "there is no package octopus");
        assert_eq!(checked("cargo bench -p octopod -- order9"), Ok(()));
        assert_wrong("cargo bench -p ap_trampoline", "no benchmark");
        assert_wrong("cargo test --fast", "does not take --fast");
    }
}
