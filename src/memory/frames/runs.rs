//! Walks over the runs and blocks of the table while other CPUs change them.
//!
//! A block whose word is blank belongs to a run of which another block has the word, or is not managed. Which of the two, only the lock
//! of its zone tells for certain: without it, a run may be merged or split between the reading of two words, so that a block seems to
//! belong to no run.

use super::allocator::Frames;
use super::number::{BlockNumber, Order};
use super::state::State;
use core::ops::Range;

impl Frames {
    /// The run that contains a block, or the block itself: its first block, and its state. `None` for a block that is not managed.
    ///
    /// **Context:** interrupts disabled, because it may take the lock of a zone.
    pub(in crate::memory) fn run_at(&self, block: BlockNumber) -> Option<(BlockNumber, State)> {
        match self.table.state(block) {
            State::BLANK => {
                let _locked = self.zone_lock(block).lock();
                self.table.run_of(block)
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
        match self.table.run_of(first) {
            Some(run) => Ok(run),
            None => Err(BlockNumber::each(first..end)
                .find(|block| self.table.state(*block) != State::BLANK)
                .unwrap_or(end)),
        }
    }
}
