//! `stress --replay FILE`: checks a recorded trace by the kernel's own code, and passes it to the kernel as a module, or to the
//! threads of `--host`.

use std::path::{Path, PathBuf};

use octopod::memory::frames::FRAME_BYTES;
use octopod::stress::replay;

use crate::base::Error;
use crate::base::files::{RunFolder, input, output};
use crate::base::values::Smp;
use crate::machine::limits::{IMAGE_START, check_memory};
use crate::run::llfree;

/// The trace in the run's folder, and as a module.
pub const NAME: &str = "replay.trace";

/// No trace is larger.
const MOST_BYTES: u64 = 256 << 20;

/// The requirements of a trace on the machine that replays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// CPUs.
    pub cpus: usize,
    /// Frames that are allocated at once, at most.
    pub frames: u64,
}

impl Needs {
    /// The requirements of a checked trace.
    fn of(text: &[u8], size: &replay::TraceSize) -> Needs {
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
                Some(b'=') => {
                    let (_id, order, count) = (number(), number(), number());
                    orders.extend((0..count).map(|_| order));
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

    /// Checks that a machine with these CPUs, of which those numbers are `chosen`, and this memory can replay it.
    fn check(&self, smp: &Smp, chosen: &[u32], bytes: u64) -> Result<(), Error> {
        let cpus = chosen.iter().copied().chain([smp.cpus()]).min().unwrap_or_default() as usize;
        if cpus < self.cpus {
            let traced = self.cpus;
            return Err(Error::Usage(format!(
                "the trace is for {traced} CPUs, but the machine has {cpus}: use --smp {traced}"
            )));
        }
        let needs = self.frames.saturating_mul(FRAME_BYTES as u64).saturating_add(IMAGE_START);
        check_memory(bytes, needs, "the frames that the trace holds at once")
    }
}

/// Refuses a file that is no trace, and a trace that the machine is too small for.
///
/// # Errors
/// The error, with its line.
pub fn check(path: &Path, smp: &Smp, cpus: &[u32], memory_bytes: u64) -> Result<(), Error> {
    let (text, size) = read(path)?;
    Needs::of(&text, &size).check(smp, cpus, memory_bytes)
}

/// The trace in octopod's format, and how much there is in it. A trace of LLFree is converted.
///
/// # Errors
/// The file cannot be read, or is no trace of either format.
pub fn read(path: &Path) -> Result<(Vec<u8>, replay::TraceSize), Error> {
    let bytes = input::read(path, MOST_BYTES)?;
    let refuse = |problem: &dyn std::error::Error| Error::Usage(format!("{}, {problem}", path.display()));
    let text = if llfree::is_llfree(&bytes) {
        llfree::to_text(&bytes).map_err(|error| refuse(&error))?
    } else {
        bytes
    };
    let size = replay::check(&text).map_err(|error| refuse(&error))?;
    Ok((text, size))
}

/// Puts the trace into the run's folder, in octopod's format, for the command line there to work later on.
///
/// # Errors
/// The trace cannot be read, or not be written there.
pub fn place(path: &Path, folder: &RunFolder) -> Result<PathBuf, Error> {
    let (copy, (text, _)) = (folder.file(NAME), read(path)?);
    output::write(&copy, &text).map_err(Error::file("write", &copy))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_no_trace_is_refused_with_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace");
        fs::write(&file, "+0 0 0\n-0 0\n-0 1\n").unwrap();
        let error = check(&file, &Smp::default(), &[], 128 << 20).unwrap_err();
        assert_eq!(error.verdict().status(), 2);
        let problem = "line 3: run 0 is freed a second time";
        assert_eq!(error.to_string(), format!("{}, {problem}", file.display()));
    }

    #[test]
    fn a_trace_of_llfree_is_converted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace");
        // Two CPUs; on CPU 1 frame 512 of order 9 is allocated, and its first half freed.
        let mut bytes = vec![0; 8192];
        for (at, value) in [(0, 1_u32), (4, 2), (8, 4096), (4096, 1)] {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        for (at, time, is_alloc, order) in [(0, 1_u128, 1_u128, 9_u128), (1, 2, 0, 8)] {
            let event: u128 = time | 512 << 38 | is_alloc << 62 | order << 63;
            bytes[4112 + 16 * at..][..16].copy_from_slice(&event.to_le_bytes());
        }
        fs::write(&file, &bytes).unwrap();
        let (text, size) = read(&file).unwrap();
        assert!(text.ends_with(b"\n+0 9 1\n=0 8 2 1\n-1 1\n"), "{}", String::from_utf8_lossy(&text));
        assert_eq!(Needs::of(&text, &size), Needs { cpus: 2, frames: 512 });
        fs::write(&file, &bytes[..5000]).unwrap();
        let problem = "offset 0x1388: the LLFree trace ends here, within a page or without an event";
        assert_eq!(read(&file).unwrap_err().to_string(), format!("{}, {problem}", file.display()));
    }

    #[test]
    fn a_trace_for_another_machine_is_refused_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace");
        let refusal =
            |memory_bytes: u64| check(&file, &Smp::default(), &[], memory_bytes).unwrap_err().to_string();
        fs::write(&file, "+0 0 0\n-0 99\n").unwrap();
        let text = refusal(128 << 20);
        assert!(text.contains("100 CPUs") && text.contains("has 8:"), "{text}");
        // Two runs of 512 frames at once, of three.
        fs::write(&file, "+0 9 0\n+1 9 0\n-0 0\n+2 9 0\n").unwrap();
        let text = refusal(4 << 20);
        assert!(text.contains("at least 5 MiB"), "{text}");
        let (text, size) = read(&file).unwrap();
        assert_eq!(Needs::of(&text, &size), Needs { cpus: 1, frames: 1024 });
    }

    #[test]
    fn a_trace_needs_its_cpus_and_its_frames() {
        let needs = Needs { cpus: 4, frames: 1024 };
        let smp = |text: &str| text.parse::<Smp>().unwrap();
        assert!(needs.check(&smp("4"), &[], 8 << 20).is_ok());
        for (smp, chosen, bytes) in
            [(smp("3"), &[][..], 8 << 20), (smp("8"), &[8, 2], 8 << 20), (smp("4"), &[], 4 << 20)]
        {
            assert!(needs.check(&smp, chosen, bytes).is_err(), "{smp} {chosen:?}");
        }
    }
}
