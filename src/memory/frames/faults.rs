//! Fault injection: bugs that the tests arm, to show that the checks find them.
//!
//! One fault can be armed at a time, for all allocators: see [`arm`]. Each breaks one thing and leaves the tables consistent, as a real bug
//! would, which is what makes such bugs hard to find.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::number::FrameNumber;
use crate::named;

/// A fault happens once in so many refills or flushes: several times in each round of a stress run, so that one round on a slow host is
/// enough.
pub(crate) const EVERY: usize = 100;

named! {
    /// What goes wrong, by the fault's name on the command line.
    pub(crate) enum FrameFault {
        /// A frame that a refill has moved to a magazine is free in the table as well, and will be allocated again.
        DoubleAllocate = "double_allocate",
        /// A flush loses a frame.
        LeakFrame = "leak_frame",
        /// A flush counts one frame too few.
        Miscount = "miscount",
        /// An allocation returns a run that begins one frame too high.
        Misalign = "misalign",
        /// A block stays in the table when its last frame is freed.
        SkipBlockCompletion = "skip_block_completion",
        /// A free block is not put into the buddy.
        SkipBuddyInsert = "skip_buddy_insert",
        /// A block that has free frames again is not marked in the summary.
        SkipSummaryUpdate = "skip_summary_update",
        /// Double frees are accepted.
        AcceptDoubleFree = "accept_double_free",
        /// Frees of unmanaged frames are accepted.
        AcceptUnownedFree = "accept_unowned_free",
        /// Frees of a larger order than the allocation's are accepted.
        AcceptWrongOrder = "accept_wrong_order",
        /// A CPU without free frames does not make the others drain their caches.
        SkipRemoteDrain = "skip_remote_drain",
        /// An allocation with interrupts disabled waits for the other CPUs.
        BlockInIrq = "block_in_irq",
        /// The allocator is not disabled in NMI handlers.
        AllowAllocInNmi = "allow_alloc_in_nmi",
        /// A refill enables interrupts half-way.
        EnableIrqsInRefill = "enable_irqs_in_refill",
        /// A free block is not merged with its free buddy.
        SkipBuddyMerge = "skip_buddy_merge",
    }
}

/// One more than the armed fault's number, or 0.
static ARMED: AtomicU8 = AtomicU8::new(0);
static CHANCES: AtomicUsize = AtomicUsize::new(0);

/// Arms a fault, or none.
pub(crate) fn arm(fault: Option<FrameFault>) {
    ARMED.store(fault.map_or(0, |fault| fault as u8 + 1), Ordering::Relaxed);
}

/// Whether this fault is armed.
pub(crate) fn is_armed(fault: FrameFault) -> bool {
    ARMED.load(Ordering::Relaxed) == fault as u8 + 1
}

/// Whether this fault happens now.
fn strikes(fault: FrameFault) -> bool {
    is_armed(fault) && CHANCES.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1
}

/// [`strikes`] for events of whole blocks, which are rare: every second time.
pub(in crate::memory) fn strikes_block(fault: FrameFault) -> bool {
    is_armed(fault) && CHANCES.fetch_add(1, Ordering::Relaxed) % 2 == 1
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
