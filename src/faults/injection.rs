//! What a fault consists of: its point of the boot and its function; and the CPUs that it runs on.

use super::names::Fault;
use crate::smp;

/// The time-out of faults on all CPUs, in milliseconds.
pub(super) const FAULT_TIMEOUT_MS: u64 = 10_000;

/// A point of the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The command line was parsed. No function has been replaced yet.
    CommandLine,
    /// All CPUs are online. The TSC sync check follows.
    BeforeTscSync,
    /// The page-table audit follows.
    BeforeAudit,
    /// The work of the command line follows.
    BeforeWork,
    /// The self-test has passed.
    AfterSelfTest,
}

/// A fault, the point at which it is injected, and the function that injects it.
pub(super) struct Injection(pub(super) Point, pub(super) Fault, pub(super) fn());

/// Runs the fault on all CPUs.
pub(super) fn on_all(fault: &(dyn Fn(&'static smp::Cpu) + Sync)) {
    smp::on_each_cpu(FAULT_TIMEOUT_MS, fault).expect("all CPUs run the fault");
}

/// Runs the fault on the last CPU.
pub(super) fn on_last_cpu(fault: &(dyn Fn() + Sync)) {
    let last = smp::online().last().map(smp::Cpu::id);
    on_all(&|cpu| {
        if Some(cpu.id()) == last {
            fault();
        }
    });
}
