//! Hints for a refused command line: which command has the option, and the present name of a renamed one.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Options that are spelled otherwise now.
const RENAMED: [(&str, &str); 2] = [("--type", "--command LINE, or -c LINE"), ("--fault", "--inject NAME")];

/// Adds a hint to a refusal, if there is one.
pub(crate) fn add(mut error: clap::Error, grammar: &Command, words: &[OsString]) -> clap::Error {
    let hint = match error.kind() {
        ErrorKind::UnknownArgument => unknown_argument(&error, grammar, words),
        ErrorKind::MissingRequiredArgument if words.get(1).is_some_and(|word| word == "test") => {
            Some("`cargo test` builds the file and starts this command with it".to_owned())
        }
        ErrorKind::InvalidSubcommand => Some(format!("the commands are {}", commands(grammar).join(", "))),
        _ => None,
    };
    if let Some(hint) = hint {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    error
}

fn unknown_argument(error: &clap::Error, grammar: &Command, words: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let option = argument.split('=').next().unwrap_or(argument);
    if let Some((old, new)) = RENAMED.iter().find(|(old, _)| *old == option) {
        return Some(format!("{old} is now {new}"));
    }
    let command = words.get(1)?.to_str()?;
    if commands(grammar).contains(&option) {
        return Some(format!("the command comes first: octopod {option} [OPTIONS]"));
    }
    let name = option.strip_prefix("--")?;
    let has_it = |known: &&Command| known.get_arguments().any(|arg| arg.get_long() == Some(name));
    // It stands where it is none.
    if grammar.find_subcommand(command).as_ref().is_some_and(has_it) {
        return Some(format!("{option} is an option: it stands before --"));
    }
    let owners: Vec<&str> = grammar.get_subcommands().filter(has_it).map(Command::get_name).collect();
    let (last, others) = owners.split_last()?;
    let owners =
        if others.is_empty() { (*last).to_owned() } else { format!("{} and {last}", others.join(", ")) };
    Some(format!("{option} is an option of {owners}, not of {command}"))
}

fn commands(grammar: &Command) -> Vec<&str> {
    grammar.get_subcommands().map(Command::get_name).collect()
}
