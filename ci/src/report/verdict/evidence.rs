//! The evidence for a pass: no record contradicts it, and the records contain everything that was requested.

use std::collections::BTreeSet;

use octopod::wire::{MAX_ABSENT_CPUS, Stress};

use crate::report::{Requested, RequestedWork};
use crate::run::Seen;

/// Without x2APIC mode no interrupt reaches an APIC ID above 254.
const MAX_XAPIC_CPUS: u32 = 255;

/// The contradiction between the records and the pass of the exit code.
pub(crate) fn contradiction(seen: &Seen) -> Option<String> {
    let against = |what: String| Some(format!("the exit code says pass, but {what}"));
    if let Some(panic) = &seen.panic {
        return against(format!("CPU {} panicked: {}", panic.cpu, panic.message));
    }
    if let Some(reason) = seen.refused.as_ref().or(seen.usage.as_ref()) {
        return against(format!("the kernel refused to run: {reason}"));
    }
    match &seen.verdict {
        None => return against("there was no verdict on the serial port".to_owned()),
        Some(verdict) if !verdict.pass => {
            let reason = verdict.reason.as_deref().unwrap_or("no reason given");
            return against(format!("the verdict says fail: {reason}"));
        }
        Some(_) => {}
    }
    if let Some(stress) = seen.stress.iter().find(|stress| stress.lost > 0 || stress.double_allocated > 0) {
        let octopod::wire::Stress { workload, lost, double_allocated, kind, .. } = stress;
        let what = if kind.as_deref() == Some("heap") { "bytes" } else { "frames" };
        return against(format!(
            "workload {workload} lost {lost} {what} and allocated {double_allocated} twice"
        ));
    }
    incomplete(seen)
}

/// Returns the reason if not all records have come, whole and once.
fn incomplete(seen: &Seen) -> Option<String> {
    if seen.unreadable > 0 {
        let first = seen.unreadable_lines.first();
        let first =
            first.map(|one| format!(", the first: {} ({})", one.line, one.problem)).unwrap_or_default();
        return Some(format!("{} record lines could not be read{first}", seen.unreadable));
    }
    if !seen.not_once.is_empty() {
        return Some(format!(
            "records that a run has once came more than once: {}",
            seen.not_once.join(", ")
        ));
    }
    if seen.lost > 0 || seen.repeated > 0 {
        let Seen { lost, repeated, .. } = seen;
        return Some(format!("of the records {lost} were lost on the way, and {repeated} came twice"));
    }
    None
}

/// Returns the reason if a kernel whose file the user names lacks the work that it was asked for: it has passed without the
/// record that begins each work of octopod's own kernel.
pub(crate) fn without_work(seen: &Seen, asked: &Requested) -> Option<String> {
    let work = match asked.work {
        _ if seen.memory.is_some() => return None,
        RequestedWork::Stress { .. } if seen.stress.is_empty() => "stress",
        RequestedWork::Bench if seen.bench.is_empty() => "bench",
        _ => return None,
    };
    let reason =
        format!("this kernel has no {work}: it passed without it; `run --kernel ELF` boots it as it is");
    asked.is_named_kernel.then_some(reason)
}

/// A request that is not in the records.
pub(crate) fn missing(seen: &Seen, asked: &Requested) -> Option<String> {
    cpus(seen, asked).or_else(|| frames(seen, asked)).or_else(|| work(seen, &asked.work))
}

fn cpus(seen: &Seen, asked: &Requested) -> Option<String> {
    let Some(boot) = &seen.boot else {
        return Some("no record says how the kernel came up".to_owned());
    };
    let (online, listed) = (boot.cpus_online, boot.cpus_listed);
    let reported = seen.cpus.len() as u64;
    // Of very many that are absent the kernel names the first few.
    let are_all_named = (listed - online) as usize <= MAX_ABSENT_CPUS;
    if reported > u64::from(listed) || are_all_named && reported != u64::from(listed) {
        return Some(format!("firmware lists {listed} CPUs, and there are records of {reported}"));
    }
    let reported_online = seen.cpus.iter().filter(|cpu| cpu.state == "online").count() as u64;
    if reported_online != u64::from(online) {
        return Some(format!("{online} CPUs are online, but by their own records {reported_online}"));
    }
    let expected = boot.cpus_expected.as_ref();
    let reachable = listed.saturating_sub(expected.map_or(0, |expected| expected.unreachable));
    if online < reachable && !asked.may_miss_cpus {
        return Some(format!("{online} of the {listed} CPUs that firmware lists are online"));
    }
    if expected.is_some_and(|expected| expected.limit.as_deref() == Some("no_acpi")) {
        return None;
    }
    let limit = if boot.apic_mode == "xapic" { MAX_XAPIC_CPUS } else { u32::MAX };
    let wanted = asked.cpus?.min(limit);
    // Firmware may have disabled some, and lists them as such.
    let disabled = expected.map_or(0, |expected| expected.disabled);
    (online.saturating_add(disabled) < wanted)
        .then(|| format!("{online} of the machine's {wanted} CPUs are online"))
}

/// Returns the reason if not as many frames are free after the work as before it. A program of the user's own, and the
/// console, may keep some.
fn frames(seen: &Seen, asked: &Requested) -> Option<String> {
    let after = seen.verdict.as_ref()?.free_frames_after;
    let Some(memory) = &seen.memory else {
        let is_own = asked.work == RequestedWork::Program;
        return (!is_own).then(|| "no record says how many frames were free before the work".to_owned());
    };
    let before = memory.free_frames_before;
    let may_keep = matches!(asked.work, RequestedWork::Program | RequestedWork::Shell);
    if after == before || after < before && may_keep {
        return None;
    }
    Some(format!("{before} frames were free before the work, and {after} are after it"))
}

fn work(seen: &Seen, work: &RequestedWork) -> Option<String> {
    // A measurement counts, whatever asked for it.
    let is_idle = |stress: &&Stress<String>| stress.operations == 0 && stress.unsupported == 0;
    if let Some(idle) = seen.stress.iter().find(is_idle) {
        return Some(format!("workload {} on {} has done no operation", idle.workload, idle.allocator));
    }
    match work {
        RequestedWork::Program | RequestedWork::Shell | RequestedWork::Boot => None,
        RequestedWork::Bench => seen.bench.is_empty().then(|| "the bench has measured nothing".to_owned()),
        RequestedWork::Stress { parts, cpus } => {
            let done: BTreeSet<_> = seen
                .stress
                .iter()
                .flat_map(|stress| {
                    let name = (stress.workload.as_str(), stress.allocator.as_str());
                    [(name, Some(stress.cpus)), (name, None)]
                })
                .collect();
            let counts = || {
                let some = cpus.iter().copied().map(Some);
                some.chain(cpus.is_empty().then_some(None))
            };
            let mut all = counts().flat_map(|count| parts.iter().map(move |part| (*part, count)));
            let ((workload, allocator), count) = all.find(|one| !done.contains(one))?;
            let on = count.map(|count| format!(" with {count} CPUs")).unwrap_or_default();
            Some(format!("workload {workload} on {allocator}{on} was asked for, and has no result"))
        }
    }
}

#[cfg(test)]
mod tests {
    use octopod::wire::{Cpu, ExpectedCpus, Stress};

    use super::*;
    use crate::report::sample;

    fn asked() -> Requested {
        let parts = vec![("pairs", "octopod"), ("bulk", "octopod"), ("pairs", "locked"), ("bulk", "locked")];
        Requested {
            cpus: Some(4),
            may_miss_cpus: false,
            is_named_kernel: false,
            work: RequestedWork::Stress { parts, cpus: vec![1, 4] },
        }
    }

    fn seen() -> Seen {
        sample::seen(4, &["pairs", "bulk"], &["octopod", "locked"])
    }

    /// The verdict of a valid run after a change.
    fn wrong(change: impl FnOnce(&mut Seen, &mut Requested)) -> String {
        let (mut seen, mut asked) = (seen(), asked());
        change(&mut seen, &mut asked);
        contradiction(&seen).or_else(|| missing(&seen, &asked)).unwrap_or_default()
    }

    #[test]
    fn a_sound_run_lacks_nothing() {
        assert_eq!(wrong(|_, _| {}), "");
        assert_eq!(wrong(|_, asked| asked.work = RequestedWork::Boot), "");
        assert_eq!(wrong(|seen, asked| (seen.memory, asked.work) = (None, RequestedWork::Program)), "");
    }

    #[test]
    fn what_a_pass_lacks_is_named() {
        let offline = |seen: &mut Seen, count: usize| {
            seen.cpus
                .iter_mut()
                .take(count)
                .for_each(|cpu: &mut Cpu<String>| cpu.state = "failed".to_owned());
            seen.boot.as_mut().unwrap().cpus_online -= count as u32;
        };
        type Change = fn(&mut Seen, &mut Requested);
        let rows: [(Change, &str); 14] = [
            (|seen, _| seen.boot = None, "no record says how the kernel came up"),
            (|seen, _| drop(seen.cpus.pop()), "firmware lists 4 CPUs, and there are records of 3"),
            (|seen, _| seen.boot.as_mut().unwrap().cpus_online = 3, "by their own records 4"),
            (|_, asked| asked.cpus = Some(8), "4 of the machine's 8 CPUs are online"),
            (|seen, _| seen.memory = None, "no record says how many frames"),
            (|seen, _| seen.verdict.as_mut().unwrap().free_frames_after = 1, "32000 frames were free before"),
            (|seen, _| seen.verdict = None, "there was no verdict"),
            (|seen, _| drop(seen.stress.pop()), "workload bulk on locked with 4 CPUs was asked for"),
            (
                |seen, _| (seen.stress[1].operations, seen.stress[1].unsupported) = (0, 0),
                "workload bulk on octopod has done no operation",
            ),
            (|seen, _| seen.stress[0].lost = 2, "workload pairs lost 2 frames"),
            (|seen, _| seen.unreadable = 1, "1 record lines could not be read"),
            (|seen, _| seen.not_once.push("verdict"), "came more than once: verdict"),
            (|seen, _| seen.lost = 3, "3 were lost on the way"),
            (
                |seen, asked| (seen.bench, asked.work) = (vec![], RequestedWork::Bench),
                "the bench has measured nothing",
            ),
        ];
        for (change, reason) in rows {
            let found = wrong(change);
            assert!(found.contains(reason), "{reason}: {found}");
        }
        assert_eq!(wrong(|seen, _| offline(seen, 2)), "2 of the 4 CPUs that firmware lists are online");
        let allowed = wrong(|seen, asked| {
            offline(seen, 2);
            (asked.cpus, asked.may_miss_cpus) = (None, true);
        });
        assert_eq!(allowed, "");
    }

    #[test]
    fn an_xapic_reaches_255_cpus() {
        let mut seen = sample::seen(255, &[], &[]);
        seen.boot.as_mut().unwrap().apic_mode = "xapic".to_owned();
        let asked = Requested {
            cpus: Some(300),
            may_miss_cpus: false,
            is_named_kernel: false,
            work: RequestedWork::Boot,
        };
        assert_eq!(missing(&seen, &asked), None);
        seen.boot.as_mut().unwrap().apic_mode = "x2apic".to_owned();
        assert!(missing(&seen, &asked).is_some());
        // Without ACPI nothing lists the others.
        let by_cpuid = 300;
        let (by_tables, disabled, unreachable, limit) = (0, 0, 0, Some("no_acpi".to_owned()));
        let expected = ExpectedCpus { by_tables, disabled, by_cpuid, unreachable, limit };
        seen.boot.as_mut().unwrap().cpus_expected = Some(expected);
        assert_eq!(missing(&seen, &asked), None);
    }

    #[test]
    fn cpus_that_firmware_has_disabled_are_not_missing() {
        let mut seen = sample::seen(1, &[], &[]);
        let asked = Requested {
            cpus: Some(4),
            may_miss_cpus: false,
            is_named_kernel: false,
            work: RequestedWork::Boot,
        };
        let expected =
            |disabled| ExpectedCpus { by_tables: 1, disabled, by_cpuid: 4, unreachable: 0, limit: None };
        for (disabled, is_missing) in [(3, false), (2, true), (0, true), (u32::MAX, false)] {
            seen.boot.as_mut().unwrap().cpus_expected = Some(expected(disabled));
            assert_eq!(missing(&seen, &asked).is_some(), is_missing, "{disabled} disabled");
        }
    }

    #[test]
    fn the_console_may_keep_frames_and_not_gain_any() {
        let after = |frames| {
            wrong(|seen, asked| {
                seen.verdict.as_mut().unwrap().free_frames_after = frames;
                asked.work = RequestedWork::Shell;
            })
        };
        assert_eq!(after(31_000), "");
        assert!(after(32_001).contains("32001 are after it"));
        let idle = |unsupported| {
            wrong(|seen, asked| {
                asked.work = RequestedWork::Shell;
                seen.stress.push(Stress { operations: 0, unsupported, ..seen.stress[0].clone() });
            })
        };
        assert!(idle(0).contains("no operation"), "{}", idle(0));
        // A heap of small objects supports nothing of some workloads.
        assert_eq!(idle(5), "");
    }
}
