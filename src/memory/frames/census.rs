//! Counting and checking: how much is free, in what pieces, and whether the allocator's books agree with each other.
//!
//! All of it walks the table. While other CPUs allocate, the counts are close; at quiescence they are exact.

use super::bitmap::{WORD_BITS, WORDS, maximal_runs};
use super::number::{BlockNumber, FRAMES_PER_BLOCK, ORDERS, Order};
use super::state::{Kind, State};
use super::sync::Ordering;
use super::{Frames, Invalid, Locked};

impl Frames {
    /// How many frames the allocator was given.
    pub fn total_frames(&self) -> usize {
        self.counters.inserted_frames.load(Ordering::Relaxed)
    }

    /// How many frames are free in the table and the buddy. Those that CPUs keep are not counted.
    pub fn free_frames(&self) -> usize {
        self.table
            .all()
            .map(|block| {
                let state = self.table.state(block);
                match state.kind() {
                    Kind::Buddy | Kind::Transit => FRAMES_PER_BLOCK,
                    Kind::Frames => state.free(),
                    Kind::Absent | Kind::Huge | Kind::Kept | Kind::Corrupt => 0,
                }
            })
            .sum()
    }

    /// Free frames by the largest order at which they could be handed out: the report on fragmentation. The sum is
    /// [`free_frames`](Self::free_frames).
    pub fn free_by_order(&self) -> [usize; ORDERS] {
        let mut frames = [0; ORDERS];
        let mut count = |lowest: Order, words: &[u64; WORDS]| {
            for (step, runs) in maximal_runs(words).iter().enumerate() {
                let order = lowest.get() as usize + step;
                frames[order] += runs << order;
            }
        };
        // A gigabyte is to a block what a block is to a frame: 512 bits.
        for gigabyte in (0..self.table.blocks()).step_by(WORDS * WORD_BITS) {
            let mut in_buddy = [0; WORDS];
            for index in 0..WORDS * WORD_BITS {
                let block = BlockNumber(gigabyte + index);
                match self.table.state(block).kind() {
                    Kind::Buddy => in_buddy[index / WORD_BITS] |= 1 << (index % WORD_BITS),
                    Kind::Frames => count(Order::FRAME, &self.table.bitmap(block).load()),
                    Kind::Absent | Kind::Transit | Kind::Huge | Kind::Kept | Kind::Corrupt => {}
                }
            }
            count(Order::BLOCK, &in_buddy);
        }
        frames
    }

    /// Checks every rule that ties states, bitmaps, masks and the buddy together.
    ///
    /// Only at quiescence: no other CPU is in a call on this allocator. Interrupts are off. Holds the lock throughout, and
    /// takes the buddy apart to see what is in it.
    ///
    /// # Errors
    /// The first rule found broken, with the block. If it was one about the buddy, what else is in there may be lost.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut locked = self.locked.lock();
        let mut managed = 0;
        for block in self.table.all() {
            managed += self.validate_block(block)?;
        }
        let inserted = self.total_frames();
        if managed != inserted {
            return Err(Invalid::Total { states: managed, inserted });
        }
        self.validate_buddy(&mut locked)
    }

    /// Checks one block by itself; how many frames of it are managed.
    fn validate_block(&self, block: BlockNumber) -> Result<usize, Invalid> {
        let state = self.table.state(block);
        let first = block.first_frame();
        match state.kind() {
            Kind::Absent => Ok(0),
            // Whose it is when it is kept, only that CPU's reserve could say.
            Kind::Buddy | Kind::Kept => Ok(FRAMES_PER_BLOCK),
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
        if state.free() > 0 && !self.table.is_noted(block) {
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

    /// Takes everything out of the buddy and compares it with the states, then puts it back as it was.
    fn validate_buddy(&self, locked: &mut Locked) -> Result<(), Invalid> {
        let counted = locked.buddy.free_bytes();
        let taken = self.empty_buddy(locked);
        let mut result = taken.map(|_| ());
        let mut at = 0;
        while at < self.table.blocks() {
            let block = BlockNumber(at);
            let state = self.table.state(block);
            at += 1;
            match (state.kind(), state.order()) {
                (Kind::Transit, Some(order)) => {
                    self.table.mark(block, order.blocks(), State::BUDDY);
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
        let held = taken?;
        result?;
        if held == counted { Ok(()) } else { Err(Invalid::BuddyBytes { held, counted }) }
    }

    /// Takes piece after piece out of the buddy and marks it as in transit; how many bytes they were. Largest first, so
    /// that none is split. Stops at the first that should not have been in there, since lists that hold a block twice
    /// may have no end.
    fn empty_buddy(&self, locked: &mut Locked) -> Result<usize, Invalid> {
        let mut bytes = 0;
        for order in (Order::BLOCK.get()..=Order::MAX.get()).rev().filter_map(Order::new) {
            while let Some(block) = locked.buddy.take(order) {
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
