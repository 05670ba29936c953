//! `report`: reads runs, and leaves pages.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::error::Category;

use super::{lines, page};
use crate::cli::Options;
use crate::error::Error;
use crate::files::{input, output};
use crate::interrupt::Listener;
use crate::report::{Report, SCHEMA, check};
use crate::rundir::Workspace;
use crate::text;

/// A machine of 4,096 CPUs that has panicked leaves less.
const MAX_REPORT_BYTES: u64 = 256 << 20;

/// The largest reports take seconds.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The comparison's file.
pub const FILE: &str = "comparison.html";

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
            Error::NoReport { path: path.clone() }
        }
        other => other,
    })?;
    let unreadable =
        |problem: serde_json::Error| Error::Report { path: path.clone(), problem: in_words(&problem) };
    let numbered: Numbered = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if numbered.schema != SCHEMA {
        let problem = format!("its schema is {}, this launcher reads {SCHEMA}", numbered.schema);
        return Err(Error::Report { path, problem });
    }
    let report: Report = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if let Some(problem) = check::problem(&report) {
        return Err(Error::Report { path, problem: format!("its numbers cannot be true: {problem}") });
    }
    text::cleaned(report).map_err(unreadable)
}

/// The report of a run: its folder is named, or the file itself.
pub fn report_of(run: &Path) -> PathBuf {
    if run.is_dir() { run.join("report.json") } else { run.to_path_buf() }
}

/// What is wrong with a report's JSON.
fn in_words(problem: &serde_json::Error) -> String {
    match problem.classify() {
        Category::Eof => format!("it is cut off: {problem}"),
        Category::Syntax => format!("it is no JSON: {problem}"),
        Category::Data => format!("it is no report of a run: {problem}"),
        Category::Io => problem.to_string(),
    }
}

/// Does what `options` ask for; `say` is given each line for the terminal.
///
/// # Errors
/// A run that cannot be read, a page that cannot be drawn or written, more than two runs; a signal, or the end of the time.
pub fn command(options: &Options, mut say: impl FnMut(&str)) -> Result<(), Error> {
    // The work is not made to be broken off: a thread does it, which ends with the process.
    let (sender, done) = channel();
    let (woken, work) = (sender.clone(), options.clone());
    let _listener = Listener::new(move || drop(woken.send(Err(Error::Interrupted))));
    thread::spawn(move || sender.send(answer(&work)));
    let limit = options.timeout.map_or(TIME_LIMIT, Duration::from_secs);
    let lines = done.recv_timeout(limit).map_err(|_| Error::TimedOut { what: "report", limit })??;
    lines.iter().for_each(|line| say(line));
    Ok(())
}

/// The lines for the terminal.
fn answer(options: &Options) -> Result<Vec<String>, Error> {
    let workspace = Workspace::find()?;
    options.plan(&workspace).check(Some(&workspace.root))?;
    let runs: Vec<PathBuf> = options.matrix.names.iter().map(PathBuf::from).collect();
    match runs.as_slice() {
        [] => draw(&workspace.own().join("latest"), options),
        [run] => draw(run, options),
        [old, new] => {
            let (old, new_report) = (read(old)?, read(new)?);
            let mut said = lines(&old, &new_report);
            let folder = folder(new, options.out.as_deref());
            std::fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
            let path = folder.join(FILE);
            let page = page(&old, &new_report)
                .map_err(|problem| Error::Report { path: path.clone(), problem: problem.to_string() })?;
            output::write(&path, page.as_bytes()).map_err(Error::file("write", &path))?;
            said.push(path.display().to_string());
            Ok(said)
        }
        more => Err(Error::TooManyRuns { given: more.len() }),
    }
}

/// Where the pages go: where the user says, or to the run.
pub fn folder(run: &Path, named: Option<&Path>) -> PathBuf {
    let own = || if run.is_dir() { run } else { run.parent().unwrap_or(Path::new("")) };
    named.unwrap_or_else(own).to_path_buf()
}

fn draw(run: &Path, options: &Options) -> Result<Vec<String>, Error> {
    let report = read(run)?;
    let folder = folder(run, options.out.as_deref());
    if let Some(named) = &options.pictures {
        crate::page::write_pictures(&report, named)?;
    }
    crate::page::write(&report, &folder)
        .map_err(|problem| Error::Report { path: folder.clone(), problem: problem.to_string() })?;
    Ok(vec![folder.join(crate::page::FILE).display().to_string()])
}
