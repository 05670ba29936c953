//! The consistency check of the allocator's tables against each other.

use super::allocator::Frames;
use super::bitmap::{WORD_BITS, WORDS};
use super::block_bits::{BLOCKS, RUN_ORDERS, index_of};
use super::buddy::Buddy;
use super::error::Invalid;
use super::number::{BlockNumber, FRAMES_PER_BLOCK};
use super::state::{Kind, State};
use super::zone::ZoneRef;
use super::zones::parts_by_gigabyte;
use core::ops::Range;

impl Frames {
    /// Checks the states, bitmaps, masks, the summary and the buddies against each other.
    ///
    /// **Context:** quiescence: no other CPU calls this allocator. Interrupts disabled. Takes a time that grows with the memory, and
    /// holds the lock of each zone for a time that grows with its gigabytes.
    ///
    /// # Errors
    /// The first inconsistency.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        let mut managed = 0;
        for (_, zone) in self.all_zones() {
            self.validate_buddy(zone)?;
            for span in zone.spans(self.table.all()) {
                managed += self.validate_span(span)?;
            }
        }
        let inserted = self.total_frames();
        if managed == inserted { Ok(()) } else { Err(Invalid::Total { states: managed, inserted }) }
    }

    /// Checks the blocks of a span; how many of their frames are managed.
    fn validate_span(&self, span: Range<BlockNumber>) -> Result<usize, Invalid> {
        let mut managed = 0;
        let mut block = span.start;
        while block < span.end {
            let (state, first) = (self.table.state(block), block.first_frame());
            let state = match (state, self.free_run_of(block)) {
                (State::BLANK, Some(order)) => State::buddy(order),
                (_, Some(_)) => return Err(Invalid::Run { block: first }),
                (state, None) if state.kind() == Kind::Buddy => {
                    return Err(Invalid::State { block: first, word: state.word() });
                }
                (state, None) => state,
            };
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
                    state.blocks() * FRAMES_PER_BLOCK
                }
            };
            block = BlockNumber(block.0 + state.blocks());
        }
        Ok(managed)
    }

    /// Checks that a run is aligned, ends in its zone, and that its other blocks have blank words, and are free only if it is.
    fn validate_run(&self, head: BlockNumber, state: State, end: BlockNumber) -> Result<(), Invalid> {
        let is_aligned = state.order().is_some_and(|order| head.head(order) == head);
        let after = BlockNumber(head.0 + state.blocks());
        let rest = BlockNumber(head.0 + 1)..after;
        if is_aligned
            && after <= end
            && BlockNumber::each(rest.clone()).all(|block| self.table.state(block) == State::BLANK)
            && (state.kind() == Kind::Buddy || self.first_in_buddy(rest).is_none())
        {
            return Ok(());
        }
        Err(Invalid::Run { block: head.first_frame() })
    }

    /// Checks the lists of a zone against the bits of its free blocks.
    fn validate_buddy(&self, zone: ZoneRef<'_>) -> Result<(), Invalid> {
        let locked = zone.locked.lock();
        let (mut free, mut gigabytes) = (0, [0; RUN_ORDERS]);
        for part in zone.spans(self.table.all()).flat_map(parts_by_gigabyte) {
            let gigabyte = self.place_of(part.start).1;
            let (bits, entry) = (gigabyte.free_now(), gigabyte.entry());
            let (base, first) = (entry.first_block().0, part.start.0 % BLOCKS);
            if let Some(at) = bits.outside(first, first + (part.end.0 - part.start.0)).lowest() {
                return Err(Invalid::Run { block: BlockNumber(base + at).first_frame() });
            }
            let largest = Buddy::orders().rfind(|&order| bits.has_run(order));
            if let Some(order) = largest.filter(|_| largest > entry.largest()) {
                let at = bits.smallest_run(order).map_or(first, |(at, _)| at);
                return Err(Invalid::NotMerged { block: BlockNumber(base + at).first_frame(), order });
            }
            if let Some(order) = entry.largest() {
                if largest < Some(order) {
                    return Err(Invalid::List { block: part.start.first_frame(), order });
                }
                gigabytes[index_of(order)] += 1;
            }
            free += bits.count();
        }
        if free != locked.buddy.free_blocks() {
            return Err(Invalid::FreeBlocks { bits: free, counted: locked.buddy.free_blocks() });
        }
        for order in Buddy::orders() {
            let (mut length, mut previous) = (0, None);
            let entries = gigabytes[index_of(order)];
            for gigabyte in locked.buddy.list(&self.table, order).take(entries + 1) {
                let entry = gigabyte.entry();
                // With the links of both directions right, and as many gigabytes as the entries say, none is in the list twice.
                if entry.largest() != Some(order) || gigabyte.links().previous() != previous {
                    return Err(Invalid::List { block: entry.first_block().first_frame(), order });
                }
                previous = Some(gigabyte.index());
                length += 1;
            }
            if length != entries {
                return Err(Invalid::Gigabytes { order, entries, list: length });
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
