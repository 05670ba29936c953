//! Fault injection: bugs that the tests arm, to show that the checks find them.
//!
//! One fault can be armed at a time, for all allocators: see [`arm`]. Each breaks one thing and leaves the tables consistent, as a real bug
//! would, which is what makes such bugs hard to find.

use super::number::FrameNumber;
use crate::boot::command_line::Armed;
use crate::memory::frames::fault_names::frame_faults;

/// A fault happens once in so many refills or flushes: several times in each round of a stress run, so that one round on a slow host is
/// enough.
pub(crate) const EVERY: usize = 100;

frame_faults! {
    /// A fault of the frame allocator.
    pub(crate) enum FrameFault {}
}

static ARMED: Armed<FrameFault> = Armed::new();

/// Arms a fault, or none.
pub(crate) fn arm(fault: Option<FrameFault>) {
    ARMED.arm(fault);
}

/// Whether this fault is armed.
pub(crate) fn is_armed(fault: FrameFault) -> bool {
    ARMED.is(fault)
}

/// Whether this fault happens now.
fn strikes(fault: FrameFault) -> bool {
    ARMED.strikes(fault, EVERY)
}

/// [`strikes`] for events of whole blocks, which are rare: every second time.
pub(in crate::memory) fn strikes_block(fault: FrameFault) -> bool {
    ARMED.strikes(fault, 2)
}

/// How many of these freed frames are counted.
pub(in crate::memory) fn counted(frames: usize) -> usize {
    if strikes(FrameFault::Miscount) { frames - 1 } else { frames }
}

/// The run that is returned instead of this one.
pub(in crate::memory) fn returned_run(run: FrameNumber) -> FrameNumber {
    if strikes(FrameFault::Misalign) { run + 1 } else { run }
}

/// After a refill whose first frame is this one: the frame that is freed although the magazine has it.
pub(in crate::memory) fn after_refill(first: Option<FrameNumber>) -> Option<FrameNumber> {
    // The frame that is popped last: until then it can be allocated on another CPU.
    first.filter(|_| strikes(FrameFault::DoubleAllocate))
}

/// Before a flush of these frames: the ones that are flushed.
pub(in crate::memory) fn before_flush(batch: &[FrameNumber]) -> &[FrameNumber] {
    match batch {
        [_, rest @ ..] if strikes(FrameFault::LeakFrame) => rest,
        _ => batch,
    }
}
