//! A report as text in at most 80 columns.

use std::collections::BTreeSet;

use comfy_table::Table;
use indicatif::HumanCount;
use octopod::stress::subject::SubjectKind;

use crate::base::numbers::plain;
use crate::base::text;
use crate::present::layout;
use crate::report::Report;
use crate::report::bench::BenchReport;
use crate::report::document::FigureReport;
use crate::report::headline::millis;
use crate::report::memory::{FreeReport, ZoneReport};
use crate::report::stress::StressReport;

mod interrupts;

pub use interrupts::interrupts;

/// The order of 2 MiB.
const BLOCK_ORDER: usize = 9;

/// Returns the lines that show the bring-up, and each workload's figures.
pub fn summary(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(boot) = &report.boot {
        let kernel = &boot.kernel;
        lines.push(format!(
            "{} of {} CPUs online in {}, {} and {} clock",
            kernel.cpus_online,
            kernel.cpus_listed,
            millis(kernel.entry_to_online_us),
            kernel.apic_mode,
            kernel.clock_source,
        ));
    }
    for cpu in report.cpus.iter().filter(|cpu| cpu.state != "online") {
        let why = match &cpu.failed_stage {
            Some(stage) => format!("did not come online; last stage: {stage}"),
            None => "was not called".to_owned(),
        };
        lines.push(format!("CPU {} (APIC ID {}) {why}", cpu.cpu, cpu.apic_id));
    }
    lines.extend(report.memory.iter().flat_map(|memory| nodes(&memory.zones)));
    if !report.stress.is_empty() {
        if is_comparison(&report.stress) {
            lines.push("operations a second, by the number of CPUs:".to_owned());
            lines.extend(layout::lines(&comparison(&report.stress)));
        } else {
            lines.extend(layout::lines(&workloads(&report.stress)));
            let unit = report.latency_unit();
            lines.push(format!("latencies in {unit} of the calls under test, without the checks:"));
            lines.extend(layout::lines(&latencies(&report.stress)));
        }
        if report.stress.iter().any(|result| !result.fragmentation.is_empty()) {
            lines.push("fragmentation score in percent, before the first round and after each:".to_owned());
            lines.extend(layout::lines(&fragmentation(&report.stress)));
        }
    }
    if !report.bench.is_empty() {
        lines.extend(layout::lines(&costs(&report.bench)));
    }
    if !report.figures.is_empty() {
        lines.extend(layout::lines(&figures(&report.figures)));
    }
    lines
}

/// The memory of each NUMA node, if there are several.
fn nodes(zones: &[ZoneReport]) -> Vec<String> {
    let count = zones.iter().map(|zone| zone.node + 1).max().unwrap_or(0);
    let nodes = (0..count).filter(|_| count > 1).map(|node| {
        let of_node = || zones.iter().filter(|zone| zone.node == node);
        let free = || of_node().filter_map(|zone| zone.after.as_ref());
        let whole = |free: &FreeReport| free.by_order[BLOCK_ORDER..].iter().sum::<u64>();
        format!(
            "node {node}: {} of {} MiB free, {} of it in pieces of 2 MiB or more",
            free().map(|free| free.frames).sum::<u64>() >> 8,
            of_node().map(|zone| zone.frames_total).sum::<u64>() >> 8,
            free().map(whole).sum::<u64>() >> 8
        )
    });
    nodes.collect()
}

/// Returns whether one workload ran more than once: on several allocators, heaps or policies, or several numbers of CPUs.
fn is_comparison(stress: &[StressReport]) -> bool {
    let names: BTreeSet<&str> = stress.iter().map(|result| result.workload.as_str()).collect();
    names.len() < stress.len()
}

/// Operations per second: a line for each workload and allocator, a column for each number of CPUs.
fn comparison(stress: &[StressReport]) -> Table {
    let firsts = |key: &dyn Fn(&StressReport) -> String| {
        let mut seen = Vec::new();
        for name in stress.iter().map(key) {
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
        seen
    };
    let counts = firsts(&|result| result.cpus.to_string());
    let heads = ["workload".to_owned(), subjects(stress).to_owned()].into_iter();
    let mut table = layout::table(heads.chain(counts.iter().cloned()).collect::<Vec<_>>());
    for workload in firsts(&|result| result.workload.clone()) {
        let mut name = text::line(&workload);
        for allocator in firsts(&|result| result.allocator.clone()) {
            let cells = counts.iter().map(|count| {
                let found = stress.iter().find(|result| {
                    result.workload == workload
                        && result.allocator == allocator
                        && result.cpus.to_string() == *count
                });
                found.map_or_else(String::new, |result| short(rate(result)))
            });
            let cells: Vec<String> = cells.collect();
            // A workload runs on allocators, on heaps, or with policies.
            if cells.iter().any(|cell| !cell.is_empty()) {
                table.add_row([core::mem::take(&mut name), text::line(&allocator)].into_iter().chain(cells));
            }
        }
    }
    layout::align(&mut table, 2, 16, 1);
    table
}

/// The head of the column of those that were compared.
fn subjects(stress: &[StressReport]) -> &'static str {
    let is_of_scheduler =
        |result: &StressReport| result.kind.as_deref() == Some(SubjectKind::Scheduler.name());
    match stress.iter().filter(|result| is_of_scheduler(result)).count() {
        0 => "allocator",
        count if count == stress.len() => "policy",
        _ => "allocator or policy",
    }
}

/// Operations per second.
fn rate(result: &StressReport) -> u64 {
    result.rate() as u64
}

/// The counts of each workload.
fn workloads(stress: &[StressReport]) -> Table {
    let heads = ["workload", "operations", "ops/s", "lost", "double-\nallocated", "refused", "unsupported"];
    let mut table = layout::table(heads);
    for result in stress {
        table.add_row([
            text::line(&result.workload),
            HumanCount(result.operations).to_string(),
            short(rate(result)),
            HumanCount(result.lost).to_string(),
            HumanCount(result.double_allocated).to_string(),
            short(result.refused),
            short(result.unsupported),
        ]);
    }
    layout::align(&mut table, 1, 20, 1);
    table
}

/// The latencies of each workload.
fn latencies(stress: &[StressReport]) -> Table {
    let mut table = layout::table(["latency of", "what", "p50", "p99", "p99.9", "max"]);
    for result in stress.iter().filter(|result| result.is_timed()) {
        let cycles = [result.cycles.p50, result.cycles.p99, result.cycles.p999, result.cycles.max];
        let names = [text::line(&result.workload), text::line(result.timed_in_words())];
        table.add_row(names.into_iter().chain(cycles.map(short)));
    }
    layout::align(&mut table, 2, 24, 2);
    table
}

/// The fragmentation score of each workload that measures it.
fn fragmentation(stress: &[StressReport]) -> Table {
    let heads = ["score of", "allocator", "CPUs", "rounds", "before", "least", "most", "last"];
    let mut table = layout::table(heads);
    for result in stress {
        let scores = &result.fragmentation;
        let (Some(first), Some(last)) = (scores.first(), scores.last()) else { continue };
        let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let most = scores.iter().copied().fold(0.0, f64::max);
        let names = [text::line(&result.workload), text::line(&result.allocator)];
        let counts = [result.cpus as usize, scores.len() - 1].map(|count| count.to_string());
        let scores = [*first, least, most, *last].map(|score| format!("{score:.1}"));
        table.add_row(names.into_iter().chain(counts).chain(scores));
    }
    layout::align(&mut table, 2, 20, 2);
    table
}

fn costs(bench: &[BenchReport]) -> Table {
    let mut table = layout::table(["cost", "unit", "here", "limit", "goal", "Linux 6.1"]);
    let shown = |figure: Option<f64>| figure.map_or("-".to_owned(), plain);
    for figure in bench {
        table.add_row([
            text::line(&figure.name),
            text::line(&figure.unit),
            plain(figure.value),
            shown(figure.limit),
            shown(figure.goal),
            shown(figure.linux),
        ]);
    }
    layout::align(&mut table, 2, 40, 2);
    table
}

fn figures(figures: &[FigureReport]) -> Table {
    let mut table = layout::table(["figure", "unit", "value"]);
    for figure in figures {
        table.add_row([text::line(&figure.name), text::line(&figure.unit), plain(figure.value)]);
    }
    layout::align(&mut table, 2, 60, 2);
    table
}

/// A number in at most five characters: what matters of a latency is its order of magnitude.
pub(crate) fn short(cycles: u64) -> String {
    let mut scaled = cycles as f64;
    for suffix in ["", "k", "M", "G", "T"] {
        if scaled < 999.5 {
            let digits = if suffix.is_empty() || scaled >= 99.95 { 0 } else { 1 };
            return format!("{scaled:.digits$}{suffix}");
        }
        scaled /= 1000.0;
    }
    format!("{cycles:.1e}")
}

#[cfg(test)]
mod tests;
