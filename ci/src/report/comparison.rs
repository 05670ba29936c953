//! Compares two runs: what is faster, what is slower, what else has changed.
//!
//! `report RUN` draws the pages of a run that has none; `report OLD NEW` compares. A run is a folder or its report.json.

use octopod::wire::{Boot, Events};
use serde::Serialize;

use crate::report::{Report, headline};

/// A smaller difference is noise: no two runs of one kernel are the same.
const NOTABLE: f64 = 0.10;

/// The direction in which a figure improves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Up.
    More,
    /// Down.
    Less,
    /// It only shows that something is otherwise.
    Neither,
}

/// Figures of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The runs that are compared.
    pub name: &'static str,
    /// The figures.
    pub rows: Vec<Row>,
}

/// A figure in both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its description.
    pub name: String,
    /// In the old run; absent if it has none.
    pub old: Option<f64>,
    /// In the new run.
    pub new: Option<f64>,
    better: Better,
}

/// The result of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Notably better.
    Better,
    /// Notably worse.
    Worse,
    /// No notable difference.
    Same,
    /// A notable difference of something that is neither good nor bad.
    Changed,
    /// Only one run has the figure.
    OneSided,
}

impl Row {
    /// A figure of two runs.
    pub fn of<T>(name: impl Into<String>, old: Option<T>, new: Option<T>, better: Better) -> Row
    where
        T: Into<f64>,
    {
        Row { name: name.into(), old: old.map(Into::into), new: new.map(Into::into), better }
    }

    /// The new figure for one of the old.
    pub fn ratio(&self) -> Option<f64> {
        match (self.old?, self.new?) {
            (0.0, 0.0) => Some(1.0),
            (old, new) if old > 0.0 => Some(new / old),
            _ => None,
        }
    }

    /// The result.
    pub fn change(&self) -> Change {
        let (Some(old), Some(new)) = (self.old, self.new) else { return Change::OneSided };
        let notable = (new - old).abs() > NOTABLE * old.max(new);
        match (notable, self.better) {
            (false, _) => Change::Same,
            (true, Better::Neither) => Change::Changed,
            (true, better) if (new > old) == (better == Better::More) => Change::Better,
            (true, _) => Change::Worse,
        }
    }

    /// The same as a word.
    pub fn word(&self) -> &'static str {
        match (self.change(), self.old.is_some()) {
            (Change::Better, _) => "better",
            (Change::Worse, _) => "worse",
            (Change::Changed, _) => "changed",
            (Change::Same, _) => "",
            (Change::OneSided, true) => "gone",
            (Change::OneSided, false) => "new",
        }
    }
}

/// The fields of a record that holds nothing but counts, by their names.
pub(crate) fn fields(record: &impl Serialize) -> Vec<(String, u64)> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(record) else { return Vec::new() };
    fields.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect()
}

/// All figures that either run has, without kinds of which there are none.
pub fn groups(old: &Report, new: &Report) -> Vec<Group> {
    let all = [
        ("boot", boot(old, new)),
        ("operations per second", rates(old, new)),
        ("p99 of latency", quantiles(old, new)),
        ("instructions for", costs(old, new)),
        ("interrupts on", interrupts(old, new)),
        ("events", events(old, new)),
    ];
    all.into_iter().filter(|(_, rows)| !rows.is_empty()).map(|(name, rows)| Group { name, rows }).collect()
}

/// Rows for the keys of either list: of both, then of the new one alone, in its order, then of the old one alone.
fn joined<T>(
    old: &[T],
    new: &[T],
    key: impl Fn(&T) -> String,
    value: impl Fn(&T) -> f64,
    better: Better,
) -> Vec<Row> {
    let find = |list: &[T], name: &str| list.iter().find(|one| key(one) == name).map(&value);
    let mut names: Vec<String> = Vec::new();
    for name in new.iter().chain(old).map(&key) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let row = |name: String| Row::of(name.clone(), find(old, &name), find(new, &name), better);
    let mut rows: Vec<Row> = names.into_iter().map(row).collect();
    rows.sort_by_key(|row| row.old.is_none() || row.new.is_none());
    rows
}

fn boot(old: &Report, new: &Report) -> Vec<Row> {
    let ms = |report: &Report, field: fn(&Boot<String>) -> u64| {
        report.boot.as_ref().map(|boot| field(&boot.kernel) as f64 / 1000.0)
    };
    let of = |report: &Report| {
        [
            ("entry to all online, ms", ms(report, |boot| boot.entry_to_online_us)),
            ("INIT to all online, ms", ms(report, |boot| boot.init_to_online_us)),
            (
                "KiB for each CPU",
                report.boot.as_ref().map(|boot| boot.kernel.bring_up.bytes_per_cpu as f64 / 1024.0),
            ),
            ("image, KiB", report.kernel.as_ref().map(|kernel| kernel.image_bytes as f64 / 1024.0)),
        ]
    };
    let pairs = of(old).into_iter().zip(of(new));
    pairs
        .map(|((name, old), (_, new))| Row::of(name, old, new, Better::Less))
        .filter(|row| row.old.is_some() || row.new.is_some())
        .collect()
}

fn run_name(result: &crate::report::stress::StressReport) -> String {
    let noun = if result.cpus == 1 { "CPU" } else { "CPUs" };
    format!("{}, {}, {} {noun}", result.workload, result.allocator, result.cpus)
}

fn rates(old: &Report, new: &Report) -> Vec<Row> {
    joined(&old.stress, &new.stress, run_name, |result| result.rate(), Better::More)
}

fn quantiles(old: &Report, new: &Report) -> Vec<Row> {
    joined(&old.stress, &new.stress, run_name, |result| result.cycles.p99 as f64, Better::Less)
}

fn costs(old: &Report, new: &Report) -> Vec<Row> {
    joined(&old.bench, &new.bench, |figure| figure.name.clone(), |figure| figure.value, Better::Less)
}

fn interrupts(old: &Report, new: &Report) -> Vec<Row> {
    let all = |report: &crate::report::interrupts::InterruptReport| {
        report.per_cpu.iter().map(|count| *count as f64).sum()
    };
    joined(
        &old.interrupts,
        &new.interrupts,
        |one| format!("{} {}", one.vector, one.name),
        all,
        Better::Neither,
    )
}

fn events(old: &Report, new: &Report) -> Vec<Row> {
    let of = |report: &Report| {
        let mut counts = report.events.as_ref().map(|events: &Events| fields(events)).unwrap_or_default();
        counts.push(("warnings".to_owned(), report.warnings.len() as u64));
        counts.push(("unreadable_records".to_owned(), report.unreadable_records));
        counts
    };
    let rows = joined(&of(old), &of(new), |one| one.0.replace('_', " "), |one| one.1 as f64, Better::Neither);
    rows.into_iter().filter(|row| row.old != row.new).collect()
}

/// The machine and the command line, where the runs differ: figures of two machines are hardly to be compared.
pub fn differences(old: &Report, new: &Report) -> Vec<(&'static str, String, String)> {
    let of = |report: &Report| {
        let host = report.host.as_ref();
        let host =
            |field: fn(&crate::report::document::HostReport) -> String| host.map(field).unwrap_or_default();
        let kernel = report.kernel.as_ref().map(|kernel| kernel.variant.clone());
        [
            ("verdict", headline::verdict(report).0.to_owned()),
            ("octopod", report.origin.octopod()),
            ("date", report.origin.date.clone()),
            ("host", report.origin.host.clone()),
            ("seed", report.origin.seed.clone().unwrap_or_default()),
            ("command line", report.command_line.clone()),
            ("kernel", kernel.unwrap_or_default()),
            ("emulator", host(|host| format!("{} {}", host.emulator, host.emulator_version))),
            ("accelerator", host(|host| host.accel.clone())),
            ("machine", host(|host| host.machine.clone())),
            ("processor", host(|host| host.cpu.clone())),
            ("-smp", host(|host| host.smp.clone())),
            ("memory", host(|host| crate::base::numbers::bytes(host.memory_bytes))),
            ("boot protocol", host(|host| host.boot_protocol.clone())),
        ]
    };
    let pairs = of(old).into_iter().zip(of(new)).map(|((name, old), (_, new))| (name, old, new));
    pairs.filter(|(_, old, new)| old != new).collect()
}
