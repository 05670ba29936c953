//! An allocator's books before and after a workload: whatever was taken has come back, and memory is as whole as before.

use core::fmt;

use super::failure::{Failure, FailureLog};
use super::source::FrameSource;
use crate::memory::frames::{Invalid, ORDERS};

/// What an allocator says of itself while nobody is at work and every context has been drained.
#[derive(Clone, Copy, Debug)]
pub struct AllocatorSnapshot {
    free: u64,
    by_order: Option<[usize; ORDERS]>,
}

/// What is wrong after a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discrepancy {
    /// Something went wrong while it ran.
    Failure(Failure),
    /// Fewer frames are free.
    Lost {
        /// How many fewer.
        frames: u64,
    },
    /// More frames are free.
    Gained {
        /// How many more.
        frames: u64,
    },
    /// Everything has come back, but not in runs as large.
    Fragmented {
        /// The largest order of which there is another number.
        order: usize,
        /// Frames that could be had at that order before.
        before: usize,
        /// Frames that can be now.
        after: usize,
    },
    /// The allocator's own check fails.
    Invalid(Invalid),
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Discrepancy::Failure(failure) => failure.fmt(f),
            Discrepancy::Lost { frames } => {
                write!(f, "{frames} frames that were free before are not free after")
            }
            Discrepancy::Gained { frames } => write!(f, "{frames} more frames are free than were before"),
            Discrepancy::Fragmented { order, before, after } => {
                write!(f, "{before} frames were free in runs of order {order} before, {after} are after")
            }
            Discrepancy::Invalid(invalid) => write!(f, "the allocator's books are wrong: {invalid}"),
        }
    }
}

impl AllocatorSnapshot {
    /// What they say now.
    pub fn of(source: &dyn FrameSource) -> AllocatorSnapshot {
        AllocatorSnapshot { free: source.free_frames() as u64, by_order: source.free_by_order() }
    }

    /// How many frames are free.
    pub fn free(&self) -> u64 {
        self.free
    }

    /// Frames that were free in `self` and are not in `after`, and the other way round; one of them is 0.
    pub fn lost_and_gained(&self, after: &AllocatorSnapshot) -> (u64, u64) {
        (self.free.saturating_sub(after.free), after.free.saturating_sub(self.free))
    }

    /// Compares the books after a workload with those before.
    ///
    /// # Errors
    /// What is wrong, the most telling first.
    pub fn compare(
        &self,
        after: &AllocatorSnapshot,
        failures: &FailureLog,
        source: &dyn FrameSource,
    ) -> Result<(), Discrepancy> {
        if let Some(failure) = failures.first() {
            return Err(Discrepancy::Failure(failure));
        }
        match self.lost_and_gained(after) {
            (0, 0) => {}
            (0, frames) => return Err(Discrepancy::Gained { frames }),
            (frames, _) => return Err(Discrepancy::Lost { frames }),
        }
        source.validate().map_err(Discrepancy::Invalid)?;
        let (Some(before), Some(after)) = (self.by_order, after.by_order) else { return Ok(()) };
        match (0..ORDERS).rev().find(|order| before[*order] != after[*order]) {
            Some(order) => Err(Discrepancy::Fragmented { order, before: before[order], after: after[order] }),
            None => Ok(()),
        }
    }
}
