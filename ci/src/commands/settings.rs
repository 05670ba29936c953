//! Options that a project gives its commands by default, in `[package.metadata.octopod]` of its manifest: each setting has the
//! long name of an option, and its value or a table with a value for each of some commands. What the command line says, or what excludes a
//! setting, counts instead, except that values of `append` add up.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Command};
use toml::Value;

use crate::base::project::{Project, SETTINGS};
use crate::base::{Error, Workspace};

/// Options whose value is a path: relative ones begin at the manifest.
const PATHS: [&str; 8] = ["rows", "kernel", "json", "out", "pictures", "replay", "junit", "module"];

/// Settings that do not concern `bench`, which has a machine of its own.
const OF_OTHER_MACHINES: [&str; 2] = ["smp", "accel"];

/// Settings of a build, which do not concern a file that was built already.
const OF_BUILDS: [&str; 3] = ["debug", "compressed", "inject"];

/// The arguments by which a command line names such a file.
const BUILT: [&str; 2] = ["elf", "kernel"];

/// The command that runs rows.
const MATRIX: &str = "matrix";

/// Options of commands that boot which `matrix` takes itself: they are no settings of a row.
const OF_MATRIX: [&str; 9] =
    ["accel", "bochs", "json", "newest-qemu", "out", "qemu", "quiet", "verbose", "yes"];

/// Settings by their common name, with the option that they stand for.
const OTHER_NAMES: [(&str, &str); 2] = [("memory", "mem"), ("machines", "rows")];

/// Variables of the environment with the option that they stand for, where neither the command line nor the project says it.
const VARIABLES: [(&str, &str); 3] =
    [("OCTOPOD_SMP", "smp"), ("OCTOPOD_ACCEL", "accel"), ("OCTOPOD_OUT", "out")];

/// Adds the settings of the project of this process to the words of a command line, the program first, and then those of the
/// environment.
///
/// # Errors
/// A setting is no option of any command, or has a value that no option takes; the project's manifest is wrong.
pub(crate) fn add(words: Vec<OsString>, grammar: &Command) -> Result<Vec<OsString>, Error> {
    let words = match taker(&words, grammar) {
        Some(command) => match Workspace::find_or_here()?.project() {
            Some(project) => Settings { project, command, grammar, is_row: false }.add(words)?,
            None => words,
        },
        None => words,
    };
    with_variables(words, grammar, |variable| std::env::var_os(variable))
}

/// Adds the settings of the environment. An empty one is none, and those that the command does not take do not concern it.
fn with_variables(
    mut words: Vec<OsString>,
    grammar: &Command,
    value_of: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<OsString>, Error> {
    let Some(command) = named(&words, grammar) else { return Ok(words) };
    for (variable, name) in VARIABLES {
        let value = value_of(variable).filter(|value| !value.is_empty());
        let (Some(value), Some(arg)) = (value, option(command, name)) else { continue };
        let given = Given::of(&words, command);
        if given.has(arg) || given.excludes(arg) || is_of_other_machine(command, name) {
            continue;
        }
        let mut more = words.clone();
        more.splice(2..2, [format!("--{name}").into(), value]);
        if let Some(problem) = problem_of(&words, &more, grammar) {
            return Err(Error::Usage(format!("{variable}: {problem}")));
        }
        words = more;
    }
    Ok(words)
}

/// The reason why `more` words are refused, if those without them are not.
fn problem_of(words: &[OsString], more: &[OsString], grammar: &Command) -> Option<String> {
    let error_of = |words: &[OsString]| grammar.clone().try_get_matches_from(words).err();
    // Words that are wrong by themselves are refused as such.
    let error = error_of(more).filter(|_| error_of(words).is_none())?.to_string();
    Some(error.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
}

/// Returns whether an option concerns a machine that the command does not use.
fn is_of_other_machine(command: &Command, name: &str) -> bool {
    command.get_name() == "bench" && OF_OTHER_MACHINES.contains(&name)
}

/// Adds the settings of a project to the words of a row of its matrix, the program first. The grammar is that of rows.
///
/// # Errors
/// See [`add`].
pub(crate) fn add_to_row(
    words: Vec<OsString>,
    project: &Project,
    grammar: &Command,
) -> Result<Vec<OsString>, Error> {
    match taker(&words, grammar) {
        Some(command) => Settings { project, command, grammar, is_row: true }.add(words),
        None => Ok(words),
    }
}

/// The command of the words, if it takes settings.
fn taker<'a>(words: &[OsString], grammar: &'a Command) -> Option<&'a Command> {
    let boots = |command: &Command| option(command, "smp").is_some();
    named(words, grammar).filter(|command| boots(command) || command.get_name() == MATRIX)
}

/// The command of the words.
fn named<'a>(words: &[OsString], grammar: &'a Command) -> Option<&'a Command> {
    words.get(1).and_then(|word| word.to_str()).and_then(|word| grammar.find_subcommand(word))
}

/// The settings of a project for one command.
#[derive(Clone, Copy)]
struct Settings<'a> {
    project: &'a Project,
    command: &'a Command,
    grammar: &'a Command,
    is_row: bool,
}

impl Settings<'_> {
    /// Adds them to the words.
    fn add(self, words: Vec<OsString>) -> Result<Vec<OsString>, Error> {
        let all = self.project.options.as_slice();
        let settled = self.with(&words, all)?;
        let problem = |words: &[OsString], settled: &[OsString]| problem_of(words, settled, self.grammar);
        let Some(found) = problem(&words, &settled) else { return Ok(settled) };
        let is_wrong = |one: &&(String, Value)| {
            let alone = self.with(&words, std::slice::from_ref(one));
            alone.is_ok_and(|alone| problem(&words, &alone).is_some())
        };
        let key = all.iter().find(is_wrong).map_or("", |(key, _)| key);
        Err(self.wrong(key, &found))
    }

    fn wrong(self, key: &str, problem: &str) -> Error {
        let manifest = self.project.folder.join("Cargo.toml");
        let key = if key.is_empty() { String::new() } else { format!(" {key}") };
        Error::Usage(format!("{}: {SETTINGS}{key}: {problem}", manifest.display()))
    }

    /// The words with these settings.
    fn with(self, words: &[OsString], settings: &[(String, Value)]) -> Result<Vec<OsString>, Error> {
        let Settings { project, command, grammar, is_row } = self;
        let mut added: Vec<OsString> = Vec::new();
        let given = Given::of(words, command);
        for (key, value) in settings {
            if is_of_other_machine(command, key) {
                continue;
            }
            let value = match value {
                Value::Table(by_command) => match by_command.get(command.get_name()) {
                    Some(value) => value,
                    None => continue,
                },
                value => value,
            };
            let wrong = |problem: &str| self.wrong(key, problem);
            let name =
                OTHER_NAMES.iter().find(|(other, _)| other == key).map_or(key.as_str(), |(_, name)| *name);
            let Some(arg) = option(command, name) else {
                // The command `matrix` has refused what no command takes.
                if is_row || grammar.get_subcommands().any(|other| option(other, name).is_some()) {
                    continue;
                }
                return Err(wrong("no command has such an option"));
            };
            if given.has(arg) && name != "append"
                || given.excludes(arg)
                || is_row && OF_MATRIX.contains(&name)
            {
                continue;
            }
            let option = format!("--{name}");
            let at = |text: String| match PATHS.contains(&name) {
                true => project.folder.join(text).into_os_string(),
                false => text.into(),
            };
            match (value, arg.get_action()) {
                (Value::Boolean(true), ArgAction::SetTrue) => added.push(option.into()),
                (Value::Boolean(false), ArgAction::SetTrue) => {}
                (_, ArgAction::SetTrue) => return Err(wrong("must be true or false")),
                (Value::Array(values), ArgAction::Append) => {
                    for value in values {
                        let text =
                            text_of(value).ok_or_else(|| wrong("must be a list of strings or numbers"))?;
                        added.extend([option.clone().into(), at(text)]);
                    }
                }
                _ => {
                    let text = text_of(value).ok_or_else(|| wrong("must be a string or a number"))?;
                    added.extend([option.into(), at(text)]);
                }
            }
        }
        let mut words = words.to_vec();
        words.splice(2..2, added);
        Ok(words)
    }
}

/// The option of that long name.
fn option<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(name))
}

/// The arguments that a command line gives.
struct Given<'a> {
    command: &'a Command,
    args: Vec<&'a Arg>,
}

impl<'a> Given<'a> {
    /// Of these words, as far as they can be read.
    fn of(words: &[OsString], command: &'a Command) -> Given<'a> {
        let own = words.get(2..).unwrap_or_default();
        let reader = command.clone().no_binary_name(true).ignore_errors(true);
        let matches = reader.try_get_matches_from(own).ok();
        let is_given = |arg: &&Arg| {
            let source = matches.as_ref().and_then(|matches| matches.value_source(arg.get_id().as_str()));
            source == Some(ValueSource::CommandLine)
        };
        Given { command, args: command.get_arguments().filter(is_given).collect() }
    }

    fn has(&self, arg: &Arg) -> bool {
        self.args.iter().any(|given| given.get_id() == arg.get_id())
    }

    /// Returns whether one of them cannot stand beside `arg`, such as `--smp` beside `--host`, or makes it pointless.
    fn excludes(&self, arg: &Arg) -> bool {
        let conflicts = |one: &Arg, other: &Arg| {
            let conflicts = self.command.get_arg_conflicts_with(one);
            conflicts.iter().any(|conflict| conflict.get_id() == other.get_id())
        };
        let is_of_builds = arg.get_long().is_some_and(|name| OF_BUILDS.contains(&name));
        self.args.iter().any(|given| {
            conflicts(given, arg)
                || conflicts(arg, given)
                || is_of_builds && BUILT.contains(&given.get_id().as_str())
        })
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::commands::cli;

    fn read(settings: &str, line: &str) -> Result<String, String> {
        read_as(settings, line, false)
    }

    fn read_as(settings: &str, line: &str, is_row: bool) -> Result<String, String> {
        let settings: toml::Table = settings.parse().unwrap();
        let project = Project {
            name: "mine".to_owned(),
            folder: "/p".into(),
            program: None,
            programs: Vec::new(),
            profile: "release".to_owned(),
            options: settings.into_iter().collect(),
        };
        let words: Vec<OsString> = format!("octopod {line}").split(' ').map(OsString::from).collect();
        let grammar = cli::command();
        let command = taker(&words, &grammar).expect("a command that takes settings");
        let settings = Settings { project: &project, command, grammar: &grammar, is_row };
        let words = settings.add(words).map_err(|error| error.to_string())?;
        Ok(words[1..].iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn settings_are_options_that_the_command_line_overrides() {
        let settings =
            "smp = 4\nmemory = \"256M\"\ntrace = true\nappend = [\"log=debug\", \"kaslr=off\"]\nseconds = 2";
        let all = "boot --append log=debug --append kaslr=off --mem 256M --smp 4 --trace";
        assert_eq!(read(settings, "boot").unwrap(), all);
        assert_eq!(read("smp = 4", "boot --smp=2").unwrap(), "boot --smp=2");
        assert_eq!(read("smp = 4", "run a.elf -- --smp 2").unwrap(), "run --smp 4 a.elf -- --smp 2");
        assert_eq!(
            read("append = [\"a=1\"]", "boot --append b=2").unwrap(),
            "boot --append a=1 --append b=2",
            "values of append add up"
        );
        assert_eq!(read("trace = false", "boot").unwrap(), "boot");
        let by_command = "append = { run = \"a=1\", boot = \"b=2\" }";
        assert_eq!(read(by_command, "boot").unwrap(), "boot --append b=2");
        assert_eq!(read(by_command, "stress").unwrap(), "stress");
        // Options of other commands do not concern this one.
        assert_eq!(read("seconds = 2", "stress").unwrap(), "stress --seconds 2");
        // A run on the host has no machine.
        let settings = "smp = 4\nmem = \"64M\"\nappend = [\"log=debug\"]\nallocator = \"own\"";
        assert_eq!(read(settings, "stress --host").unwrap(), "stress --allocator own --mem 64M --host");
        assert_eq!(read("machines = \"m.toml\"", "matrix").unwrap(), "matrix --rows /p/m.toml");
    }

    #[test]
    fn what_the_words_exclude_is_no_setting() {
        for (settings, line) in [
            // Cargo has built the file.
            ("debug = true", "run a.elf"),
            ("compressed = true", "run a.elf -- -d int"),
            ("inject = \"skip_sipi\"", "run a.elf"),
            ("inject = { run = \"skip_sipi\" }", "run --quiet a.elf"),
            ("kernel = \"b.elf\"", "run a.elf"),
            ("example = \"hello\"", "run a.elf"),
            ("debug = true", "test a.elf -- --list"),
            ("compressed = true", "test a.elf"),
            ("inject = \"skip_sipi\"", "test a.elf"),
            ("kernel = \"b.elf\"", "test a.elf"),
            ("inject = \"skip_sipi\"", "bench --kernel a.elf"),
            ("debug = true", "boot --kernel=a.elf"),
            // Either excludes the other.
            ("kernel = \"b.elf\"", "boot --debug"),
            ("quiet = true", "boot --verbose"),
        ] {
            assert_eq!(read(settings, line).as_deref(), Ok(line), "{settings}");
        }
        assert_eq!(read("debug = true", "run --smp 2").unwrap(), "run --debug --smp 2");
        assert_eq!(read("inject = \"a\"", "run --").unwrap(), "run --inject a --");
        assert_eq!(read("smp = 4", "run a.elf").unwrap(), "run --smp 4 a.elf");
    }

    #[test]
    fn a_row_has_the_settings_that_are_not_the_matrixs_own() {
        let settings = "smp = 4\nmem = \"64M\"\naccel = \"kvm\"\nout = \"o\"\njson = \"-\"\nquiet = true\n\
                        append = { run = \"a=1\" }\nmodule = [\"f=g\"]";
        let row = |line| read_as(settings, line, true).unwrap();
        assert_eq!(row("run"), "run --append a=1 --mem 64M --module /p/f=g --smp 4");
        assert_eq!(
            row("run --smp 2 --append b=2"),
            "run --append a=1 --mem 64M --module /p/f=g --smp 2 --append b=2"
        );
        assert_eq!(row("boot --mem 1G"), "boot --module /p/f=g --smp 4 --mem 1G");
        assert_eq!(row("run a.elf"), "run --append a=1 --mem 64M --module /p/f=g --smp 4 a.elf");
        let grammar = cli::command();
        let matrix = grammar.find_subcommand(MATRIX).unwrap();
        let boots = grammar.get_subcommands().filter(|command| option(command, "smp").is_some());
        let taken: BTreeSet<&str> = boots
            .filter(|command| command.get_name() != "test")
            .flat_map(Command::get_arguments)
            .filter_map(|arg| arg.get_long().filter(|name| option(matrix, name).is_some()))
            .collect();
        assert_eq!(taken, BTreeSet::from(OF_MATRIX));
    }

    #[test]
    fn the_environment_counts_where_neither_the_words_nor_the_project_say_otherwise() {
        let grammar = cli::command();
        let read = |line: &str| {
            let words: Vec<OsString> = format!("octopod {line}").split(' ').map(OsString::from).collect();
            let value_of = |variable: &str| match variable {
                "OCTOPOD_SMP" => Some("4".into()),
                "OCTOPOD_ACCEL" => Some("kvm".into()),
                _ => Some("".into()),
            };
            let words = with_variables(words, &grammar, value_of).unwrap();
            words[1..].iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(read("boot"), "boot --accel kvm --smp 4");
        assert_eq!(read("test a.elf -- one"), "test --accel kvm --smp 4 a.elf -- one");
        assert_eq!(read("run --smp 2"), "run --accel kvm --smp 2");
        // Rows and soaks have CPUs of their own.
        assert_eq!(read("matrix one"), "matrix --accel kvm one");
        assert_eq!(read("soak boots"), "soak --accel kvm boots");
        for other in ["bench", "stress --host", "report", "completions bash", "unknown"] {
            assert_eq!(read(other), other);
        }
        let wrong = with_variables(vec!["octopod".into(), "boot".into()], &grammar, |variable| {
            (variable == "OCTOPOD_SMP").then(|| "two".into())
        });
        assert!(wrong.unwrap_err().to_string().starts_with("OCTOPOD_SMP: invalid value 'two' for '--smp"));
    }

    #[test]
    fn wrong_settings_are_refused_with_their_place() {
        for (settings, part) in [
            ("smb = 4", "smb: no command has such an option"),
            ("trace = 1", "trace: must be true or false"),
            ("smp = [1]", "smp: must be a string or a number"),
            ("trace = true\nsmp = \"two\"", "smp: invalid value 'two' for '--smp <N|QEMU-STRING>': "),
            ("kernel = \"a\"\ndebug = true", ": the argument '--debug' cannot be used with '--kernel <ELF>'"),
        ] {
            let text = read(settings, "boot").unwrap_err();
            assert!(
                text.starts_with("/p/Cargo.toml: [package.metadata.octopod]") && text.contains(part),
                "{text}"
            );
        }
    }
}
