//! Frees that an allocator must reject, for one that promises that it does.

use super::failure::{Failure, InvalidFree};
use super::snapshot::{Discrepancy, LostSearch};
use super::source::{AllocContext, uninterrupted};
use super::tested::{Tested, TestedFrames};
use crate::memory::frames::{FrameNumber, FreeError, Order};

/// Frees a run twice, and a run that the allocator was not lent. An allocator that does not promise to reject such frees, or has no
/// run of its order free, is not judged. On return the context is drained.
///
/// **Context:** thread. No workload runs, and every context is drained.
///
/// # Errors
/// It accepted a free, which may have damaged it, or it rejected the first free of the run, or other frames are free than before.
pub(super) fn check(tested: &Tested<'_>, context: &mut AllocContext) -> Result<(), Discrepancy> {
    let Tested::Frames(TestedFrames { source, foreign, .. }) = *tested else { return Ok(()) };
    let Some(order) = source.rejects_invalid_frees() else { return Ok(()) };
    let before = source.free_frames() as u64;
    // SAFETY: the frames must be allocated from this source, and their memory unused. That holds for the first free of a run that was
    // just allocated. The allocator has promised to reject the others (`rejects_invalid_frees`).
    let free = |context: &mut AllocContext, frame: FrameNumber| unsafe { source.free(context, frame, order) };
    let accepted = |frame, free| Failure::InvalidFreeAccepted { frame, order, free };
    if let Some(frame) = source.alloc(context, order) {
        // No handler of this CPU allocates the run before it is freed again.
        let (first, second) = uninterrupted(|| (free(context, frame), free(context, frame)));
        first.map_err(|error: FreeError| Discrepancy::Failure(Failure::Rejected(error)))?;
        if second.is_ok() {
            return Err(Discrepancy::Failure(accepted(frame, InvalidFree::Twice)));
        }
    }
    if let Some(frame) = foreign
        && free(context, frame).is_ok()
    {
        return Err(Discrepancy::Failure(accepted(frame, InvalidFree::NotLent)));
    }
    source.drain(context);
    let after = source.free_frames() as u64;
    match (after.checked_sub(before), before.checked_sub(after)) {
        (Some(0), _) => Ok(()),
        (Some(frames), _) => Err(Discrepancy::Gained { frames }),
        (None, frames) => Err(Discrepancy::Lost { frames: frames.unwrap_or(0), which: LostSearch::NotMade }),
    }
}

/// The first run of this order from a frame on.
pub(super) fn first_run_from(frame: FrameNumber, order: Order) -> FrameNumber {
    FrameNumber::new(frame.get().next_multiple_of(order.frames()))
}
