//! The trace of a run: read from the kernel's stream, written as a file that Perfetto and chrome://tracing open.

mod chrome;
mod stream;
mod threads;

use std::fs::File;

pub use stream::{CpuTrace, Section, Start, StreamError, sections};

use crate::base::Error;
use crate::base::files::{RunFolder, output};
use crate::machine::emulator::TRACE_STREAM;
use crate::report::event_names::EventNames;
use crate::report::trace::TraceReport;
use crate::run::folder::TRACE;
use chrome::Timeline;

/// Converts the run's stream to a file for trace viewers, and removes the stream.
///
/// # Errors
/// The stream cannot be read, or the file cannot be written. No file is left.
pub fn convert(folder: &RunFolder, names: &EventNames) -> Result<TraceReport, Error> {
    let (stream, path) = (folder.file(TRACE_STREAM), folder.file(TRACE));
    let file = File::open(&stream).map_err(Error::file("read", stream.clone()))?;
    let timeline = timeline(file).map_err(|error| Error::Failed(error.to_string()))?;
    output::write_by(&path, |file| timeline.write(file, names)).map_err(Error::file("write", path))?;
    // It has served its purpose.
    let _ = std::fs::remove_file(&stream);
    Ok(timeline.report())
}

/// The events of a stream, ready to be written.
fn timeline(stream: impl std::io::Read) -> Result<Timeline, StreamError> {
    let mut timeline = Timeline::default();
    sections(stream, |section| match section {
        // A kernel that panics while it sends its trace begins again.
        Section::Start(start) => timeline = Timeline::new(start),
        Section::Cpu(cpu) => timeline.add(&cpu),
        Section::Thread { id, name } => timeline.name(id, name),
    })?;
    timeline.finish();
    Ok(timeline)
}

#[cfg(test)]
mod tests;
