//! Options that a project gives its commands by default, in `[package.metadata.octopod]` of its manifest: each setting has the
//! long name of an option, and its value or a table with a value for each of some commands. What the command line says counts instead, except that values of `append` add up.

use std::ffi::OsString;

use clap::{ArgAction, Command};
use toml::Value;

use crate::base::project::{Project, SETTINGS};
use crate::base::{Error, Workspace};

/// Options whose value is a path: relative ones begin at the manifest.
const PATHS: [&str; 8] = ["rows", "kernel", "json", "out", "pictures", "replay", "junit", "module"];

/// Settings that do not concern `bench`, which has a machine of its own.
const OF_OTHER_MACHINES: [&str; 2] = ["smp", "accel"];

/// Settings by their common name, with the option that they stand for.
const OTHER_NAMES: [(&str, &str); 2] = [("memory", "mem"), ("machines", "rows")];

/// Adds the settings of the project of this process to the words of a command line, the program first.
///
/// # Errors
/// A setting is no option of any command, or has a value that no option takes; the project's manifest is wrong.
pub(crate) fn add(words: Vec<OsString>, grammar: &Command) -> Result<Vec<OsString>, Error> {
    let takes_settings =
        |command: &&Command| command.get_arguments().any(|arg| arg.get_long() == Some("smp"));
    let named = words.get(1).and_then(|word| word.to_str()).and_then(|word| grammar.find_subcommand(word));
    let Some(command) = named.filter(|one| takes_settings(one) || one.get_name() == "matrix") else {
        return Ok(words);
    };
    match Workspace::find_or_here()?.project() {
        Some(project) => with(words, project, command, grammar),
        None => Ok(words),
    }
}

fn with(
    mut words: Vec<OsString>,
    project: &Project,
    command: &Command,
    grammar: &Command,
) -> Result<Vec<OsString>, Error> {
    let mut added: Vec<OsString> = Vec::new();
    let conflicts = excluded_by_host(&words, command);
    for (key, value) in &project.options {
        if command.get_name() == "bench" && OF_OTHER_MACHINES.contains(&key.as_str()) {
            continue;
        }
        let value = match value {
            Value::Table(by_command) => match by_command.get(command.get_name()) {
                Some(value) => value,
                None => continue,
            },
            value => value,
        };
        let wrong = |problem: &str| {
            let manifest = project.folder.join("Cargo.toml");
            Error::Usage(format!("{}: {SETTINGS} {key}: {problem}", manifest.display()))
        };
        let name = OTHER_NAMES.iter().find(|(other, _)| other == key).map_or(key.as_str(), |(_, name)| *name);
        let find = |command: &Command| {
            command
                .get_arguments()
                .find(|arg| arg.get_long() == Some(name))
                .map(|arg| arg.get_action().clone())
        };
        let Some(action) = find(command) else {
            if grammar.get_subcommands().any(|other| find(other).is_some()) {
                continue;
            }
            return Err(wrong("no command has such an option"));
        };
        let is_given = words.iter().take_while(|word| *word != "--").any(|word| {
            let word = word.to_string_lossy();
            word.strip_prefix("--").is_some_and(|word| word.split('=').next() == Some(name))
        });
        if is_given && name != "append" || conflicts.contains(&name) {
            continue;
        }
        let option = format!("--{name}");
        let at = |text: String| match PATHS.contains(&name) {
            true => project.folder.join(text).into_os_string(),
            false => text.into(),
        };
        match (value, &action) {
            (Value::Boolean(true), ArgAction::SetTrue) => added.push(option.into()),
            (Value::Boolean(false), ArgAction::SetTrue) => {}
            (_, ArgAction::SetTrue) => return Err(wrong("must be true or false")),
            (Value::Array(values), ArgAction::Append) => {
                for value in values {
                    let text = text_of(value).ok_or_else(|| wrong("must be a list of strings or numbers"))?;
                    added.extend([option.clone().into(), at(text)]);
                }
            }
            _ => {
                let text = text_of(value).ok_or_else(|| wrong("must be a string or a number"))?;
                added.extend([option.into(), at(text)]);
            }
        }
    }
    words.splice(2..2, added);
    Ok(words)
}

/// The options that `--host` excludes, if the words have it: a machine's settings do not concern a run without one.
fn excluded_by_host<'a>(words: &[OsString], command: &'a Command) -> Vec<&'a str> {
    let host = command.get_arguments().find(|arg| arg.get_long() == Some("host"));
    let is_given = words.iter().take_while(|word| *word != "--").any(|word| word == "--host");
    let excluded = host.filter(|_| is_given).map(|host| command.get_arg_conflicts_with(host));
    excluded.unwrap_or_default().into_iter().filter_map(|arg| arg.get_long()).collect()
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
    use super::*;
    use crate::commands::cli;

    fn read(settings: &str, line: &str) -> Result<String, String> {
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
        let command = grammar.find_subcommand(words[1].to_str().unwrap()).unwrap();
        let words = with(words, &project, command, &grammar).map_err(|error| error.to_string())?;
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
    fn wrong_settings_are_refused_with_their_place() {
        for (settings, part) in [
            ("smb = 4", "smb: no command has such an option"),
            ("trace = 1", "trace: must be true or false"),
            ("smp = [1]", "smp: must be a string or a number"),
        ] {
            let text = read(settings, "boot").unwrap_err();
            assert!(
                text.starts_with("/p/Cargo.toml: [package.metadata.octopod]") && text.ends_with(part),
                "{text}"
            );
        }
    }
}
