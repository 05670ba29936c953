//! The figures of a run of a workload, as they are reported.

use core::sync::atomic::Ordering;

use super::allocators::Allocator;
use super::histogram::summarise;
use super::workloads::Shared;
use crate::wire::Stress;

/// The result of a run: its time, and the change of the number of free frames.
pub(super) struct Measured {
    /// The operations of all CPUs.
    pub operations: u64,
    /// The time of the run, in microseconds.
    pub elapsed_us: u64,
    /// The free frames that are missing after the run, and those that are new.
    pub lost_and_gained: (u64, u64),
}

/// Returns the figures of a run on `allocator`. All CPUs have left the workload.
pub(super) fn figures(
    shared: &Shared<'_>,
    allocator: &'static Allocator,
    measured: Measured,
) -> Stress<&'static str> {
    let (lost, gained) = measured.lost_and_gained;
    Stress {
        workload: shared.workload.name,
        allocator: allocator.name,
        cpus: shared.ids.len() as u32,
        operations: measured.operations,
        allocations: shared.allocations.load(Ordering::Relaxed),
        refused: shared.refused.load(Ordering::Relaxed),
        unsupported: shared.unsupported.load(Ordering::Relaxed),
        elapsed_us: measured.elapsed_us,
        lost,
        // If more frames are free than before, some were freed by a CPU that did not own them.
        double_allocated: shared.failures.ownership_violations().max(gained),
        rounds: shared.rounds.load(Ordering::Relaxed),
        failed_allocations: shared.failed.load(Ordering::Relaxed),
        offline_cycles: shared.offline_cycles.load(Ordering::Relaxed),
        timed: Some(shared.workload.timed.name()),
        cycles: summarise(shared.histograms),
    }
}
