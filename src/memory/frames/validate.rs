//! The consistency check of the allocator's tables against each other.

use super::allocator::Frames;
use super::bitmap::{WORD_BITS, WORDS};
use super::error::Invalid;
use super::number::{BlockNumber, FRAMES_PER_BLOCK, Order};
use super::state::{Kind, State};
use super::zone::{LockedZone, ZoneRef};

impl Frames {
    /// Checks the states, bitmaps, masks, the summary and the buddies against each other.
    ///
    /// **Context:** quiescence: no other CPU calls this allocator. Interrupts disabled. Holds the lock of each zone for a time that grows
    /// with its memory, because it empties and refills the buddy.
    ///
    /// # Errors
    /// The first inconsistency. If it is one of a buddy, other blocks in that buddy may be lost.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        let mut managed = 0;
        for block in BlockNumber::each(self.table.all()) {
            managed += self.validate_block(block)?;
        }
        let inserted = self.total_frames();
        if managed != inserted {
            return Err(Invalid::Total { states: managed, inserted });
        }
        self.all_zones().try_for_each(|(_, place)| self.validate_buddy(place))
    }

    /// Checks one block; how many of its frames are managed.
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
            // Only the run cache of its CPU could say which CPU has cached it.
            Kind::Cached => Ok(FRAMES_PER_BLOCK),
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
        // From the first block only: to check all blocks from each of them would be quadratic.
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
        if state.free() == FRAMES_PER_BLOCK && !state.is_reserved() {
            return Err(Invalid::Stranded { block: first });
        }
        if state.free() > 0 && !state.is_reserved() && !self.table.is_marked_available(block) {
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

    /// Takes everything out of the buddy of a zone, compares it with the states, and puts it back.
    fn validate_buddy(&self, place: ZoneRef<'_>) -> Result<(), Invalid> {
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
                        // SAFETY: `empty_buddy` has taken this run out and marked its order, under the lock that is still held.
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

    /// Whether a run that was taken out of the buddy is the lower half of a larger one whose upper half was in the buddy as well.
    fn is_unmerged(&self, place: ZoneRef<'_>, block: BlockNumber, order: Order) -> bool {
        let other = block.buddy(order);
        order < Order::MAX
            && block < other
            && place.has(other, order)
            && self.table.state(other) == State::transit(order)
    }

    /// Takes all runs out of the buddy and marks them as in transit; how many bytes. Largest first, so that none is split. It stops at the
    /// first run that should not be there, because lists that have a block twice may have no end.
    fn empty_buddy(&self, place: ZoneRef<'_>, locked: &mut LockedZone) -> Result<usize, Invalid> {
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
