//! QEMU for x86-64: the one that the user names, the one that is there, or one from the system's package manager.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::base::process::capture;
use crate::base::{Error, Message, Observer, Version};
use crate::machine::qemu::Qemu;
use crate::setup::apt;
use crate::setup::install::Installer;
use crate::setup::limits::PROBE_LIMIT;
use crate::setup::packages::{Manager, find_program};

const PROGRAM: &str = "qemu-system-x86_64";

/// Finds QEMU, and installs it if it is missing; `named` is the one that the user wants.
pub fn provide(named: Option<&OsStr>, observer: &mut dyn Observer) -> Result<Qemu, Error> {
    let program = match find(named)? {
        Some(program) => program,
        None => {
            install(observer)?;
            find_program(PROGRAM)
                .ok_or_else(|| missing("the package that should hold it was installed without it"))?
        }
    };
    let qemu = probe(&program)?;
    if qemu.version < Version::OLDEST_TESTED {
        let oldest = Version::OLDEST_TESTED;
        observer
            .receive(Message::Note(&format!("QEMU {} is older than any tested ({oldest})", qemu.version)));
    }
    Ok(qemu)
}

/// The QEMU that is there, if one is. One that the user names must be.
pub(super) fn find(named: Option<&OsStr>) -> Result<Option<PathBuf>, Error> {
    let Some(named) = named.filter(|name| !name.is_empty()) else {
        return Ok(find_program(PROGRAM));
    };
    match which::which(named) {
        Ok(program) => Ok(Some(program)),
        Err(_) => {
            let what = format!("{}, the QEMU that --qemu or OCTOPOD_QEMU names,", named.display());
            Err(Error::MissingByHand { what, advice: "there is no such program".to_owned() })
        }
    }
}

/// Asks a QEMU for its version.
pub(crate) fn probe(program: &Path) -> Result<Qemu, Error> {
    let answer = capture(Command::new(program).arg("--version"), PROBE_LIMIT)?;
    match Version::from_banner(&answer.stdout) {
        Some(version) => Ok(Qemu { program: program.to_owned(), version }),
        None => {
            let (program, answer) = (program.display(), answer.tail(3));
            Err(Error::Failed(format!("{program} does not answer to --version as QEMU does: {answer}")))
        }
    }
}

fn install(observer: &mut dyn Observer) -> Result<(), Error> {
    let installer = Installer::find().map_err(|obstacle| missing(&obstacle))?;
    let manager = installer.manager;
    observer.receive(Message::Note(&format!("QEMU is missing: installing it with {}", manager.program())));
    if manager == Manager::Apt {
        return apt::install_qemu(&installer.program, &installer.privilege, observer);
    }
    installer.install(&[manager.qemu_package()], observer)
}

fn missing(obstacle: &str) -> Error {
    let what = format!("QEMU ({PROGRAM})");
    match Manager::find() {
        Some(manager) => Error::Missing { what, obstacle: obstacle.to_owned(), line: manager.line() },
        None => Error::MissingByHand {
            what,
            advice: format!("{obstacle}. See https://www.qemu.org/download/, or name one by --qemu PATH"),
        },
    }
}
