//! Walks over the runs and blocks of the table while other CPUs change them.
//!
//! A block whose word is blank is in the buddy, which its bit tells, or belongs to a run of which another block has the word, or is
//! not managed. Which of these, only the lock of its zone tells for certain: without it, a run may be taken or freed between the reading of
//! two words, so that a block seems to belong to no run.

use super::allocator::Frames;
use super::block_bits::BLOCKS;
use super::gigabyte::Gigabyte;
use super::number::{BlockNumber, Order};
use super::state::State;
use super::zones::parts_by_gigabyte;
use core::ops::Range;

impl Frames {
    /// The first block of the run that contains a block, and its state: the block itself if its word is not blank. `None` for a block
    /// that is not managed.
    ///
    /// The result is exact while the caller holds the lock of the block's zone. Without it, another CPU may take, free or split the run
    /// meanwhile, so that a managed block seems not to be.
    pub(in crate::memory) fn run_of(&self, block: BlockNumber) -> Option<(BlockNumber, State)> {
        match self.table.state(block) {
            State::BLANK => {}
            own => return Some((block, own)),
        }
        match self.free_run_of(block) {
            Some(order) => Some((block.head(order), State::buddy(order))),
            None => self.table.run_around(block),
        }
    }

    /// The order of the free run in the buddy that contains a block.
    pub(in crate::memory) fn free_run_of(&self, block: BlockNumber) -> Option<Order> {
        if block.0 >= self.table.blocks() {
            return None;
        }
        let run_in = |gigabyte: &Gigabyte| gigabyte.free_now().run_at(block.0 % BLOCKS);
        let run = run_in(self.place_of(block).1);
        // Fault injection: a block that is merged with one of another zone is free nevertheless.
        #[cfg(feature = "faults")]
        let run = run.or_else(|| run_in(self.place_of_free(block).1));
        run
    }

    /// The first block of a range that is in the buddy. The range lies between two borders of zones.
    pub(in crate::memory) fn first_in_buddy(&self, range: Range<BlockNumber>) -> Option<BlockNumber> {
        parts_by_gigabyte(range).find_map(|part| {
            let first = part.start.0 % BLOCKS;
            let bits = self.place_of(part.start).1.free_now();
            let lowest = bits.within(first, first + (part.end.0 - part.start.0)).lowest()?;
            Some(BlockNumber(part.start.0 - first + lowest))
        })
    }

    /// The first block of a range whose word is not blank, or that is in the buddy. The range lies between two borders of zones.
    fn first_not_blank_or_free(&self, range: Range<BlockNumber>) -> Option<BlockNumber> {
        let in_buddy = self.first_in_buddy(range.clone());
        let below = range.start..in_buddy.unwrap_or(range.end);
        BlockNumber::each(below).find(|block| self.table.state(*block) != State::BLANK).or(in_buddy)
    }

    /// The run that contains a block, or the block itself: its first block, and its state. `None` for a block that is not managed.
    ///
    /// **Context:** interrupts disabled, because it may take the lock of a zone.
    pub(in crate::memory) fn run_at(&self, block: BlockNumber) -> Option<(BlockNumber, State)> {
        match self.table.state(block) {
            State::BLANK => {
                let _locked = self.zone_lock(block).lock();
                self.run_of(block)
            }
            state => Some((block, state)),
        }
    }

    /// Calls `visit` with each run and each other managed block of a span, which lies in one zone, until it returns `Some`.
    ///
    /// Each block is visited in a state that it had at some moment of the walk. So a frame that is free during the whole walk is seen
    /// in a run or block that is free, or has free frames. A run that changes meanwhile may be visited twice.
    ///
    /// **Context:** interrupts disabled, because it takes the lock of the zone, for at most 512 blocks at once.
    pub(in crate::memory) fn visit_runs<R>(
        &self,
        span: Range<BlockNumber>,
        mut visit: impl FnMut(BlockNumber, State) -> Option<R>,
    ) -> Option<R> {
        let mut next = span.start;
        while next < span.end {
            let found = match self.table.state(next) {
                State::BLANK => self.after_blank(next..span.end),
                state => Ok((next, state)),
            };
            match found {
                Ok((head, state)) => {
                    if let Some(result) = visit(head, state) {
                        return Some(result);
                    }
                    next = BlockNumber(head.0 + state.blocks());
                }
                Err(end) => next = end,
            }
        }
        None
    }

    /// For a range whose first word was blank: the run that contains the first block, or the end of the blocks from it on that are not
    /// managed, of at most a gigabyte.
    #[inline(never)]
    fn after_blank(&self, range: Range<BlockNumber>) -> Result<(BlockNumber, State), BlockNumber> {
        let first = range.start;
        let end = BlockNumber(first.head(Order::MAX).0 + Order::MAX.blocks()).min(range.end);
        let _locked = self.zone_lock(first).lock();
        match self.run_of(first) {
            Some(run) => Ok(run),
            None => Err(self.first_not_blank_or_free(first..end).unwrap_or(end)),
        }
    }
}
