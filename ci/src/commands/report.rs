//! `report`: reads runs, and leaves pages.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::base::checkout::Workspace;
use crate::base::error::Error;
use crate::base::files::output;
use crate::base::interrupt::Listener;
use crate::commands::cli::Options;
use crate::present::comparison::page::page;
use crate::present::comparison::text::lines;
use crate::report::read::read;

/// The largest reports take seconds.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The comparison's file.
pub const FILE: &str = "comparison.html";

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
        crate::present::page::write_pictures(&report, named)?;
    }
    crate::present::page::write(&report, &folder)
        .map_err(|problem| Error::Report { path: folder.clone(), problem: problem.to_string() })?;
    Ok(vec![folder.join(crate::present::page::FILE).display().to_string()])
}
