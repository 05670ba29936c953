//! `report`: draws the pages of a run again, compares two runs, or joins the results of shards.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use clap::Args;
use quick_junit::TestCaseStatus;

use crate::base::files::{Plan, input, output};
use crate::base::interrupt::Listener;
use crate::base::{Error, VerdictKind, Workspace};
use crate::present::comparison::page::page as comparison;
use crate::present::comparison::text::lines;
use crate::present::page;
use crate::present::shards::page as shards_page;
use crate::present::terminal::{Console, TerminalConfig};
use crate::report::read::{read, report_of};
use crate::report::shards;
use crate::run::folder;

/// The largest reports take seconds.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The results of a shard, and of all.
const JUNIT: &str = "junit.xml";

/// No JUnit file is larger.
const MAX_JUNIT_BYTES: u64 = 64 << 20;

/// The comparison's file.
pub const FILE: &str = "comparison.html";

/// Options of `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// A run, or two: folders of runs, or their report.json [default: the newest].
    #[arg(value_name = "RUN")]
    pub runs: Vec<PathBuf>,

    /// Join the results of shards into one verdict, page and JUnit file: folders with a junit.xml, or with folders that have one.
    #[arg(long, value_name = "FOLDER", num_args = 1.., conflicts_with_all = ["runs", "pictures"])]
    pub merge: Vec<PathBuf>,

    /// With --merge, write the JUnit file here [default: junit.xml beside the page].
    #[arg(long, value_name = "FILE", requires = "merge")]
    pub junit: Option<PathBuf>,

    /// Leave the pages in this folder [default: that of the run, or of the newer one; of shards, target/octopod/merged].
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
        let mut console = Console::new(&TerminalConfig::default());
        match self.work() {
            Ok(Answer { lines, joined }) => {
                lines.iter().for_each(|line| console.say(line));
                joined.map_or(0, |(verdict, summary)| {
                    console.verdict(verdict == VerdictKind::Pass, &summary);
                    verdict.status()
                })
            }
            Err(error) => console.refuse(&error),
        }
    }

    /// Does the work, within its time.
    fn work(&self) -> Result<Answer, Error> {
        // The work is not made to be broken off: a thread does it, which ends with the process.
        let (sender, done) = channel();
        let (woken, work) = (sender.clone(), self.clone());
        let _listener = Listener::new(move || drop(woken.send(Err(Error::Interrupted))));
        thread::spawn(move || sender.send(work.answer()));
        let limit = self.timeout.map_or(TIME_LIMIT, Duration::from_secs);
        done.recv_timeout(limit).map_err(|_| Error::TimedOut { what: "report", limit })?
    }

    fn answer(&self) -> Result<Answer, Error> {
        let workspace = Workspace::find_or_here()?;
        self.files(&workspace).check(Some(&workspace.root))?;
        if !self.merge.is_empty() {
            return self.join(&workspace);
        }
        let lines = self.lines(&workspace)?;
        Ok(Answer { lines, joined: None })
    }

    /// Joins the results of shards.
    fn join(&self, workspace: &Workspace) -> Result<Answer, Error> {
        let read = |path: &PathBuf| {
            let text = input::read(path, MAX_JUNIT_BYTES).map_err(|error| error.to_string());
            text.and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()))
        };
        let files = self.merge.iter().flat_map(|folder| match results_in(folder) {
            files if files.is_empty() => vec![(folder.display().to_string(), Err(format!("no {JUNIT}")))],
            files => files.iter().map(|path| (path.display().to_string(), read(path))).collect(),
        });
        let joined = shards::join(files);
        let folder = self.merged_folder(workspace);
        std::fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
        let page = folder.join(folder::PAGE);
        output::write(&page, shards_page(&joined).as_bytes()).map_err(Error::file("write", &page))?;
        let junit = self.junit.clone().unwrap_or_else(|| folder.join(JUNIT));
        output::write(&junit, joined.to_xml()?.as_bytes()).map_err(Error::unwritable("--junit", &junit))?;
        let failures = joined.failures().map(|(shard, case)| {
            let TestCaseStatus::NonSuccess { message, .. } = &case.status else { return String::new() };
            let message = message.as_deref().unwrap_or("failed");
            format!("{} {}: {}: {message}", shard.command, shard.shard, &*case.name)
        });
        let mut lines: Vec<String> = joined.problems.iter().cloned().chain(failures).collect();
        lines.extend([&page, &junit].map(|path| path.display().to_string()));
        Ok(Answer { lines, joined: Some((joined.verdict(), joined.summary())) })
    }

    fn merged_folder(&self, workspace: &Workspace) -> PathBuf {
        self.out.clone().unwrap_or_else(|| workspace.own().join("merged"))
    }

    /// The lines for the terminal.
    fn lines(&self, workspace: &Workspace) -> Result<Vec<String>, Error> {
        match self.runs.as_slice() {
            [] => self.draw(&newest(workspace)),
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
        if !self.merge.is_empty() {
            let inputs = self.merge.iter().flat_map(|folder| results_in(folder));
            inputs.for_each(|path| files.reads("the results of a shard", &path));
            files.writes_into("--out", &self.merged_folder(workspace), [folder::PAGE, JUNIT]);
            self.junit.iter().for_each(|path| files.writes("--junit", path, JUNIT));
            return files;
        }
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

/// The lines for the terminal; of shards, the verdict and the summary.
struct Answer {
    lines: Vec<String>,
    joined: Option<(VerdictKind, String)>,
}

/// The JUnit files of a folder: its own, or those of its folders.
fn results_in(folder: &Path) -> Vec<PathBuf> {
    let own = folder.join(JUNIT);
    if own.is_file() {
        return vec![own];
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path().join(JUNIT)).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

/// The folder of the newest run.
fn newest(workspace: &Workspace) -> PathBuf {
    workspace.own().join("latest")
}

/// Returns the folder of the pages: `--out`, or that of the run.
fn folder_of(run: &Path, named: Option<&Path>) -> PathBuf {
    let own = || if run.is_dir() { run } else { output::folder_of(run) };
    named.unwrap_or_else(own).to_path_buf()
}
