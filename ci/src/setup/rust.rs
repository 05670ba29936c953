//! Tools of the soaks besides the installed Rust: nightly, its components, and subcommands of cargo.

use std::path::PathBuf;
use std::process::Command;

use crate::base::process::{capture, capture_with};
use crate::base::{Error, Message, Observer, Workspace, cargo};
use crate::setup::consent;
use crate::setup::limits::{INSTALL_GRACE, INSTALL_LIMIT, PROBE_LIMIT};

/// Installs nightly Rust with these components if it is missing.
///
/// # Errors
/// rustup fails.
pub fn nightly(components: &[&str], observer: &mut dyn Observer) -> Result<(), Error> {
    let with: Vec<String> =
        components.iter().flat_map(|name| ["--component".to_owned(), (*name).to_owned()]).collect();
    let words = ["toolchain", "install", "nightly", "--profile", "minimal"].map(str::to_owned);
    let arguments = [words.to_vec(), with].concat();
    let line = format!("rustup {}", arguments.join(" "));
    let names =
        if components.is_empty() { String::new() } else { format!(" with {}", components.join(", ")) };
    let what = format!("nightly Rust{names}");
    if which::which("rustup").is_err() {
        let advice = "rustup, which would add it, is not there: see https://rustup.rs".to_owned();
        return Err(Error::MissingByHand { what, advice });
    }
    let installed = || -> Result<bool, Error> {
        let mut list = Command::new("rustup");
        let answer = capture(list.args(["+nightly", "component", "list", "--installed"]), PROBE_LIMIT)?;
        let has = |name: &&str| answer.stdout.lines().any(|line| is_component(line, name));
        Ok(answer.status.success() && components.iter().all(has))
    };
    if installed()? {
        return Ok(());
    }
    install(what, line, Command::new("rustup").args(arguments), observer)?;
    match installed()? {
        true => Ok(()),
        false => Err(Error::MissingByHand {
            what: format!("a nightly Rust that has {}", components.join(", ")),
            advice: "`rustup toolchain install nightly-YYYY-MM-DD` may find an earlier one".to_owned(),
        }),
    }
}

/// Returns whether a line of rustup's list is of this component, with or without the host's name behind it.
fn is_component(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Returns the path of a subcommand of cargo, such as `cargo-fuzz`. A missing one is installed into the target folder.
///
/// # Errors
/// cargo fails to install the program.
pub fn program(name: &str, workspace: &Workspace, observer: &mut dyn Observer) -> Result<PathBuf, Error> {
    if let Ok(path) = which::which(name) {
        return Ok(path);
    }
    let root = workspace.own().join("tools");
    let path = root.join("bin").join(name);
    if path.exists() {
        return Ok(path);
    }
    let mut command = cargo::command();
    command.args(["install", "--locked", "--root"]).arg(&root).arg(name);
    cargo::forget_outer_cargo(&mut command);
    command.env("CARGO_TARGET_DIR", root.join("build"));
    install(name.to_owned(), format!("cargo install --locked {name}"), &mut command, observer)?;
    Ok(path)
}

/// Installs `what` by `command`, which people type as `line`, if that is allowed.
fn install(
    what: String,
    line: String,
    command: &mut Command,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    if let Err(obstacle) = consent::obtain(&line) {
        return Err(Error::Missing { what, obstacle, line });
    }
    observer.receive(Message::Note(&format!("adding {what}: {line}")));
    observer.receive(Message::Step(&line));
    let done =
        capture_with(command, INSTALL_LIMIT, INSTALL_GRACE, |line| observer.receive(Message::Tool(line)))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(Error::ProgramFailed {
            program: line,
            status: done.status.to_string(),
            output: done.tail(12),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_known_with_and_without_their_host() {
        assert!(is_component("miri-x86_64-unknown-linux-gnu", "miri"));
        assert!(is_component("rust-src", "rust-src"));
        assert!(!is_component("mirific", "miri"));
    }
}
