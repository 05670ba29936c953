//! What a search of the table is for: some frames, wherever they lie, or one aligned run.
//!
//! [`SearchTarget`] is the seam between the search, which knows in which order to try blocks, and the taking, which knows what to
//! reserve in one block and which bits to collect.

use core::cell::Cell;

use super::allocator::Frames;
use super::atomic_frame::AtomicFrame;
use super::bitmap::{Bitmap, WORD_BITS, WORDS};
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::state::{self, Kind, State};

/// By which right a block is taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::memory) enum Ownership {
    /// This magazine holds it.
    Reserved,
    /// Nobody holds it; with the first frames taken from it, this magazine will.
    Reserve,
    /// Whoever holds it: memory is short.
    Steal,
}

impl Ownership {
    #[inline(always)]
    pub(in crate::memory) fn apply(self, state: State) -> Option<State> {
        if self == Self::Reserve { state.reserve() } else { Some(state) }
    }

    /// Whether the summary must learn that the block, now in this state, is nothing for other magazines any more.
    #[inline(always)]
    fn ends_offer(self, new: State) -> bool {
        self == Self::Reserve || (new.free() == 0 && !new.is_reserved())
    }
}

/// What is searched for.
pub(in crate::memory) trait SearchTarget {
    /// What is found.
    type Output;

    /// Whether a block's bits show what is wanted. Where it could not be taken all the same, it is somebody's who has not
    /// collected it yet, or it has not been counted yet.
    fn matches(&self, bitmap: &Bitmap) -> bool;

    /// How many frames of a fresh block would be taken.
    fn frames(&self) -> usize;

    /// The first [`frames`](Self::frames) of a fresh block, which are the caller's.
    fn take_fresh(&mut self, block: BlockNumber) -> Self::Output;

    /// Takes from this block, starting at this word of its bitmap, and moves the word on.
    fn try_take(
        &mut self,
        frames: &Frames,
        block: BlockNumber,
        ownership: Ownership,
        word: &Cell<usize>,
    ) -> Option<Self::Output>;
}

/// So many frames in one word are enough for a refill.
const WORTHWHILE: usize = WORD_BITS / 4;

/// As many frames as `out` has room for, and at least one. What is got is how many: they are at its start.
pub(in crate::memory) struct SingleFrames<'a> {
    pub(in crate::memory) out: &'a [AtomicFrame],
}

impl SearchTarget for SingleFrames<'_> {
    type Output = usize;

    fn matches(&self, bitmap: &Bitmap) -> bool {
        !bitmap.is_empty()
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
        // What is left of a word that others have taken from: by itself, so that the next one is taken whole.
        let at_hand = frames.table.bitmap(block).word(word.get() % WORDS).count_ones() as usize;
        let want = if at_hand >= WORTHWHILE { self.out.len().min(at_hand) } else { self.out.len() };
        let (old, new) =
            state::update(frames.table.cell(block), |state| ownership.apply(state)?.take_up_to(want))?;
        let count = old.free() - new.free();
        word.set(frames.table.bitmap(block).collect(word.get(), block.first_frame(), &self.out[..count]));
        if ownership.ends_offer(new) {
            frames.table.mark_unavailable(block);
        }
        Some(count)
    }
}

/// An aligned run of order 1 to 8. What is got is its first frame.
pub(in crate::memory) struct Run {
    pub(in crate::memory) order: Order,
}

impl SearchTarget for Run {
    type Output = FrameNumber;

    fn matches(&self, bitmap: &Bitmap) -> bool {
        bitmap.has_run(self.order)
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
        // A reservation hides frames from others for as long as it lasts, so a block of which less is known than of
        // one's own is looked at first.
        if ownership != Ownership::Reserved {
            let state = table.state(block);
            if state.kind() != Kind::Frames
                || state.free() < count
                || !table.bitmap(block).has_run(self.order)
            {
                return None;
            }
        }
        let (_, new) = state::update(table.cell(block), |state| ownership.apply(state)?.take(count))?;
        let Some(index) = table.bitmap(block).take_run(word.get(), self.order) else {
            frames.unreserve(block, count, ownership);
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
    /// Gives back a reservation for which no run was found, and the hold that came with it.
    #[cold]
    #[inline(never)]
    pub(in crate::memory) fn unreserve(&self, block: BlockNumber, count: usize, ownership: Ownership) {
        self.finish_update(
            block,
            state::update(self.table.cell(block), |state| {
                let state = state.put(count)?;
                if ownership == Ownership::Reserve { state.release() } else { Some(state) }
            }),
        );
    }
}
