//! A host that stops the machine for a time, and a host that gives all CPUs of the machine one core.

use std::cell::RefCell;

use crate::guest::Guest;
use octopod::config::{IPI_CALL_TIMEOUT_MS, PROGRESS_MS, WATCHDOG_MS};
use octopod::wire::ExitCode;

/// The clock jumps ahead by more than the watchdog and a call wait, while eight CPUs work, as after the host has stopped the
/// machine for so long. Timers catch up without a storm, and no CPU is reported as stuck.
#[test]
fn timers_catch_up_without_a_storm_and_without_a_false_alarm() {
    let mut guest = Guest::boot(&[
        "stress",
        "--smp",
        "8",
        "--seconds",
        "18",
        "--workloads",
        "remote,storm",
        "--inject",
        "clock_jump",
    ]);
    // The guest's time of each record of progress. Records of one millisecond count as one.
    let told = RefCell::new(Vec::new());
    let note = |guest: &Guest| {
        let now = guest.seen.progress.as_ref().map(|progress| progress.elapsed_ms);
        let mut told = told.borrow_mut();
        if now.is_some() && told.last() != now.as_ref() {
            told.extend(now);
        }
    };
    guest.hear_until("the end of the first workload", |guest| {
        note(guest);
        !guest.seen.stress.is_empty()
    });
    assert_eq!(guest.hear_out(), ExitCode::Pass, "{:#?}", guest.lines);

    let told = told.into_inner();
    let gaps = told.windows(2).map(|pair| (pair[1] - pair[0], pair[1]));
    let (gap, resumed) = gaps.max().unwrap();
    assert!(gap > WATCHDOG_MS.max(IPI_CALL_TIMEOUT_MS), "the clock did not jump: {told:?}");
    // A record for each period before the gap, with the one at the beginning; one for all those within; and one for each period
    // that ends behind it.
    let (before, after) = (resumed - gap, told[told.len() - 1] - resumed);
    let most = (before / PROGRESS_MS + 1) + 1 + (after / PROGRESS_MS + 1);
    assert!(told.len() as u64 <= most, "{} records, and at most {most} are due: {told:?}", told.len());
    // At once the one that is due, and perhaps the next.
    let at_once = told.iter().filter(|at| (resumed..resumed + PROGRESS_MS / 2).contains(*at)).count();
    assert!(at_once <= 2, "{at_once} records at once after {gap} ms: {told:?}");
    let events = guest.seen.events.unwrap();
    assert_eq!((events.watchdog_alarms, events.ipi_call_timeouts), (0, 0), "{:#?}", guest.lines);
    assert_eq!(guest.seen.warnings, []);
    assert!(guest.seen.stress.iter().all(|stress| stress.lost == 0 && stress.double_allocated == 0));
}

/// Where no two CPUs ever run at once, their TSCs are compared all the same, each with those of others.
#[test]
#[cfg(target_os = "linux")]
fn cpus_that_share_one_core_compare_their_clocks() {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    let (this_thread, mut one) = (Pid::from_raw(0), CpuSet::new());
    let cores = sched_getaffinity(this_thread).unwrap();
    let core = (0..CpuSet::count()).find(|core| cores.is_set(*core).unwrap_or(false)).unwrap();
    one.set(core).unwrap();
    // A child of a thread inherits its CPU affinity.
    sched_setaffinity(this_thread, &one).unwrap();
    let mut guest = Guest::boot(&["boot", "--smp", "8"]);
    assert_eq!(guest.hear_out(), ExitCode::Pass, "{:#?}", guest.lines);
    assert_eq!(guest.seen.clock.as_ref().unwrap().skew_cpus, 7, "{:#?}", guest.lines);
}
