//! The consistency check of the allocator's tables against each other.

use super::allocator::Frames;
use super::bitmap::{WORD_BITS, WORDS};
use super::buddy::Buddy;
use super::error::Invalid;
use super::number::{BlockNumber, FRAMES_PER_BLOCK, ORDERS, Order};
use super::state::{Kind, State};
use super::zone::ZoneRef;
use core::ops::Range;

impl Frames {
    /// Checks the states, bitmaps, masks, the summary and the buddies against each other.
    ///
    /// **Context:** quiescence: no other CPU calls this allocator. Interrupts disabled. Takes a time that grows with the memory, and
    /// holds the lock of each zone for a time that grows with its free runs.
    ///
    /// # Errors
    /// The first inconsistency.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        let mut managed = 0;
        for (_, zone) in self.all_zones() {
            let mut free = [0; ORDERS];
            for span in zone.spans(self.table.all()) {
                managed += self.validate_span(span, &mut free)?;
            }
            self.validate_buddy(zone, &free)?;
        }
        let inserted = self.total_frames();
        if managed == inserted { Ok(()) } else { Err(Invalid::Total { states: managed, inserted }) }
    }

    /// Checks the blocks of a span; how many of their frames are managed. Counts the free runs of each order.
    fn validate_span(&self, span: Range<BlockNumber>, free: &mut [usize; ORDERS]) -> Result<usize, Invalid> {
        let mut managed = 0;
        let mut block = span.start;
        while block < span.end {
            let state = self.table.state(block);
            let end = BlockNumber(block.0 + state.blocks());
            let first = block.first_frame();
            managed += match state.kind() {
                Kind::Blank => 0,
                Kind::Transit => return Err(Invalid::Transit { block: first }),
                Kind::Corrupt => return Err(Invalid::State { block: first, word: state.word() }),
                Kind::Frames => {
                    self.validate_frames(block, state)?;
                    state.managed()
                }
                // Only the run cache of its CPU could say which CPU has cached a run.
                Kind::Buddy | Kind::Huge | Kind::Cached => {
                    self.validate_run(block, state, span.end)?;
                    if let (Kind::Buddy, Some(order)) = (state.kind(), state.order()) {
                        free[usize::from(order.get())] += 1;
                        self.validate_merged(block, order)?;
                    }
                    state.blocks() * FRAMES_PER_BLOCK
                }
            };
            block = end;
        }
        Ok(managed)
    }

    /// Checks that a run is aligned, ends in its zone, and that the words of its other blocks are blank.
    fn validate_run(&self, head: BlockNumber, state: State, end: BlockNumber) -> Result<(), Invalid> {
        let is_aligned = state.order().is_some_and(|order| head.head(order) == head);
        let after = BlockNumber(head.0 + state.blocks());
        let rest = BlockNumber(head.0 + 1)..after;
        if is_aligned
            && after <= end
            && BlockNumber::each(rest).all(|block| self.table.state(block) == State::BLANK)
        {
            return Ok(());
        }
        Err(Invalid::Run { block: head.first_frame() })
    }

    /// Checks that a free run is merged with its buddy, if both are free and of one zone.
    fn validate_merged(&self, head: BlockNumber, order: Order) -> Result<(), Invalid> {
        if order == Order::MAX || head != head.head(order.double()) {
            return Ok(());
        }
        let is_one_zone = self
            .zone_layout()
            .is_none_or(|zone_layout| zone_layout.blocks_in_zone_from(head) >= order.double().blocks());
        if is_one_zone && self.table.state(head.buddy(order)).is_buddy_of(order) {
            return Err(Invalid::NotMerged { block: head.first_frame(), order });
        }
        Ok(())
    }

    /// Checks the lists of a zone. `free` are the free runs of each order by the states.
    fn validate_buddy(&self, zone: ZoneRef<'_>, free: &[usize; ORDERS]) -> Result<(), Invalid> {
        let locked = zone.locked.lock();
        for order in Buddy::orders() {
            let (mut length, mut previous) = (0, None);
            for block in locked.buddy.list(&self.table, order) {
                let state = self.table.state(block);
                // With the links of both directions right, and as many runs as the list has by its count, no run is in it twice.
                if !state.is_buddy_of(order) || state.previous() != previous || !zone.has(block, order) {
                    return Err(Invalid::List { block: block.first_frame(), order });
                }
                previous = Some(block);
                length += 1;
            }
            let counted = locked.buddy.runs_of(order);
            let states = free[usize::from(order.get())];
            if length != counted || states != counted {
                return Err(Invalid::Runs { order, states, list: length, counted });
            }
        }
        Ok(())
    }

    fn validate_frames(&self, block: BlockNumber, state: State) -> Result<(), Invalid> {
        let first = block.first_frame();
        let words = self.table.bitmap(block).load();
        let bits = count_ones(&words);
        if bits != state.free() {
            return Err(Invalid::Count { block: first, bits, free: state.free() });
        }
        if state.free() == FRAMES_PER_BLOCK && !state.is_reserved() {
            return Err(Invalid::Stranded { block: first });
        }
        let largest = self.table.bitmap(block).largest();
        let is_marked = self.table.is_marked_available(block, largest);
        if state.is_offered() && (largest > state.largest() || !is_marked) {
            return Err(Invalid::NotInSummary { block: first });
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
}

fn count_ones(words: &[u64; WORDS]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}
