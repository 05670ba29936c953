//! The result of a row, and of all rows: passed, failed, skipped, not started.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::base::{Error, VerdictKind, Version, text};
use crate::commands::matrix::rows::Row;
use crate::machine::MachineConfig;
use crate::report::Outcome;
use crate::report::origin::OriginReport;

/// The format of `matrix.json`.
pub const SCHEMA: u32 = 1;

/// A row's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It did what it must.
    Passed,
    /// It ran, and did something else; line by line.
    Failed(Vec<String>),
    /// It was not run, or not to its end.
    Skipped(Skip),
    /// The machine did not start: the result is not about the kernel.
    NotStarted(String),
}

/// The reason why a row was not run to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It needs a newer QEMU.
    QemuTooOld {
        /// The oldest that can do it.
        needs: Version,
        /// The one that is there.
        has: Version,
    },
    /// It needs a tool that is not there.
    ToolMissing(String),
    /// It needs an accelerator that is not there.
    NoAccelerator(String),
    /// A signal came first.
    Interrupted,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skip::QemuTooOld { needs, has } => write!(f, "needs QEMU {needs}, and this is {has}"),
            Skip::ToolMissing(reason) | Skip::NoAccelerator(reason) => f.write_str(reason),
            Skip::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl Ended {
    /// Its name for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Ended::Passed => "passed",
            Ended::Failed(_) => "failed",
            Ended::Skipped(_) => "skipped",
            Ended::NotStarted(_) => "not_started",
        }
    }

    /// Returns the reasons why it did not pass, on one line.
    pub fn reason(&self) -> Option<String> {
        match self {
            Ended::Passed => None,
            Ended::Failed(wrong) => Some(wrong.join("; ")),
            Ended::Skipped(skip) => Some(skip.to_string()),
            Ended::NotStarted(reason) => Some(reason.clone()),
        }
    }

    /// Returns the result of `row`.
    pub fn of(row: &Row, outcome: &Outcome) -> Ended {
        let report = &outcome.report;
        // Without the accelerator that the row names, or a tool that its boot protocol needs, nothing was booted.
        match &outcome.error {
            Some(Error::Missing { .. } | Error::MissingByHand { .. }) => {
                return Ended::Skipped(Skip::ToolMissing(report.reason.clone().unwrap_or_default()));
            }
            Some(Error::KvmUnusable { reason }) => {
                return Ended::Skipped(Skip::NoAccelerator(reason.clone()));
            }
            _ => {}
        }
        let kernel_spoke = report.boot.is_some() || outcome.serial.iter().any(|line| !line.trim().is_empty());
        match report.verdict {
            VerdictKind::Interrupted => Ended::Skipped(Skip::Interrupted),
            VerdictKind::Error if !kernel_spoke => {
                Ended::NotStarted(report.reason.clone().unwrap_or_default())
            }
            _ => match row.expect.check(outcome) {
                wrong if wrong.is_empty() => Ended::Passed,
                wrong => Ended::Failed(wrong),
            },
        }
    }
}

/// A row with its result, and the data to investigate a failure.
#[derive(Clone, Debug, Serialize)]
pub struct RowResult {
    /// The row's name.
    pub name: String,
    /// The command that repeats it.
    pub command_line: String,
    /// The result.
    #[serde(serialize_with = "as_name", rename = "result")]
    pub ended: Ended,
    /// The failure, or the reason why the row was not run.
    pub wrong: Vec<String>,
    /// The verdict's reason in the run's own report, whether expected or not.
    pub reason: Option<String>,
    /// Its duration, in seconds.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub time: Duration,
    /// The run's folder, if it has one. Programs find it by its name under `rows`, beside their file.
    #[serde(serialize_with = "as_file_name")]
    pub folder: Option<PathBuf>,
    /// The log of the kernel, which is also in the run's folder.
    #[serde(skip)]
    pub serial: Vec<String>,
    /// The messages of the emulator.
    #[serde(skip)]
    pub complaint: String,
}

impl RowResult {
    /// A row that was not begun.
    pub fn not_begun(row: &Row, config: &MachineConfig, ended: Ended) -> RowResult {
        let (reason, time, folder, serial, complaint) = Default::default();
        let (name, command_line) = (row.name.clone(), row.command_line(config));
        let wrong = wrong(&ended);
        RowResult { name, command_line, ended, wrong, reason, time, folder, serial, complaint }
    }

    /// A row that was run.
    pub fn of(row: &Row, config: &MachineConfig, outcome: Outcome, time: Duration) -> RowResult {
        let ended = Ended::of(row, &outcome);
        RowResult {
            reason: outcome.report.reason,
            time,
            folder: outcome.run_dir,
            serial: outcome.serial,
            complaint: outcome.complaint,
            ..RowResult::not_begun(row, config, ended)
        }
    }

    /// Returns whether the matrix fails by it.
    pub fn is_bad(&self) -> bool {
        matches!(self.ended, Ended::Failed(_) | Ended::NotStarted(_))
    }

    /// Describes a row that did not pass, with the kernel's last `serial_lines` lines.
    pub fn details(&self, serial_lines: usize) -> Vec<String> {
        let mut lines = self.wrong.clone();
        // A part of it may be expected, so it is not what is wrong, but it is the best hint.
        lines.extend(
            self.reason
                .iter()
                .filter(|reason| !self.wrong.contains(reason))
                .map(|reason| format!("reason: {reason}")),
        );
        lines.push(self.command_line.clone());
        lines.extend(self.folder.iter().map(|folder| text::path(folder)));
        if !self.complaint.is_empty() {
            lines.push("the emulator said:".to_owned());
            lines.extend(self.complaint.lines().map(|line| format!("  {line}")));
        }
        let from = self.serial.len().saturating_sub(serial_lines);
        if from < self.serial.len() {
            let last = if from > 0 { " at last" } else { "" };
            lines.push(format!("the kernel said{last}:"));
            lines.extend(self.serial[from..].iter().map(|line| format!("  {line}")));
        }
        lines
    }
}

fn wrong(ended: &Ended) -> Vec<String> {
    match ended {
        Ended::Failed(wrong) => wrong.clone(),
        other => other.reason().into_iter().collect(),
    }
}

fn as_name<S: serde::Serializer>(ended: &Ended, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(ended.name())
}

fn as_file_name<S: serde::Serializer>(folder: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    folder.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy()).serialize(serializer)
}

fn as_seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_millis() as f64 / 1000.0)
}

/// The number of rows with each result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Did what they must.
    pub passed: usize,
    /// Ran, and did something else.
    pub failed: usize,
    /// Were not run.
    pub skipped: usize,
    /// Did not start.
    pub not_started: usize,
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, ended: &Ended) {
        match ended {
            Ended::Passed => self.passed += 1,
            Ended::Failed(_) => self.failed += 1,
            Ended::Skipped(_) => self.skipped += 1,
            Ended::NotStarted(_) => self.not_started += 1,
        }
    }

    /// Counts the results.
    pub fn of(results: &[RowResult]) -> Counts {
        let mut counts = Counts::default();
        results.iter().for_each(|result| counts.add(&result.ended));
        counts
    }
}

/// The last line. Who reads only this must not take a row that did not start for anything but a failure.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { passed, failed, skipped, not_started } = self;
        write!(f, "{passed} passed, {} failed, {skipped} skipped", failed + not_started)
    }
}

/// All results, with what they hold for: `matrix.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The origin of the results; each row has the command that repeats it.
    pub origin: OriginReport,
    /// `--accel`; a row may have its own.
    pub accel: &'static str,
    /// QEMU's version.
    pub qemu_version: String,
    /// `fast` or `full`.
    pub tier: crate::commands::matrix::rows::Tier,
    /// `K/N`, if these are a part of the rows only.
    pub shard: Option<String>,
    /// True if a signal came before the last row's end.
    pub interrupted: bool,
    /// The duration of the matrix, in seconds.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub time: Duration,
    /// The number of rows with each result.
    pub counts: Counts,
    /// The rows, in the file's order.
    pub rows: Vec<RowResult>,
}

impl Results {
    /// The launcher's exit status.
    pub fn status(&self) -> u8 {
        match self.counts {
            _ if self.interrupted => VerdictKind::Interrupted.status(),
            Counts { failed: 0, not_started: 0, .. } => VerdictKind::Pass.status(),
            _ => VerdictKind::Fail.status(),
        }
    }

    /// As text, with a line end.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}")) + "\n"
    }
}

#[cfg(test)]
pub(crate) mod tests;
