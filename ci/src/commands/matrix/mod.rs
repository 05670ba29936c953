//! `matrix`: runs the rows of `config/machines.toml`, several at once, and reports the rows that fail.
//!
//! [`selection`] chooses the rows. [`runner`] finds the tools, builds the kernels and runs one row. [`schedule`] runs as many
//! rows at once as the host has resources for. [`result`] separates failures from skips and from machines that did not start.
//! `screen` and `junit` show the results. The boot tests use the same modules, except those that print and write.

mod junit;
pub mod result;
pub mod rows;
pub mod runner;
pub mod schedule;
mod screen;
pub mod selection;
mod weight;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use crate::base::files::{Plan, output};
use crate::base::{Error, Workspace, text};
use crate::commands::args::{BochsArgs, ProgressArgs, QemuArgs, TerminalArgs};
use crate::commands::inputs;
use crate::commands::matrix::result::{Counts, Ended, Results, SCHEMA, Skip};
use crate::commands::matrix::runner::Runner;
use crate::commands::matrix::screen::Screen;
use crate::commands::matrix::selection::Selection;
use crate::commands::matrix::weight::Weight;
use crate::machine::AccelChoice;
use crate::report::origin::OriginReport;
use crate::report::shards::ShardEnd;

/// The results, for programs and for JUnit's readers.
const RESULTS: &str = "matrix.json";
const JUNIT: &str = "junit.xml";

/// Options of `matrix`.
#[derive(Clone, Debug, Args)]
pub struct MatrixArgs {
    /// The rows to run.
    #[command(flatten)]
    pub selection: Selection,

    /// The number of rows that run at once [default: as many as the host has cores]. A row of many CPUs counts for several.
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,

    /// Write the results as JUnit XML here [default: junit.xml in target/octopod/matrix].
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Read the rows from this file [default: config/machines.toml].
    #[arg(long, value_name = "FILE")]
    pub rows: Option<PathBuf>,

    /// Write the results here as well; - means standard output, which then holds nothing else.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Keep the results and the rows' folders here [default: target/octopod/matrix].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// The accelerator, unless a row names it.
    #[arg(long, value_enum, value_name = "ACCEL", default_value = "tcg")]
    pub accel: AccelChoice,

    #[command(flatten)]
    pub(crate) qemu: QemuArgs,
    #[command(flatten)]
    pub(crate) bochs: BochsArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
}

impl MatrixArgs {
    /// Does what is asked for. Returns the exit status.
    pub fn execute(&self) -> u8 {
        let screen = Screen::new(&self.terminal.configure(&self.progress, self.json.as_ref()));
        self.run(&screen).unwrap_or_else(|error| {
            screen.error(&error);
            error.verdict().status()
        })
    }

    fn run(&self, screen: &Screen) -> Result<u8, Error> {
        let workspace = Workspace::find()?;
        self.files(&workspace).check(Some(&workspace.root))?;
        let wanted = &self.selection;
        let file = self.rows.clone().unwrap_or_else(|| rows::file_of(&workspace));
        if self.rows.is_none() && workspace.project().is_some() && !file.exists() {
            return Err(Error::Usage(format!(
                "{} is not there; write rows into it, such as\n{}\nor name another file by --rows FILE",
                file.display(),
                rows::EXAMPLE
            )));
        }
        let all = rows::read(&file, workspace.project())?;
        let rows = all.len();
        let asked_for = wanted.asked_for(all);
        // A shard may be empty, where there are more of them than rows; a name that nothing is called is a mistake.
        if asked_for.is_empty() && !wanted.names.is_empty() {
            let names = wanted.names.join(" or ");
            let file = file.display();
            return Err(Error::Usage(format!(
                "no row of {file} matches {names}; it has {}",
                text::count(rows, "row")
            )));
        }
        let folder = self.out.clone().unwrap_or_else(|| workspace.own().join("matrix"));
        let junit = self.junit.clone().unwrap_or_else(|| folder.join(JUNIT));
        let json = folder.join(RESULTS);
        // Results of an earlier run must not be taken for those of this run, if it has none.
        for earlier in [&junit, &json] {
            let _ = std::fs::remove_file(earlier);
        }

        let mut preparation = screen.preparation();
        let qemu = self.qemu.qemu.as_deref();
        let runner = Runner::new(qemu, self.accel, folder.join("rows"), &mut preparation)?
            .with_bochs(self.bochs.bochs.clone());
        let mut jobs = runner.jobs(wanted.shard_of(asked_for))?;
        runner.prepare(&mut jobs, &mut preparation)?;

        let host = Weight::of_the_host(self.jobs);
        let version = runner.qemu_version().to_string();
        screen.begin(jobs.len(), host.slots, &version, self.accel.name());
        let (began, origin) = (Instant::now(), OriginReport::begins(&workspace));
        let rows = schedule::run(&jobs, host, screen);
        let results = Results {
            schema: SCHEMA,
            origin,
            accel: self.accel.name(),
            qemu_version: version,
            tier: wanted.tier(),
            shard: wanted.shard.map(|shard| shard.to_string()),
            interrupted: rows.iter().any(|row| row.ended == Ended::Skipped(Skip::Interrupted)),
            time: began.elapsed(),
            counts: Counts::of(&rows),
            rows,
        };

        // Each is tried: what cannot be written to one place may be to another, and the counts are shown in any case.
        std::fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
        let asked_for = self.json.as_deref().filter(|path| path.as_os_str() != "-");
        let octopod = results.origin.octopod();
        let (command, shard, status) = ("matrix", wanted.shard, results.status());
        let end = ShardEnd { command, shard, status, octopod: &octopod };
        let mut written = vec![end.write(junit::suite(&results), &junit)];
        let copies = [Some(json.as_path()), asked_for].into_iter().flatten();
        written.extend(copies.map(|path| write("--json", path, &results.to_json())));
        let shown = screen.finish(&results, &[&json, &junit]);
        written.push(shown.map_err(Error::unwritable("--json", "-")));
        written.into_iter().collect::<Result<(), Error>>()?;
        Ok(results.status())
    }

    /// The files to read and write.
    pub fn files(&self, workspace: &Workspace) -> Plan {
        let mut files = Plan::default();
        match &self.rows {
            Some(path) => files.reads("--rows", path),
            None => files.reads("the matrix", &rows::file_of(workspace)),
        }
        inputs::programs(&mut files, self.qemu.qemu.as_deref(), self.bochs.bochs.as_deref());
        self.json.iter().for_each(|path| files.writes("--json", path, RESULTS));
        self.junit.iter().for_each(|path| files.writes("--junit", path, JUNIT));
        self.out.iter().for_each(|folder| files.writes_into("--out", folder, [RESULTS, JUNIT]));
        files
    }
}

fn write(what: &str, path: &Path, text: &str) -> Result<(), Error> {
    output::write(path, text.as_bytes()).map_err(Error::unwritable(what, path))
}
