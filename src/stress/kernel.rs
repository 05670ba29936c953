//! What the workloads need of the kernel.

use super::barrier::Barrier;
use super::faults::Fault;
use super::progress::OPERATIONS;
use super::workloads::Platform;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::read_tsc;
use crate::sync::Deadline;

/// The kernel, for one workload.
pub struct Kernel {
    /// When to end.
    pub end: Deadline,
    /// Where all CPUs at work meet.
    pub barrier: Barrier,
}

impl Platform for Kernel {
    #[inline(always)]
    fn cycles(&self) -> u64 {
        read_tsc()
    }

    fn has_ended(&self) -> bool {
        self.end.has_passed()
    }

    fn meet(&self) {
        self.barrier.wait();
    }

    fn count(&self, _: usize, operations: u64) {
        OPERATIONS.add(operations);
    }

    fn tell(&self, fault: &Fault) {
        log::error!("{fault}");
    }
}
