//! Deliberate faults, so that a stress test can show that it would notice.
//!
//! One may be armed at a time, for all allocators: see [`arm`]. Each breaks what it breaks and nothing else: the books stay
//! consistent, which is what makes such faults hard to find in earnest.

use super::number::FrameNumber;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// A fault strikes once in so many refills or flushes: several times in each round of a storm, so that a slow host's only
/// round is enough.
pub const EVERY: usize = 100;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Nothing.
    None = 0,
    /// A frame that a magazine got from the table is free in the table as well, and will be handed out again.
    HandOutTwice = 1,
    /// A frame is forgotten on its way from a magazine to the table.
    LoseOne = 2,
    /// The block table counts one frame less than comes back.
    Miscount = 3,
    /// The allocator hands out a run that begins one frame too far.
    Misalign = 4,
    /// A block whose last frame comes back stays in pieces.
    Strand = 5,
    /// A whole block that goes back to the buddy does not get there.
    ForgetBlock = 6,
    /// A block that has free frames again is not noted where a search would look.
    ForgetSummary = 7,
    /// What is free already may be freed again.
    AcceptDoubleFree = 8,
    /// What the allocator was never given may be freed.
    AcceptForeign = 9,
    /// More may be freed than was handed out.
    AcceptWrongOrder = 10,
    /// A CPU without memory does not ask the others for what they keep.
    KeepFromOthers = 11,
    /// A request with interrupts off waits for the other CPUs.
    WaitInHandler = 12,
    /// The allocator is open in NMIs.
    AllowInNmi = 13,
    /// A refill lets an interrupt in half-way.
    LetHandlerIn = 14,
    /// A whole block that goes back to the buddy is not merged with its free neighbour.
    KeepApart = 15,
}

static FAULT: AtomicU8 = AtomicU8::new(Fault::None as u8);
static CHANCES: AtomicUsize = AtomicUsize::new(0);

/// Chooses the fault that is to happen from now on.
pub fn arm(fault: Fault) {
    FAULT.store(fault as u8, Ordering::Relaxed);
}

/// Whether this fault happens, each time that it can.
pub fn is_armed(fault: Fault) -> bool {
    FAULT.load(Ordering::Relaxed) == fault as u8
}

/// Whether this fault happens now.
fn strikes(fault: Fault) -> bool {
    is_armed(fault) && CHANCES.fetch_add(1, Ordering::Relaxed) % EVERY == EVERY - 1
}

/// The same, for what happens to whole blocks, which is rare: every second time.
pub(in crate::memory) fn strikes_block(fault: Fault) -> bool {
    is_armed(fault) && CHANCES.fetch_add(1, Ordering::Relaxed) % 2 == 1
}

/// How many of these frames that have come back are counted.
pub(in crate::memory) fn counted(frames: usize) -> usize {
    if strikes(Fault::Miscount) { frames - 1 } else { frames }
}

/// The run that is handed out in the place of this one.
pub(in crate::memory) fn handed_out(run: FrameNumber) -> FrameNumber {
    if strikes(Fault::Misalign) { run + 1 } else { run }
}

/// The fault of a refill, of which this is the first frame: the frame to be freed although the magazine has it.
pub(in crate::memory) fn after_refill(first: Option<FrameNumber>) -> Option<FrameNumber> {
    // The frame that will be popped last: by then the other one has had time to find an owner.
    first.filter(|_| strikes(Fault::HandOutTwice))
}

/// The fault of a flush of these frames: those that do get flushed.
pub(in crate::memory) fn before_flush(batch: &[FrameNumber]) -> &[FrameNumber] {
    match batch {
        [_, rest @ ..] if strikes(Fault::LoseOne) => rest,
        _ => batch,
    }
}
