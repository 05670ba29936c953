//! A processor that the host does not let run: frozen before its first instruction, and thawed when it was given up. By then
//! INIT and SIPI wait for it, so it comes all at once.

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use octopod::wire::ExitCode;

use crate::guest::Guest;

/// The CPU that is frozen.
const LAST: usize = 3;

/// A thread that is not run until this is dropped.
struct Frozen(Pid);

impl Frozen {
    fn new(thread: Pid) -> Frozen {
        ptrace::seize(thread, ptrace::Options::empty()).expect("a thread of a child may be traced");
        ptrace::interrupt(thread).unwrap();
        let status = waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        assert!(matches!(status, WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)), "{status:?}");
        Frozen(thread)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may be that it has ended with the rest.
        let _ = ptrace::detach(self.0, None);
    }
}

/// The host's threads that run the guest's CPUs.
fn threads(guest: &Guest) -> Vec<Pid> {
    let listed = guest.monitor("info cpus");
    let ids = listed.split("thread_id=").skip(1).filter_map(|rest| rest.split_whitespace().next());
    ids.map(|id| Pid::from_raw(id.parse().unwrap())).collect()
}

#[test]
fn a_cpu_that_the_host_freezes_comes_late_and_is_sent_away() {
    // A firmware that calls no CPU but its own, so that one may be frozen from the start.
    let machine = ["--machine", "microvm", "--smp", "4", "--allow-missing-cpus"];
    let work = ["stress", "--seconds", "8", "--workloads", "pairs"];
    let mut guest = Guest::boot(&[&work[..], &machine, &["--", "-S", "-bios", "qboot.rom"]].concat());
    let frozen = Frozen::new(threads(&guest)[LAST]);
    guest.monitor("cont");
    let missing = format!("cpu {LAST} (APIC ID {LAST}): last seen in stage sipi_sent");
    guest.hear_until("the work", |guest| guest.seen.progress.is_some());
    assert!(guest.lines.iter().any(|line| line.contains(&missing)), "{:#?}", guest.lines);
    drop(frozen);

    assert_eq!(guest.hear_out(), ExitCode::Pass, "{:#?}", guest.lines);
    let sent_away = "1 CPU came after it had been given up, and was sent away";
    assert!(guest.lines.iter().any(|line| line.contains(sent_away)), "{:#?}", guest.lines);
    let stress = &guest.seen.stress[0];
    assert_eq!((stress.cpus, stress.lost, stress.doubled), (3, 0, 0));
}
