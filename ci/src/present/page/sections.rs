//! The sections of a page that are text: the machine, the failure, the counts.

use maud::{Markup, html};
use octopod::wire::{StagesUs, SwitchesByReason};

use crate::base::numbers::{bytes, time};
use crate::kernel::StackFrame;
use crate::present::calls::{CallPart, folded};
use crate::present::page::html::text;
use crate::present::pictures::Spread;
use crate::report::lateness::per_mille;
use crate::report::lock_wait::lock_wait_in_words;
use crate::report::origin::OriginReport;
use crate::report::panic::cpus_in_words;
use crate::report::scheduler::SchedulerReport;
use crate::report::{Report, descriptions};

/// The origin of the report, and the command that repeats the run.
pub(crate) fn origin(origin: &OriginReport) -> Markup {
    let known = |name, value: &String| (!value.is_empty()).then(|| (name, value.clone()));
    let some = |name, value: &Option<String>| value.clone().map(|value| (name, value));
    let rows = [
        known("octopod", &origin.octopod()),
        known("date", &origin.date),
        known("host", &origin.host),
        some("seed", &origin.seed),
    ];
    let commands = [some("repeat", &origin.repeat), some("emulator", &origin.emulator_command)];
    html! {
        dl {
            @for (name, value) in rows.into_iter().flatten() { dt { (name) } dd { (text(&value)) } }
            @for (name, value) in commands.into_iter().flatten() { dt { (name) } dd { code { (text(&value)) } } }
        }
    }
}

/// The configuration of the run.
pub(crate) fn machine(report: &Report) -> Markup {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(host) = &report.host {
        rows.push(("machine", format!("{}, -smp {}, {}", host.machine, host.smp, bytes(host.memory_bytes))));
        rows.push(("processor", host.cpu.clone()));
        let version = host.qemu_version.as_ref().unwrap_or(&host.emulator_version);
        // Before there was another one, it went without saying.
        let name = if host.emulator.is_empty() { "qemu" } else { &host.emulator };
        rows.push(("run by", format!("{name} {version}, {}, on {} {}", host.accel, host.os, host.arch)));
        rows.push(("wall time", time(host.wall_ms as f64 * 1000.0)));
    }
    if let Some(kernel) = &report.kernel {
        let compressed = kernel.compressed_bytes.map(|size| format!(", {} compressed", bytes(size)));
        let size =
            format!("{}, {}{}", kernel.variant, bytes(kernel.image_bytes), compressed.unwrap_or_default());
        rows.push(("kernel", size));
    }
    rows.push(("command line", report.command_line.clone()));
    if let Some(boot) = &report.boot {
        let kernel = &boot.kernel;
        // A kernel that the user has named may be of another.
        let own = kernel.version.clone().filter(|version| *version != report.origin.version);
        rows.extend(own.map(|version| ("kernel's version", format!("octopod {version}"))));
        let protocol = report.host.as_ref().map_or(&kernel.protocol, |host| &host.boot_protocol);
        rows.push(("loaded by", format!("{protocol}, KASLR by {}", kernel.kaslr)));
        let clock = format!(
            "{}, TSC {:.1} MHz by {}",
            kernel.apic_mode,
            kernel.tsc_khz as f64 / 1000.0,
            kernel.clock_source
        );
        rows.push(("APIC and clock", clock));
        if let Some(clock) = &report.clock {
            let mut line = format!("by {}, timers {}", clock.counter, clock.timer_mode.replace('_', "-"));
            if clock.skew_cycles > 0 {
                line.push_str(&format!(", TSCs apart by up to {} ns", clock.skew_ns));
            }
            clock.drift_ppm.iter().for_each(|ppm| line.push_str(&format!(", off by {ppm} ppm")));
            clock
                .unstable_reason
                .iter()
                .for_each(|why| line.push_str(&format!("; the TSC is not trusted: {why}")));
            rows.push(("time", line));
        }
        if let Some(timers) = &report.timers {
            let late = timers.lateness_ns;
            let text = format!(
                "{} on {} CPUs, late by {} in the middle, at most {}",
                indicatif::HumanCount(timers.timers),
                timers.cpus,
                time(late.p50 as f64 / 1000.0),
                time(late.max as f64 / 1000.0)
            );
            rows.push(("timers", text));
        }
        let online = format!(
            "{} of {} in {}, of it {} for all others",
            kernel.cpus_online,
            kernel.cpus_listed,
            time(kernel.entry_to_online_us as f64),
            time(kernel.init_to_online_us as f64)
        );
        rows.push(("CPUs online", online));
    }
    html! {
        dl {
            @for (name, value) in rows { dt { (name) } dd { (text(&value)) } }
        }
    }
}

/// The description of each boot stage.
pub(crate) fn boot_stages(report: &Report) -> Markup {
    let known =
        report.boot_stages.iter().filter_map(|at| Some((&at.stage, descriptions::boot_stage(&at.stage)?)));
    sentences("What each stage does", known)
}

/// Names with a sentence each.
pub(crate) fn sentences<'a>(summary: &str, all: impl Iterator<Item = (&'a String, &'static str)>) -> Markup {
    let mut all = all.peekable();
    if all.peek().is_none() {
        return html! {};
    }
    html! {
        details { summary { (summary) } dl { @for (name, sentence) in all { dt { (text(name)) } dd { (sentence) } } } }
    }
}

/// The panic record.
pub(crate) fn panic(report: &Report) -> Markup {
    let Some(panic) = &report.panic else { return html! {} };
    html! {
        @if panic.requested {
            h2.warn { "CPU " (panic.cpu) " at the time limit" }
        } @else {
            h2.bad { "CPU " (panic.cpu) " panicked" }
        }
        @if !panic.requested { p.lines { (text(&panic.message)) @if let Some(place) = panic.place() { ", at " code { (text(&place)) } } } }
        @if let Some(stage) = panic.boot_stage() { p { "in stage " (text(stage)) } }
        (calls(&panic.backtrace))
        @if let Some(first) = panic.first() {
            pre {
                @for four in first.registers.chunks(4) {
                    @for (name, value) in four { (format!("{:<6} ", text(name))) (text(value)) "  " }
                    "\n"
                }
            }
            @if !first.locks.is_empty() { p { "holds " (text(&first.locks.join(", "))) } }
            @if let Some(wait) = &first.wait { p { (text(&lock_wait_in_words(wait))) } }
        }
        @for (numbers, cpu) in panic.others() {
            p { (cpus_in_words(&numbers)) " " (text(&cpu.headline())) }
            (calls(&cpu.backtrace))
        }
        @for context in &panic.contexts {
            p { (text(&context.name)) ":" }
            pre { @for line in &context.lines { (text(line)) "\n" } }
        }
        @for thread in &panic.threads {
            details { summary { (text(&thread.in_words())) } (calls(&thread.backtrace)) }
        }
        @for (cpu, events) in panic.cpus.iter().map(|cpu| (cpu, panic.events(cpu))).filter(|(_, events)| !events.is_empty()) {
            details {
                summary { "CPU " (cpu.cpu) ": its last events" }
                pre { @for event in events { (format!("{:>15} before: ", event.time_before())) (text(&event.text)) "\n" } }
            }
        }
    }
}

/// The call sites that a checked heap has named.
pub(crate) fn heap_sites(report: &Report) -> Markup {
    html! {
        @if !report.heap_sites.is_empty() {
            h2 { "Objects of the heap" }
            div.tall { @for site in &report.heap_sites {
                details { summary { (text(&site.in_words())) } (calls(&site.backtrace)) }
            } }
        }
    }
}

/// Problems that did not end the run, one line each, with the location of the CPU.
pub(crate) fn warnings(report: &Report) -> Markup {
    let head = |cpu: u32, kind: &str, message: &str| format!("CPU {cpu}, by {kind}: {message}");
    html! {
        @if !report.warnings.is_empty() || report.unreadable_records > 0 { h2.warn { "Warnings" } }
        @if !report.warnings.is_empty() {
            div.tall { @for warning in &report.warnings {
                @let wait = warning.wait.as_ref().map_or(String::new(), |wait| format!("; {}", lock_wait_in_words(wait)));
                @let head = head(warning.cpu, &warning.kind, &warning.message) + &wait;
                @if warning.backtrace.is_empty() { p { (text(&head)) } } @else {
                    details { summary { (text(&head)) } (calls(&warning.backtrace)) }
                }
            } }
        }
        @if report.unreadable_records > 0 { p { (report.unreadable_records) " record lines could not be read" } }
    }
}

/// Calls, innermost first. What matters of a call, its name and its place, comes first where a line has to be broken.
fn calls(frames: &[StackFrame]) -> Markup {
    html! {
        @if !frames.is_empty() {
            ol.calls { @for part in folded(frames) {
                @match part {
                    CallPart::Call(frame) => li {
                        code { (text(frame.function.as_deref().unwrap_or("(no symbol)"))) }
                        @if frame.inlined { " (inlined)" }
                        span.faint {
                            @if let Some(place) = &frame.location { " " (text(place)) }
                            " " code { (text(&frame.address)) }
                        }
                    },
                    CallPart::Repeated { .. } | CallPart::Library(_) => li.faint { (part.to_string()) },
                }
            } }
        }
    }
}

/// Shows the duration of each stage over all CPUs, and the stamps of each CPU.
pub(crate) fn stages(report: &Report) -> Markup {
    if report.cpus.is_empty() {
        return html! {};
    }
    let names = StagesUs::default().in_order().map(|(name, _)| name);
    let lasted = |stage: usize| {
        Spread::of(report.cpus.iter().filter_map(|cpu| {
            let stamps = cpu.stages_us.in_order();
            Some(stamps[stage + 1].1?.saturating_sub(stamps[stage].1?))
        }))
    };
    html! {
        p.faint { "How long each stage lasted" }
        div.scroll { table {
            tr { th { "after" } th { "until" } @for name in ["least", "median", "most"] { th.number { (name) } } }
            @for stage in 0..8 { @if let Some(spread) = lasted(stage) {
                tr {
                    td { (names[stage]) }
                    td { (descriptions::cpu_stage(names[stage + 1]).unwrap_or_default()) }
                    @for figure in [spread.min, spread.median, spread.max] { td.number { (time(figure as f64)) } }
                }
            } }
        } }
        details {
            summary { "Each CPU's stamps, in µs since the kernel's entry" }
            div.scroll.tall { table.wrap {
                tr { th { "CPU" } th { "APIC ID" } th { "state" } @for name in names { th.number { (name.replace('_', " ")) } } }
                @for cpu in &report.cpus {
                    tr {
                        td { (cpu.cpu) } td { (cpu.apic_id) } td { (text(&cpu.state)) }
                        @for (_, stamp) in cpu.stages_us.in_order() {
                            td.number { @match stamp { Some(us) => (us), None => "–" } }
                        }
                    }
                }
            } }
        }
    }
}

/// Shows the lateness of each CPU's timers.
pub(crate) fn lateness(report: &Report) -> Markup {
    html! {
        @if !report.lateness.is_empty() { details {
            summary { "CPU by CPU: timers, and how late they were at most" }
            div.scroll.tall { table {
                tr { @for name in ["CPU", "timers", "half", "99 %", "99.9 %", "all"] { th.number { (name) } } }
                @for cpu in &report.lateness {
                    tr {
                        td.number { (cpu.cpu) } td.number { (indicatif::HumanCount(cpu.timers())) }
                        @for part in [500, 990, 999, 1000] { td.number { (time_of(cpu.per_mille_ns(part))) } }
                    }
                }
            } }
        } }
    }
}

/// The counts of events.
pub(crate) fn events(report: &Report) -> Markup {
    let Some(events) = &report.events else { return html! {} };
    html! {
        h2 { "Events" }
        div.scroll { table {
            @for (name, count) in crate::report::comparison::fields(events) {
                tr { td { (name.replace('_', " ")) } td.number { (indicatif::HumanCount(count)) } }
            }
        } }
    }
}

/// Shows the threads at the end of the work, and how much of their stacks was used.
pub(super) fn threads(report: &Report) -> Markup {
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), crate::base::numbers::bytes);
    html! {
        @if !report.threads.is_empty() { details {
            summary { "Threads at the end of the work, and the one that used its stack most deeply" }
            div.scroll.tall { table.wrap {
                tr {
                    th.number { "thread" } th { "name" } th { "state" } th.number { "CPU" } th { "may run on" }
                    th.number { "stack" } th.number { "used" } th.number { "ran" }
                }
                @for thread in &report.threads {
                    tr {
                        td.number { (thread.id) } td { (text(&thread.name)) } td { (text(&thread.state)) } td.number { (thread.cpu) }
                        td { (text(&thread.affinity)) } td.number { (size(thread.stack_bytes)) }
                        td.number { @if !thread.is_own_use { "at most " } (size(thread.stack_used_bytes)) }
                        td.number { (time_of(thread.ran_ns)) }
                    }
                }
            } }
        } }
    }
}

/// A time in nanoseconds that may not have been measured.
fn time_of(ns: Option<u64>) -> String {
    ns.map_or("–".to_owned(), |ns| time(ns as f64 / 1000.0))
}

/// Shows what the scheduler has counted on each CPU, and what it has measured, if it has.
pub(super) fn scheduler(report: &Report) -> Markup {
    let count = |count: u64| indicatif::HumanCount(count).to_string();
    let switches = |cpu: &SchedulerReport| {
        let SwitchesByReason { yielded, preempted, moved, parked, blocked, ended, own } = cpu.switches;
        [yielded, preempted, moved, parked, blocked, ended, own, cpu.stolen].map(count)
    };
    let measured = |cpu: &SchedulerReport| {
        let busy = cpu.busy_ns?;
        let share = format!("{:.1} %", busy as f64 * 100.0 / cpu.elapsed_ns.max(1) as f64);
        let latency = cpu.wake_latency_ns.map(|ns| [ns.p50, ns.p99, ns.p999, ns.max].map(Some));
        let depth =
            [500, 990, 1000].map(|part| per_mille(&cpu.queue_depth, part).map_or("–".to_owned(), count));
        Some((share, latency.unwrap_or([None; 4]).map(time_of), depth))
    };
    let measured: Vec<_> =
        report.scheduler.iter().filter_map(|cpu| Some((cpu.cpu, measured(cpu)?))).collect();
    let heads = ["yielded", "preempted", "moved", "parked", "blocked", "ended", "own thread", "stolen"];
    html! {
        @if !report.scheduler.is_empty() { details {
            summary { "CPU by CPU: switches by their reason, and threads stolen" }
            div.scroll.tall { table {
                tr { th.number { "CPU" } @for head in heads { th.number { (head) } } }
                @for cpu in &report.scheduler {
                    tr { td.number { (cpu.cpu) } @for shown in switches(cpu) { td.number { (shown) } } }
                }
            } }
        } }
        @if !measured.is_empty() { details {
            summary { "CPU by CPU: utilisation, latency of wake-ups, depth of the queue" }
            div.scroll.tall { table {
                tr {
                    th.number { "CPU" } th.number { "busy" }
                    @for part in ["p50", "p99", "p99.9", "max"] { th.number { "latency, " (part) } }
                    @for part in ["p50", "p99", "max"] { th.number { "queue, " (part) } }
                }
                @for (cpu, (share, latency, depth)) in &measured {
                    tr {
                        td.number { (cpu) } td.number { (share) }
                        @for shown in latency { td.number { (shown) } }
                        @for shown in depth { td.number { (shown) } }
                    }
                }
            } }
        } }
    }
}

/// Shows the facts that parts of the kernel have determined.
pub(super) fn facts(report: &Report) -> Markup {
    html! {
        @if !report.facts.is_empty() { details {
            summary { "Facts: what parts of the kernel have determined" }
            div.scroll.tall { table {
                tr { th { "part" } th { "fact" } th.number { "value" } }
                @for fact in &report.facts {
                    tr {
                        td { (text(&fact.subject)) } td { (text(&fact.name.replace('_', " "))) }
                        td.number {
                            @if let Some(value) = fact.value { (indicatif::HumanCount(value)) }
                            @if let Some(words) = &fact.text { (text(words)) }
                        }
                    }
                }
            } }
        } }
    }
}
