//! The boot matrix: rows of `config/machines.toml`, each a command line of this launcher's and what must come of it.
//!
//! A command line says all that a row is about: door, machine, CPUs, processor, memory, APIC mode. It can be pasted. A
//! row that lists variants in `with` stands for itself and for one more row with each of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};
use octopod::wire::LockWait;
use serde::Deserialize;

use crate::base::checkout::Workspace;
use crate::base::error::Error;
use crate::base::version::Version;
use crate::commands::cli::{AccelChoice, Mode, Options};
use crate::machine::emulator::Kind;
use crate::report::outcome::Outcome;
use crate::report::panic::PanicCpuReport;

/// The file, relative to the workspace's root.
pub const FILE: &str = "config/machines.toml";

/// Which run of the tests a row belongs to.
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
    /// What the row is called; unique, also as a folder's name.
    pub name: String,
    /// The launcher's arguments, as one would type them after `cargo run --`.
    pub run: String,
    /// More arguments: each entry makes another row of this one. Empty in a row that [`read`] returns.
    #[serde(default)]
    pub with: Vec<String>,
    /// When it is run.
    #[serde(default)]
    pub tier: Tier,
    /// The oldest QEMU that can do it; with an older one the row is skipped.
    pub qemu: Option<String>,
    /// What must come of it.
    pub expect: Expect,
}

/// What must come of a run. Whatever is absent may be anything, but for the rules that hold for every run: see
/// [`Row::check`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The launcher's exit status.
    pub status: u8,
    /// CPUs online.
    pub cpus: Option<u32>,
    /// Their APIC IDs.
    pub apic_ids: Option<Vec<u32>>,
    /// `xapic` or `x2apic`.
    pub apic_mode: Option<String>,
    /// Who told the TSC's frequency.
    pub clock: Option<String>,
    /// A part of the report's reason.
    pub reason: Option<String>,
    /// Parts of the kernel's lines.
    #[serde(default)]
    pub says: Vec<String>,
    /// The workloads that ran.
    pub workloads: Option<Vec<String>>,
    /// The least operations of all workloads together.
    pub operations: Option<u64>,
    /// The least frames under the allocator's care.
    pub frames: Option<u64>,
    /// A part of a function's name in the backtrace of the panic or of a warning.
    pub backtrace: Option<String>,
    /// How many other CPUs the last words show at a place of theirs, with calls that have names.
    pub others: Option<usize>,
    /// How many of them panicked as well.
    pub others_panicked: Option<usize>,
    /// A part of the name of a lock that the CPU which panicked first holds.
    pub holds: Option<String>,
    /// A part of the name of a spin lock that some CPU waits for, by a warning or by the panic; its holder must be known, and
    /// where either CPU asked for it.
    pub waits_for: Option<String>,
    /// A part of the place where the holder of that lock took it.
    pub held_at: Option<String>,
    /// For how many milliseconds that CPU has waited at least.
    pub waited_ms: Option<u64>,
}

/// Why the rows cannot be used.
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
        /// What is wrong with it.
        problem: RowProblem,
    },
    /// Two rows would share a folder.
    #[error("the rows `{first}` and `{second}` would share a folder: no two may be called alike")]
    SharedName {
        /// The row that comes first.
        first: String,
        /// The other.
        second: String,
    },
}

/// Why a row cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum RowProblem {
    /// What a shell would wait for the end of.
    #[error("a quote in `{0}` does not end")]
    Quote(String),
    /// The launcher does not understand it.
    #[error("{0}")]
    Options(#[from] clap::Error),
    /// It boots nothing.
    #[error("`{0}` boots nothing")]
    BootsNothing(&'static str),
    /// Its files cannot be found.
    #[error("{0}")]
    Checkout(Box<Error>),
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

/// Reads the rows of the file at `path`, each variant a row of its own.
pub fn read(path: &Path) -> Result<Vec<Row>, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    parse(&text).map_err(|problem| Error::Matrix { path: path.to_owned(), problem })
}

fn parse(text: &str) -> Result<Vec<Row>, Problem> {
    let matrix: Matrix = toml::from_str(text)?;
    let mut rows = Vec::new();
    for row in matrix.row {
        let name = row.name.clone();
        rows.extend(row.expand().map_err(|problem| Problem::Row { name, problem })?);
    }
    let mut names: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for row in &rows {
        if let Some(first) = names.insert(row.folder(), &row.name) {
            return Err(Problem::SharedName { first: first.to_owned(), second: row.name.clone() });
        }
        let usable = row.options(AccelChoice::Tcg).and_then(|_| row.oldest_qemu());
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

    /// The options of its run. A row that names no accelerator of its own has `accel`, but the bench its own, and Bochs
    /// none.
    pub fn options(&self, accel: AccelChoice) -> Result<Options, RowProblem> {
        let words = ["octopod".to_owned()].into_iter().chain(words(&self.run)?);
        let matches = Options::command().try_get_matches_from(words)?;
        let mut options = Options::from_arg_matches(&matches)?;
        // A row's paths begin at the workspace, wherever it is run.
        if let Some(path) = &mut options.replay {
            let workspace = Workspace::find().map_err(|error| RowProblem::Checkout(Box::new(error)))?;
            *path = workspace.root.join(&path);
        }
        let chooses = options.mode != Mode::Bench && options.emulator == Kind::Qemu;
        if chooses && matches.value_source("accel") != Some(ValueSource::CommandLine) {
            options.accel = accel;
        }
        match options.mode.boots() {
            true => Ok(options),
            false => Err(RowProblem::BootsNothing(options.mode.name())),
        }
    }

    /// What to type to have the same run again, given its [`Row::options`]: the row's own arguments, the accelerator
    /// and the emulator that is used.
    pub fn command_line(&self, options: &Options) -> String {
        let (mut more, program) = match options.emulator {
            Kind::Qemu => {
                let accel = vec!["--accel".to_owned(), options.accel.name().to_owned()];
                (accel, ("--qemu", &options.qemu_program))
            }
            Kind::Bochs => (Vec::new(), ("--bochs", &options.bochs_program)),
        };
        if let (option, Some(program)) = program {
            more.extend([option.to_owned(), program.to_string_lossy().into_owned()]);
        }
        // Arguments that the row has already would be refused a second time.
        let own = words(&self.run).unwrap_or_default();
        let is_own = |option: &String| own.iter().any(|word| word.split('=').next() == Some(option));
        let more = more.chunks(2).filter(|pair| !is_own(&pair[0])).flatten().cloned().collect();
        let words = self.words_with(more).unwrap_or_default();
        format!("cargo run -- {}", joined(&words))
    }

    /// A folder's name of its own.
    pub fn folder(&self) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-.=".contains(c) { c } else { '_' };
        let name: String = self.name.chars().map(plain).collect();
        PathBuf::from(name.trim_matches(['_', '.']))
    }

    /// The oldest QEMU that can do it.
    pub fn oldest_qemu(&self) -> Result<Option<Version>, RowProblem> {
        let parse = |text: &String| {
            let banner = format!("QEMU emulator version {text}");
            Version::from_banner(&banner).ok_or(RowProblem::Version(text.clone()))
        };
        self.qemu.as_ref().map(parse).transpose()
    }

    /// What is wrong with an outcome, line by line; nothing if it is as it must be.
    ///
    /// Whatever a row expects: the records can be read, and a pass has lost nothing and handed nothing out twice.
    pub fn check(&self, outcome: &Outcome) -> Vec<String> {
        let expect = &self.expect;
        let report = &outcome.report;
        let mut wrong = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                wrong.push(what);
            }
        };
        let reason = report.reason.as_deref().unwrap_or_default();
        must(outcome.status == expect.status, format!("status {}, not {}", outcome.status, expect.status));
        must(report.unreadable_records == 0, format!("{} unreadable records", report.unreadable_records));

        let boot = report.boot.as_ref().map(|boot| &boot.kernel);
        if let Some(cpus) = expect.cpus {
            let online = boot.map(|boot| boot.cpus_online);
            must(online == Some(cpus), format!("{online:?} CPUs online, not {cpus}"));
        }
        if let Some(ids) = &expect.apic_ids {
            let found: Vec<_> = report.cpus.iter().map(|cpu| cpu.apic_id).collect();
            must(&found == ids, format!("APIC IDs {found:?}, not {ids:?}"));
        }
        if let Some(mode) = &expect.apic_mode {
            let found = boot.map(|boot| &boot.apic_mode);
            must(found == Some(mode), format!("APIC mode {found:?}, not {mode}"));
        }
        if let Some(clock) = &expect.clock {
            let found = boot.map(|boot| &boot.clock_source);
            must(found == Some(clock), format!("clock by {found:?}, not {clock}"));
        }
        if let Some(part) = &expect.reason {
            must(reason.contains(part), format!("the reason is not `{part}`"));
        }
        for part in &expect.says {
            let said = outcome.serial.iter().any(|line| line.contains(part));
            must(said, format!("the kernel did not say `{part}`"));
        }
        let ran: Vec<_> = report.stress.iter().map(|stress| stress.workload.as_str()).collect();
        if let Some(workloads) = &expect.workloads {
            must(&ran == workloads, format!("workloads {ran:?}, not {workloads:?}"));
        }
        if let Some(least) = expect.operations {
            let operations: u64 = report.stress.iter().map(|stress| stress.operations).sum();
            must(operations >= least, format!("{operations} operations, fewer than {least}"));
        }
        if let Some(least) = expect.frames {
            let frames = report.memory.as_ref().map_or(0, |memory| memory.kernel.frames_total);
            must(frames >= least, format!("{frames} frames, fewer than {least}"));
        }
        if let Some(part) = &expect.backtrace {
            let warnings = report.warnings.iter().flat_map(|warning| &warning.backtrace);
            let calls = report.panic.iter().flat_map(|panic| &panic.backtrace).chain(warnings);
            let found = calls.filter_map(|frame| frame.function.as_ref()).any(|name| name.contains(part));
            must(found, format!("`{part}` is not in the backtrace"));
        }
        if let Some(part) = &expect.waits_for {
            let warned = report.warnings.iter().filter_map(|warning| warning.wait.as_ref());
            let cpus = report.panic.iter().flat_map(|panic| &panic.cpus);
            let waits: Vec<_> = warned.chain(cpus.filter_map(|cpu| cpu.wait.as_ref())).collect();
            let waited_ns = expect.waited_ms.unwrap_or_default() * 1_000_000;
            let held_at = expect.held_at.as_deref().unwrap_or_default();
            let is_it = |wait: &&LockWait<String>| {
                wait.lock.contains(part)
                    && wait.at.is_some()
                    && wait.holder.is_some()
                    && wait.waited_ns >= waited_ns
                    && (wait.since_ns > 0 || waited_ns == 0)
                    && wait.held_at.as_ref().is_some_and(|at| at.contains(held_at))
            };
            must(waits.iter().any(is_it), format!("waits for locks: {waits:?}"));
        }
        if let Some(panic) = &report.panic {
            let others = || panic.cpus.iter().filter(|cpu| cpu.cpu != panic.cpu);
            let is_shown = |cpu: &&PanicCpuReport| cpu.backtrace.iter().any(|frame| frame.function.is_some());
            let shown = others().filter(is_shown).count();
            let panicked = others().filter(|cpu| cpu.message.is_some()).count();
            let held = panic.first().into_iter().flat_map(|first| &first.locks);
            must(
                expect.others.is_none_or(|count| count == shown),
                format!("{shown} other CPUs at their places"),
            );
            must(
                expect.others_panicked.is_none_or(|count| count == panicked),
                format!("{panicked} other CPUs panicked"),
            );
            let holds = |part: &String| held.clone().any(|name| name.contains(part));
            must(
                expect.holds.as_ref().is_none_or(holds),
                format!("held locks: {:?}", held.clone().collect::<Vec<_>>()),
            );
        } else if expect.others.is_some() || expect.holds.is_some() {
            must(false, "no last words".to_owned());
        }
        if outcome.status == 0 {
            for stress in &report.stress {
                must(
                    stress.lost == 0 && stress.doubled == 0 && stress.operations > 0,
                    format!("{}: {} lost, {} doubled", stress.workload, stress.lost, stress.doubled),
                );
            }
            if let Some(memory) = &report.memory {
                let (before, after) = (memory.kernel.frames_free_before, memory.frames_free_after);
                must(after == Some(before), format!("{before} frames free before, {after:?} after"));
            }
        }
        wrong
    }
}

/// The words of a command line, as a shell would see them.
fn words(text: &str) -> Result<Vec<String>, RowProblem> {
    shlex::split(text).ok_or_else(|| RowProblem::Quote(text.to_owned()))
}

/// The reverse. A word with a zero byte in it cannot come from a command line.
fn joined(words: &[String]) -> String {
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
