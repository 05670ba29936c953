//! QEMU for x86-64.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

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
    newer_by_apt: Some(apt::install_newer_qemu),
    is_by_apt_only: false,
    page: "https://www.qemu.org/download/",
};

/// Asks for a newer QEMU, as `--newest-qemu` does.
pub(crate) const NEWEST: &str = "OCTOPOD_NEWEST_QEMU";

/// True if the command line asks for a newer QEMU.
static IS_NEWEST_ASKED: AtomicBool = AtomicBool::new(false);

/// Asks for a newer QEMU in all runs of this process: `--newest-qemu`.
pub fn ask_for_newest() {
    IS_NEWEST_ASKED.store(true, Ordering::Relaxed);
}

fn is_newest_asked() -> bool {
    let by_environment = std::env::var_os(NEWEST).is_some_and(|value| !value.is_empty() && value != *"0");
    by_environment || IS_NEWEST_ASKED.load(Ordering::Relaxed)
}

/// Finds QEMU, and installs that of the distribution if it is missing. `named` is the program that the user chose.
///
/// # Errors
/// QEMU is missing and cannot be installed, or is too old.
pub fn provide(named: Option<&OsStr>, observer: &mut dyn Observer) -> Result<Qemu, Error> {
    provide_for(named, false, observer)
}

/// As [`provide`]. Where the machine `needs_newer` than distributions have, or the user asks for it, a QEMU that is missing or too
/// old is installed from the distribution's backports, if it has them. A program that the user chose is never replaced.
///
/// # Errors
/// As for [`provide`].
pub(crate) fn provide_for(
    named: Option<&OsStr>,
    needs_newer: bool,
    observer: &mut dyn Observer,
) -> Result<Qemu, Error> {
    let is_named = named.is_some_and(|name| !name.is_empty());
    let program = match (needs_newer || is_newest_asked()) && !is_named {
        true => TOOL.provide_newer(is_new_enough, observer)?,
        false => TOOL.provide(named, observer)?,
    };
    let qemu = probe(&program)?;
    if qemu.version < Version::OLDEST_TESTED {
        let oldest = Version::OLDEST_TESTED;
        observer
            .receive(Message::Note(&format!("QEMU {} is older than any tested ({oldest})", qemu.version)));
    }
    Ok(qemu)
}

/// Returns whether a QEMU has what the distributions' older ones lack. One that does not answer is reported where it is used.
fn is_new_enough(program: &Path) -> bool {
    probe(program).map_or(true, |qemu| qemu.version >= Version::TCG_X2APIC)
}

/// Asks a QEMU for its version.
pub(crate) fn probe(program: &Path) -> Result<Qemu, Error> {
    let answer = capture(Command::new(program).arg("--version"), PROBE_LIMIT)?;
    match Version::from_banner(&answer.stdout) {
        Some(version) => Ok(Qemu { program: program.to_owned(), version }),
        None => Err(TOOL.unexpected_answer(program, "--version", &answer)),
    }
}
