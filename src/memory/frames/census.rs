//! Counting and checking: how much is free, in what pieces, and whether the allocator's books agree with each other.
//!
//! All of it walks the table. While other CPUs allocate, the counts are close; at quiescence they are exact.

use super::arenas::{Locked, Place};
use super::bitmap::{WORD_BITS, WORDS, maximal_runs};
use super::number::{BlockNumber, FRAMES_PER_BLOCK, ORDERS, Order};
use super::partition::ArenaName;
use super::state::{Kind, State};
use super::sync::Ordering;
use super::{Frames, Invalid};
use core::ops::Range;

/// What an arena has, in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaCensus {
    /// Which it is; `None` for all memory while it is not divided.
    pub name: Option<ArenaName>,
    /// Under the allocator's care.
    pub total: usize,
    /// Free, but for those in magazines.
    pub free: usize,
    /// The free ones, by the largest order at which they could be handed out.
    pub free_by_order: [usize; ORDERS],
}

impl Frames {
    /// How many frames the allocator was given.
    pub fn total_frames(&self) -> usize {
        self.counters.inserted_frames.load(Ordering::Relaxed)
    }

    /// How many frames are free in the table and the buddies. Those that CPUs keep are not counted.
    pub fn free_frames(&self) -> usize {
        let (mut free, mut block) = (0, BlockNumber(0));
        while block < self.table.all().end {
            let state = self.table.state(block);
            // A large free piece is one step: there are 8 million blocks in 16 TiB.
            let blocks = if state.kind() == Kind::Buddy { state.free_blocks() } else { 1 };
            free += if blocks > 1 { blocks * FRAMES_PER_BLOCK } else { self.frames_of(block).1 };
            block = BlockNumber(block.0 + blocks);
        }
        free
    }

    /// Free frames by the largest order at which they could be handed out: the report on fragmentation. The sum is
    /// [`free_frames`](Self::free_frames).
    pub fn free_by_order(&self) -> [usize; ORDERS] {
        let mut frames = [0; ORDERS];
        for arena in self.census() {
            frames.iter_mut().zip(arena.free_by_order).for_each(|(sum, count)| *sum += count);
        }
        frames
    }

    /// What each arena has; all memory as one while it is not [divided](Self::divide).
    pub fn census(&self) -> impl Iterator<Item = ArenaCensus> {
        self.places().map(|(name, place)| {
            let mut census = ArenaCensus { name, total: 0, free: 0, free_by_order: [0; ORDERS] };
            for span in place.spans(self.table.all()) {
                for block in BlockNumber::each(span.clone()) {
                    let (total, free) = self.frames_of(block);
                    census.total += total;
                    census.free += free;
                }
                self.count_by_order(span, &mut census.free_by_order);
            }
            census
        })
    }

    /// How many frames of a block are managed, and how many of these are free.
    fn frames_of(&self, block: BlockNumber) -> (usize, usize) {
        let state = self.table.state(block);
        match state.kind() {
            Kind::Buddy | Kind::Transit => (FRAMES_PER_BLOCK, FRAMES_PER_BLOCK),
            Kind::Frames => (state.managed(), state.free()),
            Kind::Huge | Kind::Kept => (FRAMES_PER_BLOCK, 0),
            Kind::Absent | Kind::Corrupt => (0, 0),
        }
    }

    fn count_by_order(&self, span: Range<BlockNumber>, frames: &mut [usize; ORDERS]) {
        const GIGABYTE: usize = WORDS * WORD_BITS;
        let mut count = |lowest: Order, words: &[u64; WORDS]| {
            for (step, runs) in maximal_runs(words).iter().enumerate() {
                let order = lowest.get() as usize + step;
                frames[order] += runs << order;
            }
        };
        // A gigabyte is to a block what a block is to a frame: 512 bits.
        for gigabyte in span.start.0 / GIGABYTE..span.end.0.div_ceil(GIGABYTE) {
            let mut in_buddy = [0; WORDS];
            let first = gigabyte * GIGABYTE;
            for index in span.start.0.max(first)..span.end.0.min(first + GIGABYTE) {
                let block = BlockNumber(index);
                match self.table.state(block).kind() {
                    Kind::Buddy => in_buddy[(index - first) / WORD_BITS] |= 1 << (index % WORD_BITS),
                    Kind::Frames => count(Order::FRAME, &self.table.bitmap(block).load()),
                    Kind::Absent | Kind::Transit | Kind::Huge | Kind::Kept | Kind::Corrupt => {}
                }
            }
            count(Order::BLOCK, &in_buddy);
        }
    }

    /// Checks every rule that ties states, bitmaps, masks and the buddy together.
    ///
    /// Only at quiescence: no other CPU is in a call on this allocator. Interrupts are off. Holds each arena's lock
    /// for a while, and takes its buddy apart to see what is in it.
    ///
    /// # Errors
    /// The first rule found broken, with the block. If it was one about the buddy, what else is in there may be lost.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut managed = 0;
        for block in BlockNumber::each(self.table.all()) {
            managed += self.validate_block(block)?;
        }
        let inserted = self.total_frames();
        if managed != inserted {
            return Err(Invalid::Total { states: managed, inserted });
        }
        self.places().try_for_each(|(_, place)| self.validate_buddy(place))
    }

    /// Checks one block by itself; how many frames of it are managed.
    fn validate_block(&self, block: BlockNumber) -> Result<usize, Invalid> {
        let state = self.table.state(block);
        let first = block.first_frame();
        match state.kind() {
            Kind::Absent => Ok(0),
            Kind::Buddy => {
                let mut piece = (block.0..block.0 + state.free_blocks()).map(BlockNumber);
                match piece.find(|&member| self.table.state(member).kind() != Kind::Buddy) {
                    None => Ok(FRAMES_PER_BLOCK),
                    Some(stray) => Err(Invalid::NotInBuddy { block: stray.first_frame() }),
                }
            }
            // Whose it is when it is kept, only that CPU's reserve could say.
            Kind::Kept => Ok(FRAMES_PER_BLOCK),
            Kind::Transit => Err(Invalid::Transit { block: first }),
            Kind::Corrupt => Err(Invalid::State { block: first, word: state.word() }),
            Kind::Huge => self.validate_huge(block, state).map(|()| FRAMES_PER_BLOCK),
            Kind::Frames => self.validate_frames(block, state).map(|()| state.managed()),
        }
    }

    fn validate_huge(&self, block: BlockNumber, state: State) -> Result<(), Invalid> {
        let wrong = Invalid::Huge { block: block.first_frame() };
        let order = state.order().filter(|&order| order >= Order::BLOCK).ok_or(wrong)?;
        let head = block.head(order);
        // From the head only: looking at all neighbours of each would make this quadratic.
        let members = if block == head { head.0..head.0 + order.blocks() } else { head.0..head.0 + 1 };
        let alike = members.map(BlockNumber).all(|member| self.table.state(member) == state);
        if alike { Ok(()) } else { Err(wrong) }
    }

    fn validate_frames(&self, block: BlockNumber, state: State) -> Result<(), Invalid> {
        let first = block.first_frame();
        let words = self.table.bitmap(block).load();
        let bits = count_ones(&words);
        if bits != state.free() {
            return Err(Invalid::Count { block: first, bits, free: state.free() });
        }
        if state.free() == FRAMES_PER_BLOCK && !state.is_held() {
            return Err(Invalid::Stranded { block: first });
        }
        if state.free() > 0 && !state.is_held() && !self.table.is_noted(block) {
            return Err(Invalid::NotNoted { block: first });
        }
        if state.is_whole() {
            return Ok(());
        }
        let managed = count_ones(&self.table.mask(state).load());
        if managed != state.managed() {
            return Err(Invalid::Mask { block: first, bits: managed, managed: state.managed() });
        }
        for (index, &word) in words.iter().enumerate() {
            let foreign = self.table.unmanaged(state, index, word);
            if foreign != 0 {
                let bit = index * WORD_BITS + foreign.trailing_zeros() as usize;
                return Err(Invalid::Unmanaged { frame: first + bit });
            }
        }
        Ok(())
    }

    /// Takes everything out of an arena's buddy and compares it with the states, then puts it back as it was.
    fn validate_buddy(&self, place: Place<'_>) -> Result<(), Invalid> {
        let mut locked = place.locked.lock();
        let counted = locked.buddy.free_bytes();
        let taken = self.empty_buddy(place, &mut locked);
        let mut result = taken.map(|_| ());
        for span in place.spans(self.table.all()) {
            let mut at = span.start.0;
            while at < span.end.0 {
                let block = BlockNumber(at);
                let state = self.table.state(block);
                at += 1;
                match (state.kind(), state.order()) {
                    (Kind::Transit, Some(order)) => {
                        if self.is_unmerged(place, block, order) {
                            result =
                                result.and(Err(Invalid::NotMerged { block: block.first_frame(), order }));
                        }
                        self.table.mark_in_buddy(block, order);
                        // SAFETY: the piece was taken out above and is marked with its order; the lock was held since.
                        unsafe { locked.buddy.push(block, order) };
                        at += order.blocks() - 1;
                    }
                    (Kind::Buddy, _) => {
                        result = result.and(Err(Invalid::MissingFromBuddy { block: block.first_frame() }));
                    }
                    _ => {}
                }
            }
        }
        let held = taken?;
        result?;
        if held == counted { Ok(()) } else { Err(Invalid::BuddyBytes { held, counted }) }
    }

    /// Whether a piece that was taken out of the buddy is the lower half of a larger one, of which the upper half was in
    /// there by itself as well.
    fn is_unmerged(&self, place: Place<'_>, block: BlockNumber, order: Order) -> bool {
        let other = block.buddy(order);
        order < Order::MAX
            && block < other
            && place.has(other, order)
            && self.table.state(other) == State::transit(order)
    }

    /// Takes piece after piece out of the buddy and marks it as in transit; how many bytes they were. Largest first, so
    /// that none is split. Stops at the first that should not have been in there, since lists that hold a block twice
    /// may have no end.
    fn empty_buddy(&self, place: Place<'_>, locked: &mut Locked) -> Result<usize, Invalid> {
        let mut bytes = 0;
        for order in (Order::BLOCK.get()..=Order::MAX.get()).rev().filter_map(Order::new) {
            while let Some(block) = locked.buddy.take(order) {
                if !place.has(block, order) {
                    return Err(Invalid::NotInBuddy { block: block.first_frame() });
                }
                let mut members = (block.0..block.0 + order.blocks()).map(BlockNumber);
                if let Some(stray) = members.find(|&member| self.table.state(member).kind() != Kind::Buddy) {
                    return Err(Invalid::NotInBuddy { block: stray.first_frame() });
                }
                self.table.mark(block, order.blocks(), State::transit(order));
                bytes += order.bytes();
            }
        }
        Ok(bytes)
    }
}

fn count_ones(words: &[u64; WORDS]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}
