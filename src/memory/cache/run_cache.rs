//! Layer 1 for what is larger than a frame: of each order from 1 to 9, the run that this CPU freed last, if nobody has
//! asked for it yet.
//!
//! As with single frames, what is freed is mostly wanted again soon and on the same CPU. A run that waits here costs
//! neither a locked instruction nor a line that other CPUs write to; one more of the same order goes to the layers below,
//! so that a CPU keeps less than 4 MiB in this way. What is here is in use as far as those layers know: the bits of a run
//! stay clear, and only a whole block says in its state that it is [kept](crate::memory::frames::state::Kind::Cached).
//!
//! **Misuse.** A run is looked up in its block before it is let in, so that what is free there already, foreign or larger
//! than what was handed out is refused as it would be there, and so is the very run that is here. Its parts, and what it
//! is a part of, are compared in checked builds, as single frames are. What another CPU keeps shows as it does with single
//! frames, when the second of the two CPUs gives it back; but a block that anyone keeps is refused to all, at once.
//!
//! **Nothing is stranded.** A CPU gives its runs back whenever it gives its single frames back, and it does both when it
//! finds nothing else, of whatever order; when another CPU asks all others; and when it goes offline.

use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::number::{FrameNumber, Order};

/// Orders 1 to 9.
pub(in crate::memory) const CACHED_ORDERS: usize = Order::BLOCK.get() as usize;

/// How many frames a CPU keeps in runs at most, whole blocks left aside: 2 + 4 + … + 256.
#[cfg(test)]
pub(in crate::memory) const MAX_FRAMES: usize = crate::memory::frames::number::FRAMES_PER_BLOCK - 2;

/// No frame has this number: its address would need 76 bits.
pub(in crate::memory) const NONE: FrameNumber = FrameNumber::new(usize::MAX);

/// A CPU's own runs, one of each order at most.
#[derive(Debug)]
#[repr(transparent)]
pub(in crate::memory) struct RunCache {
    /// The first frame of each, by the order less 1, or [`NONE`].
    pub(in crate::memory) runs: [AtomicFrame; CACHED_ORDERS],
}

impl RunCache {
    /// An empty one.
    pub(in crate::memory) const fn new() -> Self {
        Self { runs: [const { AtomicFrame::new(NONE) }; CACHED_ORDERS] }
    }

    /// Takes the run of this order.
    #[inline(always)]
    pub(in crate::memory) fn take(&self, order: Order) -> Option<FrameNumber> {
        let place = self.runs.get(index(order))?;
        let frame = place.get();
        place.set(NONE);
        (frame != NONE).then_some(frame)
    }

    /// The place for a run of this order, if it is free. What is written there is in the reserve.
    #[inline(always)]
    pub(in crate::memory) fn room(&self, order: Order) -> Option<&AtomicFrame> {
        self.runs.get(index(order)).filter(|place| place.get() == NONE)
    }

    /// Whether this very run is here.
    #[inline(always)]
    pub(in crate::memory) fn has(&self, frame: FrameNumber, order: Order) -> bool {
        self.runs.get(index(order)).is_some_and(|place| place.get() == frame)
    }

    /// What is here: first frames and orders.
    pub(in crate::memory) fn runs(&self) -> impl Iterator<Item = (FrameNumber, Order)> {
        let by_order = (1..).map_while(Order::new).zip(&self.runs);
        by_order.map(|(order, place)| (place.get(), order)).filter(|&(frame, _)| frame != NONE)
    }

    /// Takes all of it.
    pub(in crate::memory) fn take_all(&self) -> impl Iterator<Item = (FrameNumber, Order)> {
        (1..).map_while(Order::new).take(CACHED_ORDERS).filter_map(|order| Some((self.take(order)?, order)))
    }
}

/// An order's place. That of order 0 is past the end, as those of orders above 9 are.
#[inline(always)]
const fn index(order: Order) -> usize {
    (order.get() as usize).wrapping_sub(1)
}
