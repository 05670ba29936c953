//! The run cache: of each order from 1 to 18, the run that this CPU freed last, if it is not allocated again.
//!
//! Like a single frame, a freed run is usually allocated again soon, on the same CPU. A cached run costs no locked instruction and no
//! cache line that other CPUs write. A second run of the same order goes to the shared allocator, so a CPU caches less than 2 MiB in
//! runs of orders 1 to 8. For the shared allocator these are allocated: their bits stay clear. Runs of whole blocks have a state of their
//! own, [cached](crate::memory::frames::state::Kind::Cached), and another CPU that finds no other takes them by it: see
//! [`Frames::steal_blocks`](crate::memory::frames::Frames::steal_blocks). So memory is short for no CPU because another one caches it.
//!
//! **Sparse blocks.** A run of orders 1 to 8 is cached only if the CPU has reserved its block for that order. Any other block becomes free
//! when the last of its runs returns to it. If a CPU cached these, it would allocate them again, and a sparse block would stay so.
//!
//! **Invalid frees.** Before a run is cached, its bits are checked in its block. So a run that is free there, is not managed, or is
//! larger than its allocation is refused, as is the very run that is cached. Debug builds also check for parts of it, and for what it
//! is a part of. If two CPUs free the same run, it is found when the second one returns it to the table. A whole block that is cached
//! by any CPU is refused at once.
//!
//! **No leak.** A CPU returns its runs whenever it returns its single frames: when a search of any order fails, when another CPU
//! asks for a drain, and when it goes offline.

use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::number::{FrameNumber, Order};

/// Orders 1 to 18.
pub(in crate::memory) const CACHED_ORDERS: usize = Order::MAX.get() as usize;

/// How many frames a CPU caches in runs at most, except for whole blocks: 2 + 4 + … + 256.
#[cfg(test)]
pub(in crate::memory) const MAX_FRAMES: usize = crate::memory::frames::number::FRAMES_PER_BLOCK - 2;

/// No frame has this number: its address would need 76 bits.
pub(in crate::memory) const NONE: FrameNumber = FrameNumber::new(usize::MAX);

/// The cached runs of a CPU, at most one of each order.
#[derive(Debug)]
#[repr(transparent)]
pub(in crate::memory) struct RunCache {
    /// The first frame of each run, at index order - 1, or [`NONE`].
    pub(in crate::memory) runs: [AtomicFrame; CACHED_ORDERS],
}

impl RunCache {
    /// An empty cache.
    pub(in crate::memory) const fn new() -> Self {
        Self { runs: [const { AtomicFrame::new(NONE) }; CACHED_ORDERS] }
    }

    /// Takes the run of this order, 1 or above.
    #[inline(always)]
    pub(in crate::memory) fn take(&self, order: Order) -> Option<FrameNumber> {
        let place = self.runs.get(index(order))?;
        let frame = place.get();
        place.set(NONE);
        (frame != NONE).then_some(frame)
    }

    /// The entry for a run of this order, if it is empty. A frame that is written there is cached.
    #[inline(always)]
    pub(in crate::memory) fn room(&self, order: Order) -> Option<&AtomicFrame> {
        self.runs.get(index(order)).filter(|place| place.get() == NONE)
    }

    /// The entry for a run of this order, if it is empty or `is_cached` tells that its run is not cached any more.
    #[inline(always)]
    pub(in crate::memory) fn room_unless(
        &self,
        order: Order,
        is_cached: impl FnOnce(FrameNumber) -> bool,
    ) -> Option<&AtomicFrame> {
        let entry = self.runs.get(index(order))?;
        let run = entry.get();
        (run == NONE || !is_cached(run)).then_some(entry)
    }

    /// Whether this very run is cached.
    #[inline(always)]
    pub(in crate::memory) fn has(&self, frame: FrameNumber, order: Order) -> bool {
        self.runs.get(index(order)).is_some_and(|place| place.get() == frame)
    }

    /// The cached runs: first frames and orders.
    pub(in crate::memory) fn runs(&self) -> impl Iterator<Item = (FrameNumber, Order)> {
        let by_order = (1..).map_while(Order::new).zip(&self.runs);
        by_order.map(|(order, place)| (place.get(), order)).filter(|&(frame, _)| frame != NONE)
    }

    /// Takes all runs.
    pub(in crate::memory) fn take_all(&self) -> impl Iterator<Item = (FrameNumber, Order)> {
        (1..).map_while(Order::new).take(CACHED_ORDERS).filter_map(|order| Some((self.take(order)?, order)))
    }
}

/// The index of an order. That of order 0 is out of bounds.
#[inline(always)]
const fn index(order: Order) -> usize {
    (order.get() as usize).wrapping_sub(1)
}
