//! Snapshots of an allocator before and after a workload. All frames must be free again, in runs as large as before.

use core::fmt;

use super::failure::{Failure, FailureLog};
use super::lost::{LostFrames, Search};
use super::source::FrameSource;
use super::workloads::EXHAUST_LIMIT;
use crate::memory::frames::{Invalid, ORDERS};

/// The state of an allocator while no workload runs and every context is drained.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AllocatorSnapshot {
    free: u64,
    by_order: Option<[usize; ORDERS]>,
}

/// The result of the search for lost frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostSearch {
    /// A heap's frames are not searched for.
    NotMade,
    /// The allocator was too slow: the search was ended.
    Ended,
    /// The search was completed.
    Found(LostFrames),
}

/// The finding of a check after a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discrepancy {
    /// A check failed while it ran.
    Failure(Failure),
    /// The function that makes the allocator or heap has returned without passing it on.
    DidNotRun {
        /// Why the heap cannot run on this machine, if it has noted that.
        reason: Option<&'static str>,
    },
    /// Fewer frames are free.
    Lost {
        /// How many fewer.
        frames: u64,
        /// Which.
        which: LostSearch,
    },
    /// More frames are free.
    Gained {
        /// How many more.
        frames: u64,
    },
    /// All frames are free, but in smaller runs.
    Fragmented {
        /// The largest order with another number of free frames.
        order: usize,
        /// Frames in free runs of that order before.
        before: usize,
        /// Frames in free runs of that order after.
        after: usize,
    },
    /// The allocator's own validation failed.
    Invalid(Invalid),
    /// A heap counts other objects as allocated than before.
    ObjectsLeft {
        /// The objects before.
        before: u64,
        /// The objects after.
        after: u64,
    },
    /// A heap holds other memory than before, although all objects are free and all CPUs drained.
    BytesLeft {
        /// The bytes before.
        before: u64,
        /// The bytes after.
        after: u64,
    },
    /// A heap's own validation failed.
    InvalidHeap(&'static str),
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Discrepancy::Failure(failure) => failure.fmt(f),
            Discrepancy::DidNotRun { reason: Some(reason) } => write!(f, "did not run: {reason}"),
            Discrepancy::DidNotRun { reason: None } => {
                f.write_str("did not run: the function that makes it returned without passing it on")
            }
            Discrepancy::Lost { frames, which } => {
                write!(f, "{frames} frames that were free before are not free after")?;
                match which {
                    LostSearch::NotMade => Ok(()),
                    LostSearch::Ended => {
                        write!(f, ": the search for them was ended after {} s", EXHAUST_LIMIT.as_secs())
                    }
                    LostSearch::Found(which) => write!(f, ": {which}"),
                }
            }
            Discrepancy::Gained { frames } => write!(f, "{frames} more frames are free than were before"),
            Discrepancy::Fragmented { order, before, after } => {
                write!(f, "{before} frames were free in runs of order {order} before, {after} after")
            }
            Discrepancy::Invalid(invalid) => write!(f, "the allocator's state is invalid: {invalid}"),
            Discrepancy::ObjectsLeft { before, after } => {
                write!(f, "the heap counted {before} objects before and {after} after, when all were free")
            }
            Discrepancy::BytesLeft { before, after } => {
                write!(f, "the heap held {before} bytes before and {after} after, when all objects were free")
            }
            Discrepancy::InvalidHeap(invalid) => write!(f, "the heap's state is invalid: {invalid}"),
        }
    }
}

impl AllocatorSnapshot {
    /// A snapshot of this allocator.
    pub(crate) fn of(source: &dyn FrameSource) -> AllocatorSnapshot {
        AllocatorSnapshot { free: source.free_frames() as u64, by_order: source.free_by_order() }
    }

    /// The number of free frames.
    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    /// The frames that are free in `self` and not in `after`, and the reverse; one of the two is 0.
    pub(crate) fn lost_and_gained(&self, after: &AllocatorSnapshot) -> (u64, u64) {
        (self.free.saturating_sub(after.free), after.free.saturating_sub(self.free))
    }

    /// Compares the state after a workload with `self`, the state before. If frames are lost, it allocates and frees all that are
    /// free, to find which.
    ///
    /// # Errors
    /// The most specific discrepancy.
    #[inline(never)]
    pub(crate) fn compare(
        &self,
        after: &AllocatorSnapshot,
        failures: &FailureLog,
        source: &dyn FrameSource,
        search: Search<'_>,
    ) -> Result<(), Discrepancy> {
        let (lost, gained) = self.lost_and_gained(after);
        match failures.first() {
            // Frames that could not be allocated may be lost: then it is known which.
            Some(Failure::Stranded { .. }) if lost > 0 => {}
            Some(failure) => return Err(Discrepancy::Failure(failure)),
            None if gained > 0 => return Err(Discrepancy::Gained { frames: gained }),
            None => {}
        }
        if lost > 0 {
            let which = search.run(source).map_or(LostSearch::Ended, LostSearch::Found);
            return Err(Discrepancy::Lost { frames: lost, which });
        }
        source.validate().map_err(Discrepancy::Invalid)?;
        let (Some(before), Some(after)) = (self.by_order, after.by_order) else { return Ok(()) };
        match (0..ORDERS).rev().find(|order| before[*order] != after[*order]) {
            Some(order) => Err(Discrepancy::Fragmented { order, before: before[order], after: after[order] }),
            None => Ok(()),
        }
    }
}
