//! `stress --replay FILE`: a recorded trace is checked here, with the kernel's own code, and then goes to the kernel as a
//! module beside it, or to the threads of `--host`.

use std::path::{Path, PathBuf};

use octopod::boot::command_line::Workload;
use octopod::stress::trace;

use crate::base::error::Error;
use crate::base::files::{input, output};
use crate::base::values::Word;
use crate::commands::cli::Options;
use crate::machine::limits;
use crate::run::folder::RunDir;

/// No trace is larger.
const MOST_BYTES: u64 = 256 << 20;

/// What a machine must have to replay a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// CPUs.
    pub cpus: usize,
    /// Frames that are allocated at once, at most.
    pub frames: u64,
}

impl Needs {
    /// Those of a trace that has been checked.
    fn of(text: &[u8], size: &trace::Size) -> Needs {
        let mut orders: Vec<u32> = Vec::with_capacity(size.runs);
        let (mut held, mut most) = (0_u64, 0);
        for line in text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
            let mut numbers = line.get(1..).unwrap_or_default().split_whitespace().map(str::parse::<u32>);
            let mut number = || numbers.next().and_then(Result::ok).unwrap_or_default();
            match line.as_bytes().first() {
                Some(b'+') => {
                    let (_id, order) = (number(), number());
                    orders.push(order);
                    held = held.saturating_add(1 << order.min(63));
                    most = most.max(held);
                }
                Some(b'-') => {
                    let order = orders.get(number() as usize).copied().unwrap_or_default();
                    held = held.saturating_sub(1 << order.min(63));
                }
                _ => {}
            }
        }
        Needs { cpus: size.cpus, frames: most }
    }
}

/// Refuses a file that is no trace, a door that brings no module along, and a trace that the machine is too small for.
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
    let (text, size) = read(path)?;
    if options.host {
        return Ok(());
    }
    let needs = Needs::of(&text, &size);
    limits::check_replay(&needs, &options.smp, &options.cpus, options.mem.bytes())
}

/// The trace, which is one, and how much there is in it.
///
/// # Errors
/// The file cannot be read, or is none.
pub fn read(path: &Path) -> Result<(Vec<u8>, trace::Size), Error> {
    let text = input::read(path, MOST_BYTES)?;
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
    output::copy(path, &copy).map_err(Error::file("copy", path))?;
    Ok(Some(copy))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::base::verdict::VerdictKind;

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
    fn a_trace_for_another_machine_is_refused_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace");
        let path = file.to_str().unwrap();
        fs::write(&file, "+0 0 0\n-0 99\n").unwrap();
        let text = refusal(&["--replay", path]);
        assert!(text.contains("100 CPUs") && text.contains("on 8"), "{text}");
        // Two runs of 512 frames at once, of three.
        fs::write(&file, "+0 9 0\n+1 9 0\n-0 0\n+2 9 0\n").unwrap();
        let text = refusal(&["--replay", path, "--mem", "4M"]);
        assert!(text.contains("at least 5 MiB"), "{text}");
        let (text, size) = read(&file).unwrap();
        assert_eq!(Needs::of(&text, &size), Needs { cpus: 1, frames: 1024 });
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
