//! Options that a project gives its commands by default, in `[package.metadata.octopod]` of its manifest: each setting has the
//! long name of an option, and its value or a table with a value for each of some commands. What the command line says, or what excludes a
//! setting, counts instead, except that values of `append` add up.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Command};
use strum::VariantArray;
use toml::Value;

use crate::base::project::{Project, SETTINGS};
use crate::base::{Error, Workspace};
use crate::machine::EmulatorKind;

/// Options whose value is a path: relative ones begin at the manifest.
const PATHS: [&str; 8] = ["rows", "kernel", "json", "out", "pictures", "replay", "junit", "module"];

/// Settings that do not concern `bench`, which has a machine of its own.
const OF_OTHER_MACHINES: [&str; 2] = ["smp", "accel"];

/// Settings whose values are those of one emulator.
const OF_EMULATORS: [&str; 5] = ["accel", "boot", "cpu", "machine", "trace"];

/// The number of CPUs. Its value may have properties of QEMU, which Bochs has not.
const SMP: &str = "smp";

/// The option that chooses the emulator.
const EMULATOR: &str = "emulator";

/// Settings of a build, which do not concern a file that was built already.
const OF_BUILDS: [&str; 3] = ["debug", "compressed", "inject"];

/// The arguments by which a command line names such a file.
const BUILT: [&str; 2] = ["elf", "kernel"];

/// The command that runs rows.
const MATRIX: &str = "matrix";

/// Commands that boot machines and have no `--smp`: theirs have CPUs of their own.
const RUN_MACHINES: [&str; 2] = [MATRIX, "soak"];

/// Options of commands that boot which `matrix` takes itself: they are no settings of a row.
const OF_MATRIX: [&str; 10] =
    ["accel", "bochs", "json", "newest-qemu", "out", "progress", "qemu", "quiet", "verbose", "yes"];

/// Settings by their common name, with the option that they stand for.
const OTHER_NAMES: [(&str, &str); 2] = [("memory", "mem"), ("machines", "rows")];

/// Variables of the environment with the option that they stand for, where neither the command line nor the project says it.
const VARIABLES: [(&str, &str); 4] = [
    ("OCTOPOD_SMP", "smp"),
    ("OCTOPOD_ACCEL", "accel"),
    ("OCTOPOD_OUT", "out"),
    ("OCTOPOD_TIMEOUT", TIMEOUT),
];

/// The limit of a run. Rows have longer ones of their own, so that no note tells that it does not concern them.
const TIMEOUT: &str = "timeout";

/// Adds the settings of the project of this process to the words of a command line, the program first, and then those of the
/// environment. Returns the words and notes for the user, who need not see them where the words are refused or ask for silence.
///
/// # Errors
/// A setting is no option of any command, or has a value that no option takes; the project's manifest is wrong.
pub(crate) fn add(words: Vec<OsString>, grammar: &Command) -> Result<(Vec<OsString>, Vec<String>), Error> {
    let words = match taker(&words, grammar) {
        Some(command) => match Workspace::find_or_here()?.project() {
            Some(project) => Settings { project, command, grammar, is_row: false }.add(words)?,
            None => words,
        },
        None => words,
    };
    let mut notes = Vec::new();
    let note = |note: &str| notes.push(note.to_owned());
    let words = with_variables(words, grammar, |variable| std::env::var_os(variable), note)?;
    Ok((words, notes))
}

/// Adds the settings of the environment. An empty one is none. One that a command does not take is ignored, with a note if the command
/// boots something or runs a workload.
fn with_variables(
    mut words: Vec<OsString>,
    grammar: &Command,
    value_of: impl Fn(&str) -> Option<OsString>,
    mut note: impl FnMut(&str),
) -> Result<Vec<OsString>, Error> {
    let Some(command) = named(&words, grammar) else { return Ok(words) };
    let name_of_command = command.get_name();
    for (variable, name) in VARIABLES {
        let Some(value) = value_of(variable).filter(|value| !value.is_empty()) else { continue };
        let given = Given::of(&words, command);
        let arg = option(command, name);
        if arg.is_some_and(|arg| given.has(arg)) {
            continue;
        }
        if let Some(why) = why_ignored(name, arg, &given, &value) {
            if name != TIMEOUT
                && (RUN_MACHINES.contains(&name_of_command) || option(command, "smp").is_some())
            {
                note(&format!("{variable} is ignored: {why}"));
            }
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

/// The reason why a setting of the environment does not concern a command.
fn why_ignored(name: &str, arg: Option<&Arg>, given: &Given<'_>, value: &OsStr) -> Option<String> {
    let command = given.command.get_name();
    let Some(arg) = arg else { return Some(format!("`{command}` has no --{name}")) };
    if is_of_other_machine(given.command, name) {
        return Some(format!("`{command}` has a machine of its own; --{name} changes it"));
    }
    if name == "accel" && given.emulator == Some(EmulatorKind::Bochs) {
        return Some("Bochs has no accelerator".to_owned());
    }
    if name == SMP && given.emulator == Some(EmulatorKind::Bochs) && !is_number(value) {
        return Some("Bochs takes a number".to_owned());
    }
    let other = given.excluding(arg)?;
    let other = other.get_long().map_or_else(|| other.get_id().to_string(), |long| format!("--{long}"));
    Some(format!("--{name} does not go with {other}"))
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
    named(words, grammar).filter(|command| takes_settings(command))
}

/// Returns whether a command takes settings: it boots a machine, or runs rows.
fn takes_settings(command: &Command) -> bool {
    option(command, "smp").is_some() || command.get_name() == MATRIX
}

/// The long name of the option that a setting stands for.
fn common_name(key: &str) -> &str {
    OTHER_NAMES.iter().find(|(other, _)| *other == key).map_or(key, |(_, name)| name)
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

    /// Refuses a table with the name of a command that does not take the option, or that there is not: the setting would concern nothing.
    fn check_commands(self, key: &str, value: &Value) -> Result<(), Error> {
        let Value::Table(by_command) = value else { return Ok(()) };
        let name = common_name(key);
        let takes = |command: &&Command| takes_settings(command) && option(command, name).is_some();
        let takers = self.grammar.get_subcommands().filter(takes).map(Command::get_name);
        let takers: Vec<&str> = takers.collect();
        // `matrix` refuses it before its rows.
        if self.is_row {
            return Ok(());
        }
        if !self.grammar.get_subcommands().any(|command| option(command, name).is_some()) {
            return Err(self.wrong(key, "no command has such an option"));
        }
        let unknown = by_command.keys().find(|command| !takers.contains(&command.as_str()));
        match unknown.filter(|_| !takers.is_empty()) {
            None => Ok(()),
            Some(command) => {
                let commands = takers.join(", ");
                Err(self
                    .wrong(key, &format!("{command} is no command with this option; those are {commands}")))
            }
        }
    }

    fn wrong(self, key: &str, problem: &str) -> Error {
        let manifest = self.project.folder.join("Cargo.toml");
        let key = if key.is_empty() { String::new() } else { format!(" {key}") };
        Error::Usage(format!("{}: {SETTINGS}{key}: {problem}", manifest.display()))
    }

    /// The emulator that the project's settings are for.
    fn emulator(self) -> EmulatorKind {
        let value = self.project.options.iter().find(|(key, _)| key == EMULATOR).map(|(_, value)| value);
        let value = match value {
            Some(Value::Table(by_command)) => by_command.get(self.command.get_name()),
            value => value,
        };
        let is_named = |emulator: &&EmulatorKind| value.and_then(Value::as_str) == Some(emulator.name());
        EmulatorKind::VARIANTS.iter().find(is_named).copied().unwrap_or_default()
    }

    /// The words with these settings, which may be some of the project's.
    fn with(self, words: &[OsString], settings: &[(String, Value)]) -> Result<Vec<OsString>, Error> {
        let Settings { project, command, grammar, is_row } = self;
        settings.iter().try_for_each(|(key, value)| self.check_commands(key, value))?;
        let mut added: Vec<OsString> = Vec::new();
        let given = Given::of(words, command);
        let is_of_other_emulator = given.emulator.is_some_and(|emulator| emulator != self.emulator());
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
            let name = common_name(key);
            let Some(arg) = option(command, name) else {
                // The command `matrix` has refused what no command takes.
                if is_row || grammar.get_subcommands().any(|other| option(other, name).is_some()) {
                    continue;
                }
                return Err(wrong("no command has such an option"));
            };
            if given.has(arg) && name != "append"
                || given.excluding(arg).is_some()
                || is_of_other_emulator && OF_EMULATORS.contains(&name)
                || is_row && OF_MATRIX.contains(&name)
            {
                continue;
            }
            if name == SMP
                && is_of_other_emulator
                && given.emulator == Some(EmulatorKind::Bochs)
                && text_of(value).is_some_and(|text| !is_number(text.as_ref()))
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
    /// The emulator, if it is among them.
    emulator: Option<EmulatorKind>,
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
        let args: Vec<&Arg> = command.get_arguments().filter(is_given).collect();
        let names_emulator = args.iter().any(|arg| arg.get_id() == EMULATOR);
        let emulator = matches.as_ref().filter(|_| names_emulator);
        let emulator = emulator.and_then(|matches| matches.get_one(EMULATOR).copied());
        Given { command, args, emulator }
    }

    fn has(&self, arg: &Arg) -> bool {
        self.args.iter().any(|given| given.get_id() == arg.get_id())
    }

    /// One of them that cannot stand beside `arg`, such as `--host` beside `--smp`, or makes it pointless.
    fn excluding(&self, arg: &Arg) -> Option<&'a Arg> {
        let conflicts = |one: &Arg, other: &Arg| {
            let conflicts = self.command.get_arg_conflicts_with(one);
            conflicts.iter().any(|conflict| conflict.get_id() == other.get_id())
        };
        let is_of_builds = arg.get_long().is_some_and(|name| OF_BUILDS.contains(&name));
        let excludes = |given: &&&Arg| {
            conflicts(given, arg)
                || conflicts(arg, given)
                || is_of_builds && BUILT.contains(&given.get_id().as_str())
        };
        self.args.iter().find(excludes).copied()
    }
}

/// Returns whether a value has digits alone.
fn is_number(value: &OsStr) -> bool {
    !value.is_empty() && value.as_encoded_bytes().iter().all(u8::is_ascii_digit)
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
mod tests;
