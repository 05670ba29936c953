//! Reads the report of a run and checks it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::error::Category;

use crate::base::files::input;
use crate::base::{Error, text};
use crate::report::document::{OLDEST_SCHEMA, SCHEMA};
use crate::report::{Report, check};

/// A machine of 4,096 CPUs that has panicked leaves less.
const MAX_REPORT_BYTES: u64 = 256 << 20;

/// The number alone, to say what is wrong with a report of another schema rather than that a field is missing.
#[derive(Deserialize)]
struct Numbered {
    schema: u32,
}

/// A run's report: its folder is named, or the file itself.
///
/// # Errors
/// There is none, or none that this launcher can read.
pub fn read(run: &Path) -> Result<Report, Error> {
    let path = report_of(run);
    let bytes = input::read(&path, MAX_REPORT_BYTES).map_err(|error| match error {
        Error::File { source, .. } if source.kind() == ErrorKind::NotFound => {
            Error::Failed(format!("no run at {}: name the folder of one, or its report.json", path.display()))
        }
        other => other,
    })?;
    let unreadable =
        |problem: serde_json::Error| Error::Format { path: path.clone(), problem: in_words(&problem) };
    let numbered: Numbered = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if !(OLDEST_SCHEMA..=SCHEMA).contains(&numbered.schema) {
        let problem =
            format!("its schema is {}, this launcher reads {OLDEST_SCHEMA} to {SCHEMA}", numbered.schema);
        return Err(Error::Format { path, problem });
    }
    let report: Report = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if let Some(problem) = check::problem(&report) {
        return Err(Error::Format { path, problem: format!("its numbers cannot be true: {problem}") });
    }
    text::cleaned(report).map_err(unreadable)
}

/// The report of a run: its folder is named, or the file itself.
pub fn report_of(run: &Path) -> PathBuf {
    if run.is_dir() { run.join("report.json") } else { run.to_path_buf() }
}

/// The error in a report's JSON.
fn in_words(problem: &serde_json::Error) -> String {
    match problem.classify() {
        Category::Eof => format!("it is cut off: {problem}"),
        Category::Syntax => format!("it is no JSON: {problem}"),
        Category::Data => format!("it is no report of a run: {problem}"),
        Category::Io => problem.to_string(),
    }
}
