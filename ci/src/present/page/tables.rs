//! The tables of a page: memory, workloads, costs, interrupts.

use indicatif::HumanCount;
use maud::{Markup, html};
use octopod::stress::subject::SubjectKind;
use octopod::wire::ORDERS;

use crate::base::numbers::{bytes, plain, short};
use crate::present::page::html::text;
use crate::present::page::sections::sentences;
use crate::present::pictures::Spread;
use crate::report::memory::ZoneReport;
use crate::report::stress::StressReport;
use crate::report::{Report, descriptions};

/// Interrupts of more CPUs than this are shown by their spread.
const MAX_CPU_COLUMNS: usize = 8;

/// Orders are shown in groups, each up to this one.
const LAST_ORDERS: [usize; 6] = [0, 4, 8, 9, 13, ORDERS - 1];

/// The column of what the latencies include.
const TIMED: &str = "latency of";

/// The columns of a workload after its name and its allocator's.
const FIGURES: [&str; 12] = [
    "CPUs",
    "operations",
    "per second",
    "lost",
    "double-allocated",
    "refused",
    "unsupported",
    TIMED,
    "p50",
    "p99",
    "p99.9",
    "max",
];

/// The index of the first count that has to be 0.
const FIRST_COUNT: usize = 3;

/// The memory map line by line, and the frame allocator's counts.
pub(crate) fn memory(report: &Report) -> Markup {
    let Some(memory) = &report.memory else { return html! {} };
    let kernel = &memory.kernel;
    html! {
        p {
            (HumanCount(kernel.frames_total)) " frames, " (bytes(kernel.metadata_bytes)) " of tables for them; free before the work "
            (HumanCount(kernel.free_frames_before))
            @if let Some(after) = memory.free_frames_after { ", after it " (HumanCount(after)) }
            "."
        }
        (zones(&memory.zones))
        @if !memory.calls.is_empty() { details {
            summary { "What CPUs have asked of the frame allocator, but for single frames from their magazines" }
            div.scroll.tall { table.wrap {
                @for (row, counts) in memory.calls.iter().enumerate() {
                    @let fields = crate::report::comparison::fields(counts);
                    @if row == 0 { tr { @for (name, _) in &fields { th.number { (name.replace('_', " ")) } } } }
                    tr { @for (_, count) in &fields { td.number { (counted(*count)) } } }
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
fn zones(zones: &[ZoneReport]) -> Markup {
    let parts = |zone: &ZoneReport| {
        let parts = [("before", zone.before.clone()), ("after", zone.after.clone())];
        parts.into_iter().filter_map(|(when, free)| Some((when, free?)))
    };
    let groups: Vec<_> = (0..LAST_ORDERS.len())
        .map(|at| (at.checked_sub(1).map_or(0, |before| LAST_ORDERS[before] + 1), LAST_ORDERS[at]))
        .collect();
    let range = |&(first, last): &(usize, usize)| match first == last {
        true => bytes(4096 << first),
        false => format!("{} to {}", bytes(4096 << first), bytes(4096 << last)),
    };
    let sum = |by_order: &[u64; ORDERS], &(first, last): &(usize, usize)| {
        by_order[first..=last].iter().fold(0, |sum: u64, one| sum.saturating_add(*one))
    };
    html! {
        @if !zones.is_empty() {
            p.faint { "Free frames, by the largest piece that could be had of them" }
            div.scroll.tall { table.wrap {
                tr {
                    th.number { "node" } th { "zone" } th.number { "frames" } th { "work" } th.number { "free" }
                    @for group in &groups { th.number { (range(group)) } }
                }
                @for zone in zones { @for (when, free) in parts(zone) {
                    tr {
                        td.number { (zone.node) } td { (text(&zone.zone)) } td.number { (HumanCount(zone.frames_total)) }
                        td { (when) } td.number { (HumanCount(free.frames)) }
                        @for group in &groups { td.number { (HumanCount(sum(&free.by_order, group))) } }
                    }
                } }
            } }
        }
    }
}

/// The heap's objects at the end of the work.
pub(crate) fn heap(report: &Report) -> Markup {
    let Some(heap) = &report.heap else { return html! {} };
    let whole = &heap.whole;
    let frames = |frames: u64| bytes(frames.saturating_mul(4096));
    html! {
        h2 { "The heap after the work" }
        p {
            (frames(whole.frames_held)) ", of it " (frames(whole.metadata_frames)) " of metadata; " (HumanCount(whole.large_objects))
            " large objects of " (bytes(whole.large_bytes)) " in " (frames(whole.large_frames)) "."
        }
        @if !heap.classes.is_empty() { div.scroll.tall { table {
            tr { @for name in ["node", "object", "live", "cached", "free", "slabs", "waste in objects", "in slabs"] { th.number { (name) } } }
            @for class in &heap.classes { tr {
                td.number { (class.node) } td.number { (bytes(class.object_bytes)) }
                @for count in [class.live, class.cached, class.free, class.slabs] { td.number { (HumanCount(count)) } }
                @for waste in [class.internal_waste_bytes, class.slab_waste_bytes] { td.number { (bytes(waste)) } }
            } }
        } } }
        @if !heap.cpus.is_empty() { details {
            summary { "CPU by CPU: objects in its magazines" }
            div.scroll.tall { table {
                tr { @for name in ["CPU", "node", "objects", "size"] { th.number { (name) } } }
                @for cpu in &heap.cpus {
                    @let (objects, size) = cpu.sum();
                    tr { td.number { (cpu.cpu) } td.number { (cpu.node) } td.number { (HumanCount(objects)) } td.number { (bytes(size)) } }
                }
            } }
        } }
    }
}

/// The workloads' figures.
pub(crate) fn stress(report: &Report) -> Markup {
    if report.stress.is_empty() {
        return html! {};
    }
    let unit = report.latency_unit();
    let names = |name: fn(&StressReport) -> &String| {
        let mut names: Vec<&String> = Vec::new();
        for name in report.stress.iter().map(name) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.into_iter()
    };
    let workloads =
        names(|result| &result.workload).filter_map(|name| Some((name, descriptions::workload(name)?)));
    let is_all = |name: &String, kind: SubjectKind| {
        let is_it = |result: &&StressReport| result.allocator == *name;
        report.stress.iter().filter(is_it).all(|result| result.kind.as_deref() == Some(kind.name()))
    };
    let allocators = names(|result| &result.allocator).filter_map(|name| {
        let description = match name {
            name if is_all(name, SubjectKind::Heap) => descriptions::heap,
            name if is_all(name, SubjectKind::Scheduler) => descriptions::scheduler,
            _ => descriptions::allocator,
        };
        Some((name, description(name)?))
    });
    html! {
        h2 { "Workloads" }
        div.scroll.tall { table.stack.wrap {
            tr {
                th { "workload" } th { "allocator" }
                @for name in FIGURES { th.number { (name) } }
            }
            @for result in &report.stress {
                @let cycles = &result.cycles;
                @let counts = [result.lost, result.double_allocated];
                @let figures = [
                    result.cpus.to_string(),
                    HumanCount(result.operations).to_string(),
                    HumanCount(result.rate() as u64).to_string(),
                    HumanCount(result.lost).to_string(),
                    HumanCount(result.double_allocated).to_string(),
                    HumanCount(result.refused).to_string(),
                    HumanCount(result.unsupported).to_string(),
                    text(result.timed_in_words()),
                    short(cycles.p50 as f64),
                    short(cycles.p99 as f64),
                    short(cycles.p999 as f64),
                    short(cycles.max as f64),
                ];
                tr {
                    td data-label="workload" { (text(&result.workload)) }
                    td data-label="allocator" { (text(&result.allocator)) }
                    @for (at, (name, figure)) in FIGURES.into_iter().zip(figures).enumerate() {
                        @let is_bad = at.checked_sub(FIRST_COUNT).and_then(|at| counts.get(at)).is_some_and(|count| *count > 0);
                        td.number.bad[is_bad].words[name == TIMED] data-label=(name) { (figure) }
                    }
                }
            }
        } }
        p.faint {
            "Refused: allocations that failed. Unsupported: of orders or sizes that the allocator does not have. p50 to max: latencies in "
            (unit) " of the calls under test alone, without the checks."
        }
        (fragmentation(report))
        (sentences("What each workload and allocator does", workloads.chain(allocators)))
    }
}

/// The fragmentation score of each workload that measures it, round by round.
fn fragmentation(report: &Report) -> Markup {
    let measured = || report.stress.iter().filter(|result| !result.fragmentation.is_empty());
    html! {
        @if measured().next().is_some() { details {
            summary { "Fragmentation score in percent, before the first round and after each" }
            div.scroll { table {
                tr { th { "workload" } th { "allocator" } th.number { "CPUs" } th { "scores" } }
                @for result in measured() {
                    tr {
                        td { (text(&result.workload)) } td { (text(&result.allocator)) } td.number { (result.cpus) }
                        td { @for score in &result.fragmentation { (format!("{score:.1} ")) } }
                    }
                }
            } }
        } }
    }
}

/// A count in at most seven characters, exact while it has these.
fn counted(count: u64) -> String {
    if count < 1_000_000 { HumanCount(count).to_string() } else { short(count as f64) }
}

/// The costs of operations.
pub(crate) fn bench(report: &Report) -> Markup {
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

/// The program's own figures.
pub(crate) fn figures(report: &Report) -> Markup {
    if report.figures.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Figures of the program" }
        div.scroll { table {
            tr { th { "figure" } th { "unit" } th.number { "value" } }
            @for figure in &report.figures {
                tr { td { (text(&figure.name)) } td { (text(&figure.unit)) } td.number { (plain(figure.value)) } }
            }
        } }
    }
}

/// Interrupts by vector, and by CPU where these are few.
pub(crate) fn interrupts(report: &Report) -> Markup {
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
                    @if each { @for count in &vector.per_cpu { td.number { (counted(*count)) } } }
                    @else if let Some(spread) = Spread::of(vector.per_cpu.iter().copied()) {
                        @for count in [spread.min, spread.median, spread.max] { td.number { (HumanCount(count)) } }
                    }
                }
            }
        } }
    }
}
