//! Snapshots of a heap before and after a workload. All objects must be free again, and all memory.

use crate::heap::source::{HeapSource, HeapStatistics};
use crate::stress::failure::FailureLog;
use crate::stress::snapshot::{Discrepancy, LostSearch};

/// The state of a heap while no workload runs and every CPU is drained.
#[derive(Clone, Copy, Debug)]
pub(in crate::stress) struct HeapSnapshot {
    statistics: HeapStatistics,
    /// The free frames of the kernel, from which octopod's heap takes its memory.
    free_frames: Option<u64>,
}

impl HeapSnapshot {
    /// A snapshot of this heap; `free_frames` are those of the kernel, if the heap takes its memory from there.
    pub(in crate::stress) fn of(source: &dyn HeapSource, free_frames: Option<u64>) -> HeapSnapshot {
        HeapSnapshot { statistics: source.statistics(), free_frames }
    }

    /// The bytes that the heap holds in `after` and not in `self`, and the reverse; one of the two is 0.
    pub(in crate::stress) fn lost_and_gained(&self, after: &HeapSnapshot) -> (u64, u64) {
        let held = |snapshot: &HeapSnapshot| snapshot.statistics.held_bytes.unwrap_or(0);
        (held(after).saturating_sub(held(self)), held(self).saturating_sub(held(after)))
    }

    /// Compares the state after a workload with `self`, the state before.
    ///
    /// # Errors
    /// The most specific discrepancy.
    pub(in crate::stress) fn compare(
        &self,
        after: &HeapSnapshot,
        failures: &FailureLog,
        source: &dyn HeapSource,
    ) -> Result<(), Discrepancy> {
        if let Some(failure) = failures.first() {
            return Err(Discrepancy::Failure(failure));
        }
        let differing = |of: fn(&HeapStatistics) -> Option<u64>| {
            of(&self.statistics).zip(of(&after.statistics)).filter(|(before, after)| before != after)
        };
        if let Some((before, after)) = differing(|statistics| statistics.live_objects) {
            return Err(Discrepancy::ObjectsLeft { before, after });
        }
        if let Some((before, after)) = differing(|statistics| statistics.held_bytes) {
            return Err(Discrepancy::BytesLeft { before, after });
        }
        match self.free_frames.zip(after.free_frames) {
            Some((before, after)) if after < before => {
                return Err(Discrepancy::Lost { frames: before - after, which: LostSearch::NotMade });
            }
            Some((before, after)) if after > before => {
                return Err(Discrepancy::Gained { frames: after - before });
            }
            _ => {}
        }
        source.validate().map_err(Discrepancy::InvalidHeap)
    }
}
