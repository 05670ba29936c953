//! What several faults use.

use crate::smp;

/// The time-out of faults on all CPUs, in milliseconds.
pub(super) const FAULT_TIMEOUT_MS: u64 = 10_000;

/// Runs `fault` on all CPUs.
pub(super) fn on_all(fault: &(dyn Fn(&'static smp::Cpu) + Sync)) {
    smp::on_each_cpu(FAULT_TIMEOUT_MS, fault).expect("all CPUs run the fault");
}

pub(super) fn on_last_cpu(fault: &(dyn Fn() + Sync)) {
    let last = smp::online().last().map(smp::Cpu::id);
    on_all(&|cpu| {
        if Some(cpu.id()) == last {
            fault();
        }
    });
}
