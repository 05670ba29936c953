//! gdb, looked for and installed only when a run is to be debugged.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::base::{Error, Message, Observer};
use crate::setup::install::Installer;
use crate::setup::packages::{Manager, find_program};

/// Its program, and the package that holds it, everywhere.
pub(super) const PROGRAM: &str = "gdb";

/// Where it is, if it is.
pub fn find() -> Option<PathBuf> {
    find_program(PROGRAM)
}

/// Finds it, and installs it if it is missing.
pub fn provide(observer: &mut dyn Observer) -> Result<PathBuf, Error> {
    // Of several runs in one process, the first installs, and the others find.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = find() {
        return Ok(program);
    }
    let installer = Installer::find().map_err(|obstacle| missing(&obstacle))?;
    observer.receive(Message::Note(&format!(
        "gdb is missing: installing it with {}",
        installer.manager.program()
    )));
    installer.install(&[PROGRAM], observer)?;
    find().ok_or_else(|| missing("the package that should hold it was installed without it"))
}

fn missing(obstacle: &str) -> Error {
    let (what, obstacle) = (PROGRAM.to_owned(), obstacle.to_owned());
    match Manager::find() {
        Some(manager) => Error::Missing { what, obstacle, line: manager.line_for(&[PROGRAM]) },
        None => Error::MissingByHand { what, advice: obstacle },
    }
}
