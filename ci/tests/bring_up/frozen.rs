//! A processor that the host freezes before its first instruction, and thaws after the bring-up has timed out. INIT and SIPI
//! are pending by then, so it starts at once.

use std::time::Instant;

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

/// The registers of a CPU, for people.
fn registers(guest: &Guest, cpu: usize) -> String {
    let all = guest.monitor("info registers -a");
    let (_, own) = all.split_once(&format!("CPU#{cpu}")).expect("each CPU is listed");
    own.split("CPU#").next().unwrap_or_default().to_owned()
}

/// Whether a CPU has halted elsewhere than where INIT leaves it, which is the reset vector.
fn has_come_and_halted(registers: &str) -> bool {
    registers.contains("HLT=1") && !registers.contains("EIP=0000fff0")
}

#[test]
fn a_cpu_that_the_host_freezes_comes_online_late_and_is_parked() {
    // A firmware that calls no CPU but its own, so that one may be frozen from the start.
    let machine = ["--machine", "microvm", "--smp", "4", "--allow-missing-cpus"];
    let mut guest = Guest::boot_to_shell(&[&machine[..], &["--", "-S", "-bios", "qboot.rom"]].concat());
    let frozen = Frozen::new(threads(&guest)[LAST]);
    guest.monitor("cont");
    guest.hear_until("the shell", |guest| guest.count_lines("lists the commands") > 0);
    let missing = format!("cpu {LAST} (APIC ID {LAST}): timed out in stage sipi_sent");
    assert!(guest.count_lines(&missing) > 0, "{:#?}", guest.lines);
    drop(frozen);

    // The machine runs until the test ends it, so the CPU comes, whatever share of the host it gets.
    loop {
        let registers = registers(&guest, LAST);
        if has_come_and_halted(&registers) {
            break;
        }
        assert!(Instant::now() < guest.deadline(), "CPU {LAST} does not come: {registers}");
        std::thread::yield_now();
    }
    guest.type_line("stress pairs 200");
    guest.hear_until("the end of the work", |guest| !guest.seen.stress.is_empty());
    guest.type_line("poweroff");
    assert_eq!(guest.hear_out(), ExitCode::Pass, "{:#?}", guest.lines);
    assert_eq!(guest.seen.events.expect("events").late_cpus_parked, 1, "{:#?}", guest.lines);
    let stress = &guest.seen.stress[0];
    assert_eq!((stress.cpus, stress.lost, stress.double_allocated), (3, 0, 0));
}
