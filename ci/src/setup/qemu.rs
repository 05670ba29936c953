//! QEMU for x86-64.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::base::process::capture;
use crate::base::{Error, Message, Observer, Version};
use crate::machine::qemu::Qemu;
use crate::setup::apt;
use crate::setup::limits::PROBE_LIMIT;
use crate::setup::packages::Manager;
use crate::setup::tool::Tool;

pub(super) const TOOL: Tool = Tool {
    title: "QEMU",
    program: "qemu-system-x86_64",
    named_by: ["--qemu", "OCTOPOD_QEMU"],
    packages: Manager::qemu_packages,
    install_by_apt: Some(apt::install_qemu),
    is_by_apt_only: false,
    page: "https://www.qemu.org/download/",
};

/// Finds QEMU, and installs it if it is missing. `named` is the program that the user chose.
///
/// # Errors
/// QEMU is missing and cannot be installed, or is too old.
pub fn provide(named: Option<&OsStr>, observer: &mut dyn Observer) -> Result<Qemu, Error> {
    let qemu = probe(&TOOL.provide(named, observer)?)?;
    if qemu.version < Version::OLDEST_TESTED {
        let oldest = Version::OLDEST_TESTED;
        observer
            .receive(Message::Note(&format!("QEMU {} is older than any tested ({oldest})", qemu.version)));
    }
    Ok(qemu)
}

/// Asks a QEMU for its version.
pub(crate) fn probe(program: &Path) -> Result<Qemu, Error> {
    let answer = capture(Command::new(program).arg("--version"), PROBE_LIMIT)?;
    match Version::from_banner(&answer.stdout) {
        Some(version) => Ok(Qemu { program: program.to_owned(), version }),
        None => Err(TOOL.unexpected_answer(program, "--version", &answer)),
    }
}
