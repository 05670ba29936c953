//! The figures of a run of a workload, as they are reported.

use core::sync::atomic::Ordering;

use super::histogram::summarise;
use super::subject::Subject;
use super::workloads::{Shared, Workload};
use crate::wire::{Cycles, Stress};

/// The result of a run: its time, and the change of what is free.
pub(super) struct Measured {
    /// The operations of all CPUs.
    pub operations: u64,
    /// The time of the run, in microseconds.
    pub elapsed_us: u64,
    /// The free frames that are missing after the run, and those that are new; of a heap, bytes.
    pub lost_and_gained: (u64, u64),
}

/// Returns the figures of a run on `subject`. All CPUs have left the workload.
pub(super) fn figures(shared: &Shared<'_>, subject: Subject, measured: Measured) -> Stress<&'static str> {
    let (lost, gained) = measured.lost_and_gained;
    let freed_twice = match subject {
        // If more frames are free than before, some were freed by a CPU that did not own them.
        Subject::Allocator(_) => gained,
        Subject::Heap(_) | Subject::Scheduler(_) => 0,
    };
    Stress {
        operations: measured.operations,
        allocations: shared.allocations.load(Ordering::Relaxed),
        refused: shared.refused.load(Ordering::Relaxed),
        unsupported: shared.unsupported.load(Ordering::Relaxed),
        elapsed_us: measured.elapsed_us,
        lost,
        double_allocated: shared.failures.ownership_violations().max(freed_twice),
        rounds: shared.rounds.load(Ordering::Relaxed),
        failed_allocations: shared.failed.load(Ordering::Relaxed),
        offline_cycles: shared.offline_cycles.load(Ordering::Relaxed),
        scheduling: shared.scheduling.get().copied(),
        cycles: summarise(shared.histograms),
        ..no_figures(shared.workload, subject, shared.ids.len() as u32)
    }
}

/// The figures of a run that was not made.
pub(super) fn no_figures(workload: &Workload, subject: Subject, cpus: u32) -> Stress<&'static str> {
    Stress {
        workload: workload.name,
        allocator: subject.name(),
        cpus,
        operations: 0,
        allocations: 0,
        refused: 0,
        unsupported: 0,
        elapsed_us: 0,
        lost: 0,
        double_allocated: 0,
        rounds: 0,
        failed_allocations: 0,
        offline_cycles: 0,
        scheduling: None,
        kind: Some(subject.kind().name()),
        timed: Some(workload.timed.name()),
        cycles: Cycles::default(),
    }
}
