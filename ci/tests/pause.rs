//! The host's cores are elsewhere: for all of the guest at once, or for all of its CPUs but one.

#[path = "guest/mod.rs"]
mod guest;

use std::cell::RefCell;
use std::time::Duration;

use guest::Guest;
use octopod::config::PROGRESS_MS;
use octopod::wire::ExitCode;

const PAUSE: Duration = Duration::from_secs(2);

/// The host stops the whole machine for two seconds while eight CPUs work. For the guest the clock jumps: timers that came
/// due meanwhile must catch up without a storm, and nobody may take the silence for a fault.
#[test]
fn timers_catch_up_without_a_storm_and_without_a_false_alarm() {
    let mut guest = Guest::boot(&["stress", "--smp", "8", "--seconds", "5", "--workloads", "remote"]);
    // When each line of progress came, by the guest's clock; those that came in one millisecond count as one.
    let told = RefCell::new(Vec::new());
    let note = |guest: &Guest| {
        let now = guest.seen.progress.as_ref().map(|progress| progress.elapsed_ms);
        let mut told = told.borrow_mut();
        if now.is_some() && told.last() != now.as_ref() {
            told.extend(now);
        }
        told.len()
    };
    guest.hear_until("progress", |guest| note(guest) >= 3);
    guest.stop_for(PAUSE);
    guest.hear_until("its end", |guest| {
        note(guest);
        !guest.seen.stress.is_empty()
    });
    assert_eq!(guest.hear_out(), ExitCode::Pass, "{:#?}", guest.lines);

    let told = told.into_inner();
    let gaps = told.windows(2).map(|pair| (pair[1] - pair[0], pair[1]));
    let (gap, resumed) = gaps.max().unwrap();
    assert!(gap >= PAUSE.as_millis() as u64 * 3 / 4, "the guest did not see the pause: {told:?}");
    // One line for each period outside the pause, and one for all those within.
    let periods = (told[told.len() - 1] - gap) / PROGRESS_MS;
    assert!(told.len() as u64 <= periods + 2, "{} lines in {periods} periods: {told:?}", told.len());
    // At once the one that is due, and perhaps the next.
    let at_once = told.iter().filter(|at| (resumed..resumed + PROGRESS_MS / 2).contains(*at)).count();
    assert!(at_once <= 2, "{at_once} lines at once after {gap} ms: {told:?}");
    // Barriers and the like wait by alarms, few of which expire; in a storm it would be thousands.
    let events = guest.seen.events.unwrap();
    assert!(events.timer_interrupts <= periods + 200, "{events:?}");
    assert_eq!(events.unanswered_requests, 0);
    let alarms: Vec<_> = guest.lines.iter().filter(|line| line.contains("error:")).collect();
    assert!(alarms.is_empty(), "{alarms:?}");
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
    // What a thread starts may run where the thread may.
    sched_setaffinity(this_thread, &one).unwrap();
    let mut guest = Guest::boot(&["boot", "--smp", "8"]);
    assert_eq!(guest.hear_out(), ExitCode::Pass, "{:#?}", guest.lines);
    assert_eq!(guest.seen.clock.as_ref().unwrap().cpus_met, 7, "{:#?}", guest.lines);
}
