//! The expected result of a run, as a row of the matrix states it.

use octopod::wire::LockWait;
use serde::Deserialize;

use crate::report::Outcome;
use crate::report::expect::condition::Condition;
use crate::report::panic::PanicCpuReport;

pub mod condition;

/// The expected result of a run. A part that is absent may be anything, but for the rules that hold for every run: see
/// [`Expect::check`].
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
    /// The source of the TSC's frequency.
    pub clock: Option<String>,
    /// A part of the report's reason.
    pub reason: Option<String>,
    /// A part of the place that the reason of a panic names.
    pub at: Option<String>,
    /// Conditions on `report.json`: see [`condition`].
    #[serde(default)]
    pub report: Vec<Condition>,
    /// Parts of the kernel's lines, for the few rows whose subject is the message.
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
    /// The number of other CPUs that the panic record shows at a place of theirs, with calls that have names.
    pub others: Option<usize>,
    /// The number of them that panicked as well.
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

impl Expect {
    /// The differences of an outcome from the expectation, line by line; none if it is met.
    ///
    /// Whatever is expected: the records can be read, and a pass has lost nothing and allocated nothing twice.
    pub fn check(&self, outcome: &Outcome) -> Vec<String> {
        let expect = self;
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
        if let Some(part) = &expect.at {
            let place = reason.lines().next().and_then(|line| line.rsplit_once(", at "));
            must(place.is_some_and(|(_, place)| place.contains(part)), format!("the place is not `{part}`"));
        }
        if !expect.report.is_empty() {
            match serde_json::to_value(report) {
                Ok(report) => {
                    let failures = expect.report.iter().filter_map(|condition| condition.check(&report));
                    failures.for_each(|failure| must(false, failure));
                }
                Err(error) => must(false, format!("report.json: {error}")),
            }
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
            must(false, "no panic record".to_owned());
        }
        if outcome.status == 0 {
            for stress in &report.stress {
                must(
                    stress.lost == 0
                        && stress.double_allocated == 0
                        && stress.operations + stress.unsupported > 0,
                    format!(
                        "{}: {} lost, {} double-allocated",
                        stress.workload, stress.lost, stress.double_allocated
                    ),
                );
            }
            if let Some(memory) = &report.memory {
                let (before, after) = (memory.kernel.free_frames_before, memory.free_frames_after);
                must(after == Some(before), format!("{before} frames free before, {after:?} after"));
            }
        }
        wrong
    }
}
