//! `report`: draws the pages of a run again, or compares two runs.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::base::files::{Plan, output};
use crate::base::interrupt::Listener;
use crate::base::{Error, Workspace};
use crate::present::comparison::page::page as comparison;
use crate::present::comparison::text::lines;
use crate::present::page;
use crate::present::terminal::{Console, TerminalConfig};
use crate::report::read::{read, report_of};
use crate::run::folder;

/// The largest reports take seconds.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The comparison's file.
pub const FILE: &str = "comparison.html";

/// Options of `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// A run, or two: folders of runs, or their report.json [default: the newest].
    #[arg(value_name = "RUN")]
    pub runs: Vec<PathBuf>,

    /// Leave the pages in this folder [default: that of the run, or of the newer one].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Leave the pictures in this folder as well.
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,

    /// Give up after so long [default: 60].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub timeout: Option<u64>,
}

impl ReportArgs {
    /// Does what is asked for. Returns the exit status.
    pub fn execute(&self) -> u8 {
        let console = Console::new(&TerminalConfig::default());
        match self.lines() {
            Ok(lines) => {
                lines.iter().for_each(|line| console.say(line));
                0
            }
            Err(error) => console.refuse(&error),
        }
    }

    /// The lines for the terminal.
    fn lines(&self) -> Result<Vec<String>, Error> {
        // The work is not made to be broken off: a thread does it, which ends with the process.
        let (sender, done) = channel();
        let (woken, work) = (sender.clone(), self.clone());
        let _listener = Listener::new(move || drop(woken.send(Err(Error::Interrupted))));
        thread::spawn(move || sender.send(work.answer()));
        let limit = self.timeout.map_or(TIME_LIMIT, Duration::from_secs);
        done.recv_timeout(limit).map_err(|_| Error::TimedOut { what: "report", limit })?
    }

    fn answer(&self) -> Result<Vec<String>, Error> {
        let workspace = Workspace::find_or_here()?;
        self.files(&workspace).check(Some(&workspace.root))?;
        match self.runs.as_slice() {
            [] => self.draw(&newest(&workspace)),
            [run] => self.draw(run),
            [old, new] => {
                let (old, new_report) = (read(old)?, read(new)?);
                let mut lines = lines(&old, &new_report);
                let folder = folder_of(new, self.out.as_deref());
                std::fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
                let path = folder.join(FILE);
                let page = comparison(&old, &new_report).map_err(Error::format(&path))?;
                output::write(&path, page.as_bytes()).map_err(Error::file("write", &path))?;
                lines.push(path.display().to_string());
                Ok(lines)
            }
            more => {
                let given = more.len();
                Err(Error::Usage(format!("report takes two runs at most, and there are {given}")))
            }
        }
    }

    fn draw(&self, run: &Path) -> Result<Vec<String>, Error> {
        let report = read(run)?;
        let folder = folder_of(run, self.out.as_deref());
        if let Some(named) = &self.pictures {
            page::write_pictures(&report, named)?;
        }
        page::write(&report, &folder).map_err(Error::format(&folder))?;
        Ok(vec![folder.join(folder::PAGE).display().to_string()])
    }

    /// The files to read and write.
    pub fn files(&self, workspace: &Workspace) -> Plan {
        let mut files = Plan::default();
        for run in &self.runs {
            files.reads("a run to report on", &report_of(run));
        }
        if let Some(folder) = &self.pictures {
            files.writes_into("--pictures", folder, folder::PICTURES);
        }
        let run = self.runs.last().cloned().unwrap_or_else(|| newest(workspace));
        let folder = folder_of(&run, self.out.as_deref());
        match self.runs.len() {
            0 | 1 => files.writes_into("--out", &folder, [folder::PAGE].into_iter().chain(folder::PICTURES)),
            _ => files.writes_into("--out", &folder, [FILE]),
        }
        files
    }
}

/// The folder of the newest run.
fn newest(workspace: &Workspace) -> PathBuf {
    workspace.own().join("latest")
}

/// Returns the folder of the pages: `--out`, or that of the run.
fn folder_of(run: &Path, named: Option<&Path>) -> PathBuf {
    let own = || if run.is_dir() { run } else { run.parent().unwrap_or(Path::new("")) };
    named.unwrap_or_else(own).to_path_buf()
}
