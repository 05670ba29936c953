//! Allocation through a magazine: the hot path, the refill behind it, runs and blocks.

use super::magazine::{BATCH, Magazine};
use crate::memory::frames::allocator::Frames;
use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::bitmap;
#[cfg(feature = "faults")]
use crate::memory::frames::faults;
use crate::memory::frames::hint::Hint;
use crate::memory::frames::number::{FrameNumber, Order};
use crate::memory::frames::request::{FrameRequest, LowRun, Nodes};
use crate::memory::frames::search_target::{Ownership, SingleFrames};
use crate::memory::frames::state::{self, State};
use crate::memory::frames::zone_layout::{LOW_END, ZoneType};
use crate::memory::frames::zones::Scope;

impl Frames {
    /// Allocates a naturally aligned run of `order`; `None` if there is none, after this magazine was drained as well.
    ///
    /// Interrupts are off; not from NMIs. What other CPUs have in their magazines is not asked for: if `None` comes back
    /// and memory matters, let them drain and try again.
    #[inline(always)]
    pub fn alloc(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        if order != Order::FRAME {
            return self.alloc_many(magazine, order);
        }
        match magazine.pop() {
            Some(frame) => Some(frame),
            None => self.refill(magazine),
        }
    }

    /// The run of this order that the magazine keeps, order 1 to 9. `None` says nothing but that [`alloc`](Self::alloc) has
    /// to look.
    ///
    /// Interrupts are off; not from NMIs.
    #[inline(always)]
    pub fn alloc_cached(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        let frame = magazine.run_cache.take(order)?;
        if order == Order::BLOCK {
            // Nobody else may change the word of a block that is kept.
            state::store(self.table.cell(frame.block()), State::huge(order));
        }
        Some(frame)
    }

    /// A run of order 1 to 5 from the block that the magazine holds: what is there nearly always, apart from the search,
    /// which has much to keep track of. `None` says nothing but that [`alloc`](Self::alloc) has to look.
    ///
    /// Interrupts are off; not from NMIs.
    #[inline(always)]
    pub fn alloc_from_reserved(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        if order == Order::FRAME || order.frames() >= bitmap::WORD_BITS {
            return None;
        }
        let block = magazine.hint.reserved.get()?;
        let (bitmap, word) = (self.table.bitmap(block), magazine.hint.word.get() % bitmap::WORDS);
        let seen = bitmap.see_run_in(word, order)?;
        state::update(self.table.cell(block), |state| state.take(order.frames()))?;
        let Some(index) = bitmap.take_seen(word, seen) else {
            // Another CPU has changed the word in between, which is rare.
            self.unreserve(block, order.frames(), Ownership::Reserved);
            return None;
        };
        Some(block.first_frame() + index)
    }

    /// Allocates as many single frames as `out` has room for; how many there were. They are at its start, in no order.
    ///
    /// Interrupts are off; not from NMIs.
    pub fn alloc_bulk(&self, magazine: &Magazine, out: &mut [FrameNumber]) -> usize {
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
            // A small rest goes by way of the magazine, for the sake of the calls to come.
            let taken = if room.len() < BATCH {
                self.fill(magazine)
            } else {
                let taken = self.take_singles(&magazine.hint, AtomicFrame::from_mut(room));
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
        if self.fill(magazine) == 0 {
            self.refill_after_drain(magazine);
        }
        magazine.pop()
    }

    /// Fills an empty magazine with up to a batch of frames; how many.
    fn fill(&self, magazine: &Magazine) -> usize {
        magazine.transfer_seq.begin();
        let room = magazine.room();
        let taken = self.take_singles(&magazine.hint, room);
        #[cfg(feature = "faults")]
        if let Some(frame) = faults::after_refill(room[..taken].first().map(AtomicFrame::get)) {
            let _ = self.return_singles(&[frame]);
        }
        magazine.refilled(taken);
        magazine.transfer_seq.end();
        taken
    }

    /// [`fill`](Self::fill) once more when there is nothing left: what the magazine keeps in runs may be what is missing.
    #[cold]
    #[inline(never)]
    fn refill_after_drain(&self, magazine: &Magazine) -> usize {
        if magazine.cached_frames() == 0 {
            return 0;
        }
        // A frame freed twice that shows up now is counted; there is nobody here to tell.
        let _ = self.drain(magazine);
        self.fill(magazine)
    }

    /// Orders 1 and above.
    fn alloc_many(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        let at_hand =
            self.alloc_cached(magazine, order).or_else(|| self.alloc_from_reserved(magazine, order));
        let found = at_hand.or_else(|| self.find_run(magazine, order)).or_else(|| {
            // What is in the magazine, and the block that it holds, may be what is missing. A frame freed twice that
            // shows up now is counted; there is nobody here to tell.
            let _ = self.drain(magazine);
            self.find_run(magazine, order)
        });
        #[cfg(feature = "faults")]
        let found = found.map(faults::handed_out);
        found
    }

    /// A run from the shared layers. It is a [move](super::transfer_seq): a run of several words is collected word by word, and put
    /// back if one is missing.
    fn find_run(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        magazine.transfer_seq.begin();
        let found = self.find_many(&magazine.hint, order);
        magazine.transfer_seq.end();
        found
    }

    /// A run of order 9 or above from a buddy: what is there nearly always. `None` says nothing but that
    /// [`alloc`](Self::alloc) has to look.
    ///
    /// Interrupts are off; not from NMIs.
    #[inline(always)]
    pub fn alloc_from_buddy(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        self.alloc_blocks(magazine.hint.scope.get(), order)
    }

    /// Allocates a naturally aligned run where the request wants it; `None` if there is none, after this magazine was
    /// drained as well. Until memory is [divided](Self::set_zones) nothing is known of zones and nodes, and a request that
    /// names one gets `None`.
    ///
    /// Interrupts are off; not from NMIs. What other CPUs have in their magazines is not asked for: if `None` comes back
    /// and memory matters, let them drain and try again.
    pub fn alloc_in(&self, magazine: &Magazine, request: FrameRequest) -> Option<FrameNumber> {
        let FrameRequest { order, zone, nodes } = request;
        let (node, only_node) = match nodes {
            Nodes::Nearest => (magazine.local_node(), false),
            Nodes::NearestTo(node) => (node, false),
            Nodes::Only(node) => (node, true),
        };
        let scope = Scope { node, only_node, highest: zone };
        self.find_in(magazine, scope, order).or_else(|| {
            // A frame freed twice that shows up now is counted; there is nobody here to tell.
            let _ = self.drain(magazine);
            self.find_in(magazine, scope, order)
        })
    }

    fn find_in(&self, magazine: &Magazine, scope: Scope, order: Order) -> Option<FrameNumber> {
        let hint = Hint::new(scope);
        magazine.transfer_seq.begin();
        let found = if scope.highest == ZoneType::Low {
            (order.frames() <= LOW_END.get()).then(|| self.search(&hint, LowRun { order })).flatten()
        } else if order == Order::FRAME {
            let mut out = [FrameNumber::new(0)];
            self.search(&hint, SingleFrames { out: AtomicFrame::from_mut(&mut out) }).map(|_| out[0])
        } else {
            self.find_many(&hint, order)
        };
        self.release_all(&hint);
        magazine.hint.in_flight.set(hint.in_flight.get());
        magazine.transfer_seq.end();
        found
    }
}
