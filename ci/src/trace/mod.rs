//! The trace of a run: read from the kernel's stream, written as a file that Perfetto and chrome://tracing open.

mod chrome;
mod stream;
mod words;

use std::path::Path;

pub use stream::{CpuTrace, StreamError, Trace, read};
pub use words::Words;

use crate::error::Error;
use crate::files;
use crate::report::TraceReport;
use crate::rundir::RunDir;

/// The file of the run's folder that the kernel's stream goes to.
pub const STREAM: &str = "trace.bin";

/// A kernel with 4,096 CPUs and full rings sends less.
const MAX_STREAM_BYTES: u64 = 400 << 20;

/// The file that is made of it.
pub const FILE: &str = "trace.json";

/// Makes the file of the run's stream, which is then no longer needed. `Err` says why there is none.
pub fn convert(folder: &RunDir, words: &Words) -> Result<TraceReport, Error> {
    let stream = folder.file(STREAM);
    let bytes = files::read(&stream, MAX_STREAM_BYTES)?;
    let trace = read(&bytes).map_err(|error| Error::TraceStream { error })?;
    write(&trace, words, &folder.file(FILE))?;
    // Nobody misses it.
    let _ = std::fs::remove_file(&stream);
    Ok(TraceReport {
        cpus: trace.cpus.len(),
        events: trace.cpus.iter().map(|cpu| cpu.events.len() as u64).sum(),
        lost: trace.lost(),
    })
}

fn write(trace: &Trace, words: &Words, path: &Path) -> Result<(), Error> {
    let text = serde_json::to_vec(&chrome::document(trace, words)).unwrap_or_default();
    std::fs::write(path, text).map_err(Error::file("write", path))
}

#[cfg(test)]
mod tests;
