//! The boot matrix: rows of `config/machines.toml`, each a command line of this launcher's and what must come of it.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser;
use serde::Deserialize;

use crate::cli::Options;
use crate::error::Error;
use crate::launch::Outcome;
use crate::version::Version;

/// The file, relative to the workspace's root.
pub const FILE: &str = "config/machines.toml";

/// Which run of the tests a row belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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
    /// What the row is called; unique.
    pub name: String,
    /// The launcher's arguments, as one would type them after `cargo run --`.
    pub run: String,
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
    /// A part of a function's name in the backtrace.
    pub backtrace: Option<String>,
}

/// All rows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    row: Vec<Row>,
}

/// Reads the rows from the workspace at `root`.
pub fn read(root: &Path) -> Result<Vec<Row>, Error> {
    let path = root.join(FILE);
    let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    parse(&text).map_err(|reason| Error::Matrix { reason })
}

fn parse(text: &str) -> Result<Vec<Row>, String> {
    let matrix: Matrix = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut names = BTreeSet::new();
    for row in &matrix.row {
        if !names.insert(&row.name) {
            return Err(format!("two rows are called `{}`", row.name));
        }
        row.options().map_err(|error| format!("row `{}`: {error}", row.name))?;
        row.oldest_qemu().map_err(|error| format!("row `{}`: {error}", row.name))?;
    }
    Ok(matrix.row)
}

impl Row {
    /// The options of its run, under TCG: that is what is the same on every host.
    pub fn options(&self) -> Result<Options, String> {
        let words = shlex::split(&self.run).ok_or("a quote that does not end")?;
        let words = ["octopod".to_owned(), "--accel".to_owned(), "tcg".to_owned()].into_iter().chain(words);
        Options::try_parse_from(words).map_err(|error| error.to_string())
    }

    /// The oldest QEMU that can do it.
    pub fn oldest_qemu(&self) -> Result<Option<Version>, String> {
        let parse = |text: &String| {
            let banner = format!("QEMU emulator version {text}");
            Version::from_banner(&banner).ok_or(format!("`{text}` is not a version"))
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
            let calls = report.panic.iter().flat_map(|panic| &panic.backtrace);
            let found = calls.filter_map(|frame| frame.function.as_ref()).any(|name| name.contains(part));
            must(found, format!("`{part}` is not in the backtrace"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_this_repository_can_be_read() {
        let rows = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        assert!(rows.iter().any(|row| row.tier == Tier::Fast));
    }

    #[test]
    fn a_row_that_cannot_be_run_is_refused_by_name() {
        let row = |run: &str, more: &str| {
            parse(&format!("[[row]]\nname = \"a\"\nrun = \"{run}\"\n{more}expect = {{ status = 0 }}\n"))
        };
        assert!(row("boot --smp 2", "").is_ok());
        assert!(row("boot --smp two", "").unwrap_err().contains("row `a`"));
        assert!(row("boot", "qemu = \"new\"\n").unwrap_err().contains("`new` is not a version"));
        assert!(row("boot", "colour = 1\n").unwrap_err().contains("colour"));
        let twice = "[[row]]\nname = \"a\"\nrun = \"boot\"\nexpect = { status = 0 }\n".repeat(2);
        assert!(parse(&twice).unwrap_err().contains("two rows"));
    }
}
