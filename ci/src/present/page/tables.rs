//! What is shown in tables: memory, workloads, costs, interrupts.

use indicatif::HumanCount;
use maud::{Markup, html};
use octopod::wire::ORDERS;

use crate::base::numbers::{bytes, plain, short};
use crate::present::page::html::text;
use crate::present::pictures::Spread;
use crate::report::Report;
use crate::report::memory::ArenaReport;

/// Interrupts of more CPUs than this are shown by their spread.
const MAX_CPU_COLUMNS: usize = 16;

/// The memory map line by line, and the frame allocator's counts.
pub fn memory(report: &Report) -> Markup {
    let Some(memory) = &report.memory else { return html! {} };
    let kernel = &memory.kernel;
    html! {
        p {
            (HumanCount(kernel.frames_total)) " frames, " (bytes(kernel.metadata_bytes)) " of tables for them; free before the work "
            (HumanCount(kernel.frames_free_before))
            @if let Some(after) = memory.frames_free_after { ", after it " (HumanCount(after)) }
            "."
        }
        (arenas(&memory.arenas))
        @if !memory.calls.is_empty() { details {
            summary { "What CPUs have asked of the frame allocator, but for single frames from their magazines" }
            div.scroll.tall { table {
                @for (row, counts) in memory.calls.iter().enumerate() {
                    @let fields = crate::report::comparison::fields(counts);
                    @if row == 0 { tr { @for (name, _) in &fields { th.number { (name.replace('_', " ")) } } } }
                    tr { @for (_, count) in &fields { td.number { (HumanCount(*count)) } } }
                }
            } }
        } }
        @if !memory.regions.is_empty() { details {
            summary { "The map, region by region" }
            div.scroll.tall { table {
                tr { th { "from" } th { "to" } th.number { "size" } th { "owner" } }
                @for region in &memory.regions {
                    tr {
                        td { code { (format!("{:#x}", region.start)) } }
                        td { code { (format!("{:#x}", region.end)) } }
                        td.number { (bytes(region.end.saturating_sub(region.start))) }
                        td { (text(&region.owner)) }
                    }
                }
            } }
        } }
    }
}

/// Free frames by the largest piece that they are part of: how fragmented memory is.
fn arenas(arenas: &[ArenaReport]) -> Markup {
    let parts = |arena: &ArenaReport| {
        let parts = [("before", arena.before.clone()), ("after", arena.after.clone())];
        parts.into_iter().filter_map(|(when, free)| Some((when, free?)))
    };
    let has_some = |order: &usize| arenas.iter().flat_map(parts).any(|(_, free)| free.by_order[*order] > 0);
    let orders: Vec<usize> = (0..ORDERS).filter(has_some).collect();
    html! {
        @if !arenas.is_empty() {
            p.faint { "Free frames, by the largest piece that could be had of them" }
            div.scroll.tall { table {
                tr {
                    th.number { "node" } th { "zone" } th.number { "frames" } th { "work" } th.number { "free" }
                    @for order in &orders { th.number { (bytes(4096 << order)) } }
                }
                @for arena in arenas { @for (when, free) in parts(arena) {
                    tr {
                        td.number { (arena.node) } td { (text(&arena.zone)) } td.number { (HumanCount(arena.frames_total)) }
                        td { (when) } td.number { (HumanCount(free.frames)) }
                        @for order in &orders { td.number { (HumanCount(free.by_order[*order])) } }
                    }
                } }
            } }
        }
    }
}

/// The workloads' figures.
pub fn stress(report: &Report) -> Markup {
    if report.stress.is_empty() {
        return html! {};
    }
    let unit = report.latency_unit();
    html! {
        h2 { "Workloads" }
        div.scroll.tall { table {
            tr {
                th { "workload" } th { "allocator" }
                @for name in ["CPUs", "operations", "per second", "lost", "twice", "p50", "p99", "p99.9", "max"] {
                    th.number { (name) }
                }
            }
            @for result in &report.stress {
                tr {
                    td { (text(&result.workload)) } td { (text(&result.allocator)) }
                    td.number { (result.cpus) }
                    td.number { (HumanCount(result.operations)) }
                    td.number { (HumanCount(result.rate() as u64)) }
                    @for count in [result.lost, result.doubled] {
                        td.number.bad[count > 0] { (HumanCount(count)) }
                    }
                    @let cycles = &result.cycles;
                    @for figure in [cycles.p50, cycles.p99, cycles.p999, cycles.max] { td.number { (short(figure as f64)) } }
                }
            }
        } }
        p.faint { "The last four columns: how long a hand-out and its return take together, in " (unit) "." }
    }
}

/// What things cost.
pub fn bench(report: &Report) -> Markup {
    if report.bench.is_empty() {
        return html! {};
    }
    let shown = |figure: Option<f64>| figure.map_or("–".to_owned(), plain);
    html! {
        h2 { "Costs" }
        div.scroll { table {
            tr {
                th { "operation" } th { "unit" }
                @for name in ["here", "limit", "goal", "Linux 6.1"] { th.number { (name) } }
            }
            @for figure in &report.bench {
                @let above = figure.limit.is_some_and(|limit| figure.value > limit);
                tr {
                    td { (text(&figure.name)) } td { (text(&figure.unit)) }
                    td.number.bad[above] { (plain(figure.value)) }
                    @for other in [figure.limit, figure.goal, figure.linux] { td.number { (shown(other)) } }
                }
            }
        } }
    }
}

/// Interrupts by vector, and by CPU where these are few.
pub fn interrupts(report: &Report) -> Markup {
    let Some(cpus) = report.interrupts.iter().map(|vector| vector.per_cpu.len()).max() else {
        return html! {};
    };
    let each = cpus <= MAX_CPU_COLUMNS;
    html! {
        h2 { "Interrupts" }
        div.scroll { table {
            tr {
                th.number { "vector" } th { "what" } th.number { "all" }
                @if each { @for cpu in 0..cpus { th.number { "CPU " (cpu) } } }
                @else { @for name in ["least", "median", "most"] { th.number { (name) " of a CPU" } } }
            }
            @for vector in &report.interrupts {
                tr {
                    td.number { (vector.vector) } td { (text(&vector.name)) }
                    td.number { (HumanCount(vector.per_cpu.iter().fold(0, |sum, count| sum.saturating_add(*count)))) }
                    @if each { @for count in &vector.per_cpu { td.number { (HumanCount(*count)) } } }
                    @else if let Some(spread) = Spread::of(vector.per_cpu.iter().copied()) {
                        @for count in [spread.min, spread.median, spread.max] { td.number { (HumanCount(count)) } }
                    }
                }
            }
        } }
    }
}
