//! Allocation through a magazine: the hot path, the refill behind it, runs and blocks.

use super::magazine::{BATCH, Magazine};
use crate::memory::frames::allocator::Frames;
use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::bitmap;
#[cfg(feature = "faults")]
use crate::memory::frames::faults;
use crate::memory::frames::number::{FrameNumber, Order};
use crate::memory::frames::search::Extent;
use crate::memory::frames::search_target::Ownership;
use crate::memory::frames::state;

impl Frames {
    /// Allocates a naturally aligned run of `order`. `None` if there is none, after a drain of this magazine as well. Frames in the
    /// magazines of other CPUs are not used: a caller that can wait lets them drain and tries again.
    ///
    /// **Context:** thread or interrupt context, interrupts disabled.
    #[inline(always)]
    pub(crate) fn alloc(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        if order != Order::FRAME {
            return self.alloc_many(magazine, order);
        }
        match magazine.pop() {
            Some(frame) => Some(frame),
            None => self.refill(magazine),
        }
    }

    /// Allocates as [`alloc`](Self::alloc) does, but does not try every block, and drains nothing. After `None`,
    /// [`alloc`](Self::alloc) may still find one.
    ///
    /// **Context:** as for [`alloc`](Self::alloc). Takes a bounded time for each zone.
    pub(crate) fn alloc_marked(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        if order == Order::FRAME {
            if magazine.is_empty() {
                self.fill(magazine, Extent::Marked);
            }
            return magazine.pop();
        }
        self.find_run(magazine, order, Extent::Marked)
    }

    /// Allocates the cached run of this order, 1 or above. After `None`, [`alloc`](Self::alloc) may still find one.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    #[inline(always)]
    pub(crate) fn alloc_cached(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        let frame = magazine.run_cache.take(order)?;
        // Another CPU may have taken a run of whole blocks.
        (order < Order::BLOCK || self.uncache_blocks(frame.block(), order)).then_some(frame)
    }

    /// Allocates a run of order 1 to 5 from the reserved block. This is nearly always possible, and cheaper than the general search.
    /// After `None`, [`alloc`](Self::alloc) may still find one.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    #[inline(always)]
    pub(crate) fn alloc_from_reserved(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        if order == Order::FRAME || order.frames() >= bitmap::WORD_BITS {
            return None;
        }
        let reserved = magazine.hint.reserved(order);
        let block = reserved.block.get()?;
        let (bitmap, word) = (self.table.bitmap(block), reserved.word.get() % bitmap::WORDS);
        let seen = bitmap.see_run_in(word, order)?;
        let (old, _) = state::update(self.table.cell(block), |state| state.take(order.frames()))?;
        let Some(index) = bitmap.take_seen(word, seen) else {
            // Another CPU has changed the word meanwhile, which is rare.
            self.undo_take(block, order.frames(), old.largest(), Ownership::Reserved);
            return None;
        };
        Some(block.first_frame() + index)
    }

    /// Allocates up to `out.len()` single frames, and writes them to the start of `out`, in no order; how many.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    pub(crate) fn alloc_bulk(&self, magazine: &Magazine, out: &mut [FrameNumber]) -> usize {
        let mut done = 0;
        loop {
            let room = &mut out[done..];
            let at_hand = magazine.len().min(room.len());
            let (from_magazine, room) = room.split_at_mut(at_hand);
            magazine.pop_many(from_magazine);
            done += at_hand;
            if room.is_empty() {
                return done;
            }
            // A small rest goes through the magazine: what it has too many, the next calls use.
            let taken = if room.len() < BATCH {
                self.fill(magazine, Extent::All)
            } else {
                let taken = self.take_singles(&magazine.hint, AtomicFrame::from_mut(room), Extent::All);
                done += taken;
                taken
            };
            if taken == 0 && self.refill_after_drain(magazine) == 0 {
                return done;
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn refill(&self, magazine: &Magazine) -> Option<FrameNumber> {
        if self.fill(magazine, Extent::All) == 0 {
            self.refill_after_drain(magazine);
        }
        magazine.pop()
    }

    /// Refills an empty magazine with up to a batch of frames; how many.
    pub(in crate::memory) fn fill(&self, magazine: &Magazine, extent: Extent) -> usize {
        // Before the transfer: who sees what that takes sees the count, too.
        magazine.count_fill();
        magazine.transfer_seq.begin();
        let room = magazine.room();
        let taken = self.take_singles(&magazine.hint, room, extent);
        #[cfg(feature = "faults")]
        if let Some(frame) = faults::after_refill(room[..taken].first().map(AtomicFrame::get)) {
            let _ = self.return_singles(&[frame]);
        }
        magazine.refilled(taken);
        magazine.transfer_seq.end();
        taken
    }

    /// Drains the cached runs and calls [`fill`](Self::fill) again.
    #[cold]
    #[inline(never)]
    fn refill_after_drain(&self, magazine: &Magazine) -> usize {
        if !magazine.may_have(Order::FRAME) {
            return 0;
        }
        // A double free that the drain finds is counted; there is no caller to return it to.
        let _ = self.drain(magazine);
        self.fill(magazine, Extent::All)
    }

    /// Orders 1 and above.
    fn alloc_many(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        let at_hand =
            self.alloc_cached(magazine, order).or_else(|| self.alloc_from_reserved(magazine, order));
        at_hand.or_else(|| self.find_run(magazine, order, Extent::All)).or_else(|| {
            if !magazine.may_have(order) {
                return None;
            }
            // The missing frames may be in the magazine or in its reserved blocks. A double free that the drain finds is counted;
            // there is no caller to return it to.
            let _ = self.drain(magazine);
            self.find_run(magazine, order, Extent::All)
        })
    }

    /// A run from the shared allocator. It is a [transfer](super::transfer_seq): a run of several words is taken word by word, and
    /// released if one is missing.
    fn find_run(&self, magazine: &Magazine, order: Order, extent: Extent) -> Option<FrameNumber> {
        magazine.transfer_seq.begin();
        let found = self.find_many(&magazine.hint, order, extent);
        magazine.transfer_seq.end();
        #[cfg(feature = "faults")]
        let found = found.map(faults::returned_run);
        found
    }

    /// Allocates a run of order 9 or above from a buddy. This is nearly always possible. After `None`, [`alloc`](Self::alloc) may still
    /// find one.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    #[inline(always)]
    pub(crate) fn alloc_from_buddy(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        self.alloc_blocks(magazine.hint.scope.get(), order)
    }
}
