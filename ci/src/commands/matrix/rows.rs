//! The boot matrix: rows of `config/machines.toml`, each a command line of the launcher and the expected result.
//!
//! The command line of a row contains all of its configuration: boot protocol, machine, CPUs, processor, memory, APIC mode. It
//! can be pasted into a terminal. A row that lists variants in `with` stands for itself and for one more row with each variant.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::error::ErrorKind;
use serde::Deserialize;

use crate::base::project::Project;
use crate::base::{Error, Version, Workspace};
use crate::commands::launch::{Launch, LaunchKind};
use crate::commands::{defaults, runs, settings};
use crate::machine::{AccelChoice, EmulatorKind, MachineConfig};
use crate::report::expect::Expect;

/// The file, relative to the checkout's root.
pub const FILE: &str = "config/machines.toml";

/// The file of a project, in its package's folder.
pub const PROJECT_FILE: &str = "machines.toml";

/// A row for a project that has none yet.
pub(super) const EXAMPLE: &str = "\
[[row]]
name = \"two CPUs\"
run = \"run --smp 2\"
expect = { status = 0, cpus = 2 }";

/// The file of rows of a workspace.
pub fn file_of(workspace: &Workspace) -> PathBuf {
    match workspace.project() {
        Some(project) => project.folder.join(PROJECT_FILE),
        None => workspace.root.join(FILE),
    }
}

/// A row without a `--timeout` of its own has this many times the time of a run: rows must also pass on a host that is busy
/// with other work. Only a machine that hangs uses it up.
const BUSY_HOST: u32 = 10;

/// The run of the tests that a row belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Every run.
    #[default]
    Fast,
    /// Only the full matrix.
    Full,
}

/// A machine, what is run on it, and what must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The name of the row: unique, also as a folder's name.
    pub name: String,
    /// The launcher's arguments, as one would type them after `cargo run --`.
    pub run: String,
    /// More arguments: each entry makes another row of this one. Empty in a row that [`read`] returns.
    #[serde(default)]
    pub with: Vec<String>,
    /// The tier that runs it.
    #[serde(default)]
    pub tier: Tier,
    /// The oldest QEMU that can do it; with an older one the row is skipped.
    pub qemu: Option<String>,
    /// The expected result.
    pub expect: Expect,
    /// The project whose row it is, with settings that count unless the row says otherwise.
    #[serde(skip)]
    pub project: Option<Arc<Project>>,
}

/// The reason why the rows cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file is not of the format.
    #[error("{0}")]
    Format(#[from] toml::de::Error),
    /// A row cannot be run.
    #[error("row `{name}`: {problem}")]
    Row {
        /// The row.
        name: String,
        /// The defect.
        problem: RowProblem,
    },
    /// Two rows would share a folder.
    #[error("the rows `{first}` and `{second}` would share a folder: their names must differ")]
    SharedName {
        /// The row that comes first.
        first: String,
        /// The other.
        second: String,
    },
}

/// The reason why a row cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RowProblem {
    /// Syntax whose end a shell would wait for.
    #[error("a quote in `{0}` does not end")]
    Quote(String),
    /// The launcher does not understand it.
    #[error("{0}")]
    Options(#[from] clap::Error),
    /// It boots nothing.
    #[error("`{0}` boots nothing")]
    BootsNothing(String),
    /// Its files cannot be found.
    #[error("{0}")]
    Checkout(Box<Error>),
    /// The project's settings are wrong.
    #[error("{0}")]
    Settings(Box<Error>),
    /// Its `qemu` is none.
    #[error("`{0}` is not a version")]
    Version(String),
}

/// All rows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    row: Vec<Row>,
}

/// Reads the rows of the file at `path`, of a project or of the checkout. Each variant is a row.
///
/// # Errors
/// The file cannot be read, or is not a table of rows.
pub fn read(path: &Path, project: Option<&Project>) -> Result<Vec<Row>, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    parse(&text, project).map_err(Error::format(path))
}

fn parse(text: &str, project: Option<&Project>) -> Result<Vec<Row>, Problem> {
    let matrix: Matrix = toml::from_str(text)?;
    let project = project.cloned().map(Arc::new);
    let mut rows = Vec::new();
    for row in matrix.row {
        let row = Row { project: project.clone(), ..row };
        let name = row.name.clone();
        rows.extend(row.expand().map_err(|problem| Problem::Row { name, problem })?);
    }
    let mut names: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for row in &rows {
        if let Some(first) = names.insert(row.folder(), &row.name) {
            return Err(Problem::SharedName { first: first.to_owned(), second: row.name.clone() });
        }
        let usable = row.launch(AccelChoice::Tcg).and_then(|_| row.oldest_qemu());
        usable.map_err(|problem| Problem::Row { name: row.name.clone(), problem })?;
    }
    Ok(rows)
}

impl Row {
    /// The row itself, and one for each of its variants, called `NAME [VARIANT]`.
    fn expand(mut self) -> Result<Vec<Row>, RowProblem> {
        let variants = std::mem::take(&mut self.with);
        let mut rows = vec![self];
        for variant in variants {
            let base = &rows[0];
            let name = format!("{} [{variant}]", base.name);
            let run = joined(&base.words_with(words(&variant)?)?);
            rows.push(Row { name, run, ..base.clone() });
        }
        Ok(rows)
    }

    /// Its arguments with `more` of the launcher's own, which go before QEMU's.
    fn words_with(&self, more: Vec<String>) -> Result<Vec<String>, RowProblem> {
        let mut all = words(&self.run)?;
        let end = all.iter().position(|word| word == "--").unwrap_or(all.len());
        all.splice(end..end, more);
        Ok(all)
    }

    /// Its arguments, which are these words, with the settings of its project.
    fn settled(&self, words: &[String]) -> Result<Vec<OsString>, RowProblem> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let Some(project) = &self.project else { return Ok(words) };
        let words = defaults::with_command([OsString::from("octopod")].into_iter().chain(words));
        let words = settings::add_to_row(words, project, &runs::grammar());
        Ok(words.map_err(|error| RowProblem::Settings(Box::new(error)))?.split_off(1))
    }

    /// Returns the run. A row that names no accelerator uses `accel`, except that the bench chooses its own and Bochs has none.
    ///
    /// # Errors
    /// The row's options are invalid.
    pub fn launch(&self, accel: AccelChoice) -> Result<Launch, RowProblem> {
        let words = words(&self.run)?;
        let settled = self.settled(&words)?;
        let (mut launch, names_accel) = runs::parse(&settled).map_err(|error| match error.kind() {
            ErrorKind::InvalidSubcommand => RowProblem::BootsNothing(words[0].clone()),
            _ => RowProblem::Options(error),
        })?;
        // A row's paths begin at the workspace, wherever it is run.
        let modules = launch.modules.iter_mut().map(|module| &mut module.path);
        let mut paths = launch.replay.iter_mut().chain(modules).peekable();
        if paths.peek().is_some() {
            let find = || Workspace::find().map_err(|error| RowProblem::Checkout(Box::new(error)));
            let folder = match &self.project {
                Some(project) => project.folder.clone(),
                None => find()?.root,
            };
            paths.for_each(|path| *path = folder.join(&path));
        }
        if !has_option(&words, "--timeout") {
            launch.run.limit *= BUSY_HOST;
        }
        let is_qemu = launch.machine.emulator == EmulatorKind::Qemu;
        if !names_accel && is_qemu && launch.kind != LaunchKind::Bench {
            launch.machine.accel = accel;
        }
        Ok(launch)
    }

    /// Returns the command that repeats the run of [`Row::launch`]: the row's own arguments, the accelerator and the
    /// emulator.
    pub fn command_line(&self, config: &MachineConfig) -> String {
        let (mut more, program) = match config.emulator {
            EmulatorKind::Qemu => {
                let accel = vec!["--accel".to_owned(), config.accel.name().to_owned()];
                (accel, ("--qemu", &config.qemu))
            }
            EmulatorKind::Bochs => (Vec::new(), ("--bochs", &config.bochs)),
        };
        if let (option, Some(program)) = program {
            more.extend([option.to_owned(), program.to_string_lossy().into_owned()]);
        }
        // Arguments that the row has already would be refused a second time.
        let own = words(&self.run).unwrap_or_default();
        let more = more.chunks(2).filter(|pair| !has_option(&own, &pair[0])).flatten().cloned().collect();
        let words = self.words_with(more).unwrap_or_default();
        let launcher = Workspace::find_or_here().map_or("octopod", |workspace| workspace.launcher());
        format!("{launcher} {}", joined(&words))
    }

    /// A folder's name of its own.
    pub fn folder(&self) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-.=".contains(c) { c } else { '_' };
        let name: String = self.name.chars().map(plain).collect();
        PathBuf::from(name.trim_matches(['_', '.']))
    }

    /// Returns the oldest version of QEMU that can run the row.
    ///
    /// # Errors
    /// The row's version is not a version.
    pub fn oldest_qemu(&self) -> Result<Option<Version>, RowProblem> {
        let parse = |text: &String| {
            let banner = format!("QEMU emulator version {text}");
            Version::from_banner(&banner).ok_or(RowProblem::Version(text.clone()))
        };
        self.qemu.as_ref().map(parse).transpose()
    }
}

/// The words of a command line, as a shell would see them.
fn words(text: &str) -> Result<Vec<String>, RowProblem> {
    shlex::split(text).ok_or_else(|| RowProblem::Quote(text.to_owned()))
}

/// Returns whether an option of that name is among the words.
fn has_option(words: &[String], option: &str) -> bool {
    words.iter().any(|word| word.split('=').next() == Some(option))
}

/// The reverse. A word with a zero byte in it cannot come from a command line.
fn joined(words: &[String]) -> String {
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
