//! The target of a search: [`SearchTarget`], single frames or an aligned run.
//!
//! The search knows in which order to try blocks. The target knows how many frames to take from the count of a block, and which bits to
//! collect.

use core::cell::Cell;

use super::allocator::Frames;
use super::atomic_frame::AtomicFrame;
use super::bitmap::{Bitmap, WORD_BITS, WORDS, count};
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::state::{self, Kind, State};

/// The right by which frames are taken from a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::memory) enum Ownership {
    /// This CPU has reserved the block.
    Reserved,
    /// No CPU has reserved it. Taking the first frames reserves it for this CPU.
    Reserve,
    /// Any block, also one that another CPU has reserved: memory is short.
    Steal,
}

impl Ownership {
    #[inline(always)]
    pub(in crate::memory) fn apply(self, state: State) -> Option<State> {
        if self == Self::Reserve { state.reserve() } else { Some(state) }
    }

    /// Whether the block, now in this state, is no longer available to other CPUs, so that its bit in the summary must be cleared.
    #[inline(always)]
    fn ends_offer(self, new: State) -> bool {
        self == Self::Reserve || (new.free() == 0 && !new.is_reserved())
    }
}

/// The target of a search.
pub(in crate::memory) trait SearchTarget {
    /// The result.
    type Output;

    /// Whether a block's bits contain a match. If it cannot be taken, another CPU has taken it and not collected it yet, or has not
    /// counted it yet.
    fn matches(&self, bitmap: &Bitmap) -> bool;

    /// The order of the runs that it takes, 0 to 8.
    fn order(&self) -> Order;

    /// How many frames it takes from a whole block.
    fn frames(&self) -> usize;

    /// Takes the first [`frames`](Self::frames) frames of a whole block that the caller owns.
    fn take_fresh(&mut self, block: BlockNumber) -> Self::Output;

    /// Takes frames from this block. The search of its bitmap begins at `word`, and sets it to where it ended.
    fn try_take(
        &mut self,
        frames: &Frames,
        block: BlockNumber,
        ownership: Ownership,
        word: &Cell<usize>,
    ) -> Option<Self::Output>;
}

/// If one word has this many frames, a refill takes them alone.
const WORTHWHILE: usize = WORD_BITS / 4;

/// Single frames: at least one, at most as many as `out` has room for. The output is how many; they are at its start.
pub(in crate::memory) struct SingleFrames<'a> {
    pub(in crate::memory) out: &'a [AtomicFrame],
}

impl SearchTarget for SingleFrames<'_> {
    type Output = usize;

    fn matches(&self, bitmap: &Bitmap) -> bool {
        !bitmap.is_empty()
    }

    fn order(&self) -> Order {
        Order::FRAME
    }

    fn frames(&self) -> usize {
        self.out.len().min(FRAMES_PER_BLOCK)
    }

    fn take_fresh(&mut self, block: BlockNumber) -> usize {
        let count = self.frames();
        for (index, slot) in self.out[..count].iter().rev().enumerate() {
            slot.set(block.first_frame() + index);
        }
        count
    }

    fn try_take(
        &mut self,
        frames: &Frames,
        block: BlockNumber,
        ownership: Ownership,
        word: &Cell<usize>,
    ) -> Option<usize> {
        // The rest of a word from which others have taken is taken alone, so that the next word is taken as a whole.
        let at_hand = count(frames.table.bitmap(block).word(word.get() % WORDS));
        let want = if at_hand >= WORTHWHILE { self.out.len().min(at_hand) } else { self.out.len() };
        let (old, new) =
            state::update(frames.table.cell(block), |state| ownership.apply(state)?.take_up_to(want))?;
        let taken = old.free() - new.free();
        word.set(frames.table.bitmap(block).collect(word.get(), block.first_frame(), &self.out[..taken]));
        if ownership.ends_offer(new) {
            frames.table.mark_unavailable(block);
        }
        Some(taken)
    }
}

/// An aligned run of order 1 to 8. The output is its first frame.
pub(in crate::memory) struct Run {
    pub(in crate::memory) order: Order,
}

impl SearchTarget for Run {
    type Output = FrameNumber;

    fn matches(&self, bitmap: &Bitmap) -> bool {
        bitmap.has_run(self.order)
    }

    fn order(&self) -> Order {
        self.order
    }

    fn frames(&self) -> usize {
        self.order.frames()
    }

    fn take_fresh(&mut self, block: BlockNumber) -> FrameNumber {
        block.first_frame()
    }

    #[inline(always)]
    fn try_take(
        &mut self,
        frames: &Frames,
        block: BlockNumber,
        ownership: Ownership,
        word: &Cell<usize>,
    ) -> Option<FrameNumber> {
        let (table, count) = (&frames.table, self.order.frames());
        let state = table.state(block);
        if state.kind() != Kind::Frames || state.free() < count || state.largest() < self.order {
            return None;
        }
        // Frames that are taken from the count are invisible to other CPUs until they are released. So the bits of a block that
        // this CPU has not reserved are checked first.
        if ownership != Ownership::Reserved
            && (state.is_reserved() && ownership == Ownership::Reserve
                || !table.bitmap(block).has_run(self.order))
        {
            return None;
        }
        let (old, new) = state::update(table.cell(block), |state| ownership.apply(state)?.take(count))?;
        let Some(index) = table.bitmap(block).take_run(word.get(), self.order) else {
            frames.undo_take(block, count, old.largest(), ownership);
            return None;
        };
        word.set(index / WORD_BITS);
        if ownership.ends_offer(new) {
            table.mark_unavailable(block);
        }
        Some(block.first_frame() + index)
    }
}

impl Frames {
    /// Releases frames that were taken from the count and not found in the bitmap, and releases the block if it was reserved with
    /// them. `largest` is the largest order that the block may have had before.
    #[cold]
    #[inline(never)]
    pub(in crate::memory) fn undo_take(
        &self,
        block: BlockNumber,
        count: usize,
        largest: Order,
        ownership: Ownership,
    ) {
        self.finish_update(
            block,
            state::update(self.table.cell(block), |state| {
                let state = state.put(count, largest)?;
                if ownership == Ownership::Reserve { state.release() } else { Some(state) }
            }),
        );
    }
}
