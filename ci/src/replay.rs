//! `stress --replay FILE`: a recorded trace is checked here, with the kernel's own code, and then goes to the kernel as a module
//! beside it, or to the threads of `--host`.

use std::fs;
use std::path::{Path, PathBuf};

use octopod::boot::command_line::Workload;
use octopod::stress::trace;

use crate::cli::Options;
use crate::error::Error;
use crate::rundir::RunDir;
use crate::values::Word;

/// Refuses a file that is no trace, and a door that brings no module along.
///
/// # Errors
/// What is wrong, with the line.
pub fn check(options: &Options) -> Result<(), Error> {
    let wants = |word: &Word| word.to_string() == Workload::Replay.name();
    let Some(path) = &options.replay else {
        let is_missing = options.workloads.iter().any(wants);
        return if is_missing { Err(Error::NoTrace) } else { Ok(()) };
    };
    if !options.host && options.boot.disc_for().is_some() {
        return Err(Error::ReplayByDisc { door: options.boot.name() });
    }
    read(path).map(drop)
}

/// The trace, which is one, and how much there is in it.
///
/// # Errors
/// The file cannot be read, or is none.
pub fn read(path: &Path) -> Result<(Vec<u8>, trace::Size), Error> {
    let text = fs::read(path).map_err(Error::file("read", path))?;
    let size = trace::check(&text).map_err(|problem| Error::Trace { path: path.to_owned(), problem })?;
    Ok((text, size))
}

/// Puts a copy into the run's folder, for the command line there to work later on.
///
/// # Errors
/// It cannot be copied.
pub fn place(options: &Options, folder: &RunDir) -> Result<Option<PathBuf>, Error> {
    let Some(path) = &options.replay else { return Ok(None) };
    let copy = folder.file("replay.trace");
    fs::copy(path, &copy).map_err(Error::file("copy", path))?;
    Ok(Some(copy))
}
