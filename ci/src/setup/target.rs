//! The Rust target that the kernel is built for: its core library comes with rustup, not with the compiler.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::base::cargo::TARGET;
use crate::base::process::{capture, capture_with};
use crate::base::{Error, Message, Observer};
use crate::setup::consent;
use crate::setup::limits::{INSTALL_GRACE, INSTALL_LIMIT, PROBE_LIMIT};

/// Installs the target if it is missing.
///
/// # Errors
/// rustup fails, or is missing.
pub fn provide(observer: &mut dyn Observer) -> Result<(), Error> {
    if installed()? {
        return Ok(());
    }
    let what = format!("the Rust target {TARGET}");
    let line = format!("rustup target add {TARGET}");
    if which::which("rustup").is_err() {
        let advice = format!(
            "rustup is not there to add it. Install rustup (https://rustup.rs), or your distribution's package with \
             Rust's standard library for {TARGET}"
        );
        return Err(Error::MissingByHand { what, advice });
    }
    if let Err(obstacle) = consent::obtain(&line) {
        return Err(Error::Missing { what, obstacle, line });
    }
    observer.receive(Message::Note(&format!("adding {what}: {line}")));
    observer.receive(Message::Step(&line));
    let mut command = Command::new("rustup");
    command.args(["target", "add", TARGET]);
    let added = capture_with(&mut command, INSTALL_LIMIT, INSTALL_GRACE, |line| {
        observer.receive(Message::Tool(line))
    })?;
    // The installed target counts, not rustup's message: the compiler in use may be of another toolchain.
    match added.status.success() && installed()? {
        true => Ok(()),
        false => Err(Error::ProgramFailed {
            program: line,
            status: added.status.to_string(),
            output: added.tail(12),
        }),
    }
}

/// Returns whether the compiler in use has the target's core library.
pub(super) fn installed() -> Result<bool, Error> {
    let folder = rustc(&["--print", "target-libdir", "--target", TARGET])?;
    let Ok(entries) = fs::read_dir(PathBuf::from(folder.trim())) else {
        return Ok(false);
    };
    Ok(entries
        .filter_map(Result::ok)
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")))
}

/// Asks the compiler that cargo will use.
pub(super) fn rustc(arguments: &[&str]) -> Result<String, Error> {
    let named = std::env::var_os("RUSTC");
    let rustc = named.clone().unwrap_or_else(|| "rustc".into());
    let answer = capture(Command::new(&rustc).args(arguments), PROBE_LIMIT)?;
    let source = if named.is_some() { ", which the environment's RUSTC names," } else { "" };
    match answer.status.success() {
        true => Ok(answer.stdout),
        false => Err(Error::ProgramFailed {
            program: format!("{} {}{source}", rustc.display(), arguments.join(" ")),
            status: answer.status.to_string(),
            output: answer.tail(12),
        }),
    }
}
