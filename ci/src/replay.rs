//! `stress --replay FILE`: a recorded trace is checked here, with the kernel's own code, and then goes to the kernel as a
//! module beside it, or to the threads of `--host`.

use std::fs;
use std::path::{Path, PathBuf};

use octopod::boot::command_line::Workload;
use octopod::stress::trace;

use crate::cli::Options;
use crate::error::Error;
use crate::files;
use crate::rundir::RunDir;
use crate::values::Word;

/// A trace of fifty million events is smaller.
const MAX_TRACE_BYTES: u64 = 1 << 30;

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
    let text = files::read(path, MAX_TRACE_BYTES)?;
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::report::VerdictKind;

    fn refusal(arguments: &[&str]) -> String {
        let options = Options::try_parse_from([&["octopod"], arguments].concat()).unwrap();
        let error = options.check().unwrap_err();
        assert_eq!(error.verdict(), VerdictKind::Usage);
        error.to_string()
    }

    #[test]
    fn what_cannot_be_replayed_is_refused_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace");
        fs::write(&file, "+0 0 0\n-0 0\n-0 1\n").unwrap();
        let file = file.to_str().unwrap();
        let problem = "line 3: run 0 is freed a second time";
        assert_eq!(refusal(&["--replay", file]), format!("{file}, {problem}"));
        assert_eq!(refusal(&["--workloads", "replay"]), "--workloads replay needs a trace: --replay FILE");
        assert!(
            refusal(&["--replay", file, "--boot", "uefi"])
                .starts_with("--replay does not go with --boot uefi")
        );
    }

    #[test]
    fn the_kernel_is_told_to_replay() {
        let line = |arguments: &[&str]| {
            Options::try_parse_from([&["octopod", "--replay", "t"], arguments].concat())
                .unwrap()
                .kernel_command_line()
        };
        assert_eq!(line(&[]), "work=stress stress.workloads=replay");
        assert_eq!(line(&["--workloads", "pairs,replay"]), "work=stress stress.workloads=pairs,replay");
        assert_eq!(line(&["--workloads", "pairs"]), "work=stress stress.workloads=pairs,replay");
    }
}
