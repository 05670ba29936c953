//! Frees of more than one frame: runs, blocks, and parts of blocks.

use super::allocator::Frames;
use super::bitmap::WORD_BITS;
use super::error::FreeError;
#[cfg(feature = "faults")]
use super::faults;
use super::free::{lowest, place};
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::state::{self, Kind, State};
use super::zones::LockedZone;

impl Frames {
    /// Whether every frame of an aligned run of order 1 to 8, which has bits in so many words, is one of those that the
    /// table deals out, and is taken.
    #[inline(always)]
    pub(in crate::memory) fn is_in_use(&self, frame: FrameNumber, order: Order, words: usize) -> bool {
        let block = frame.block();
        let state = self.table.state(block);
        if state.kind() != Kind::Frames {
            return false;
        }
        let (first, mask) = bits_of(frame, order);
        let is_taken =
            |word| self.table.unmanaged(state, word, mask) | self.table.bitmap(block).word(word) & mask == 0;
        is_taken(first) && (words == 1 || (first + 1..first + words).all(is_taken))
    }

    /// Returns an aligned run to the table, or a block that was kept to the buddy.
    #[inline(never)]
    pub(in crate::memory) fn return_run(&self, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        if order == Order::BLOCK {
            // SAFETY: no CPU but the one that keeps a block makes anything of it, and here that one ends it.
            unsafe { self.return_to_buddy(&mut self.locked(frame.block()).lock(), frame.block(), order) };
            return Ok(());
        }
        let block = frame.block();
        let state = self.table.state(block);
        if order.frames() < WORD_BITS && state.kind() == Kind::Frames {
            // Nearly always: one word, and nothing wrong.
            let (word, mask) = bits_of(frame, order);
            if self.foreign(state, word, mask) == 0 && self.table.bitmap(block).set_if_clear(word, mask) {
                self.put(block, order.frames());
                return Ok(());
            }
        }
        self.return_run_slow(frame, order)
    }

    /// [`return_run`](Self::return_run) for runs of several words, blocks that were handed out whole, and whatever is
    /// wrong.
    #[cold]
    #[inline(never)]
    fn return_run_slow(&self, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        let state = self.admit(frame)?;
        let (_, mask) = bits_of(frame, order);
        let words = (0..order.frames().div_ceil(WORD_BITS)).map(|step| frame + step * WORD_BITS);
        for frame in words.clone() {
            let (word, _) = place(frame);
            let foreign = self.foreign(state, word, mask);
            if foreign != 0 {
                return Err(FreeError::NotManaged { frame: lowest(frame, foreign) });
            }
            let doubled = self.table.bitmap(frame.block()).word(word) & mask;
            #[cfg(feature = "faults")]
            let doubled = if faults::is_armed(faults::Fault::AcceptDoubleFree) { 0 } else { doubled };
            if doubled != 0 {
                return Err(self.double_free(lowest(frame, doubled), 1));
            }
        }
        let mut count = 0;
        let mut result = Ok(());
        for frame in words {
            let (newly_free, outcome) = self.set_bits(state, frame, mask);
            count += newly_free;
            result = result.and(outcome);
        }
        self.put(frame.block(), count);
        result
    }

    /// Makes a block that was handed out as one this CPU's own. Of several that try at once, one succeeds.
    #[inline(always)]
    pub(in crate::memory) fn cache_block(&self, block: BlockNumber) -> bool {
        // Looked at first, since the block may be past the end.
        self.table.state(block).cache().is_some()
            && state::update(self.table.cell(block), State::cache).is_some()
    }

    /// [`free_blocks`](Self::free_blocks) past the magazine.
    #[inline(never)]
    pub(in crate::memory) fn free_blocks_to_buddy(
        &self,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        let block = frame.block();
        let mut locked = self.locked(block).lock();
        let state = self.table.state(block);
        let allocated = match state.kind() {
            Kind::Huge => state.order().unwrap_or(Order::FRAME),
            Kind::Frames => Order::BLOCK.half(),
            Kind::Buddy | Kind::Transit | Kind::Cached => return Err(self.double_free(frame, 1)),
            Kind::Absent | Kind::Corrupt => return Err(FreeError::NotManaged { frame }),
        };
        #[cfg(feature = "faults")]
        let allocated = match faults::is_armed(faults::Fault::AcceptWrongOrder) {
            true => allocated.max(order),
            false => allocated,
        };
        if allocated < order {
            return Err(FreeError::WrongOrder { frame, given: order, at_most: allocated });
        }
        if allocated > order {
            self.split_huge(&mut locked, block, allocated, order);
        } else if order == Order::BLOCK && !self.cache_block(block) {
            // Another CPU has freed it since: it needs no lock to keep one.
            return Err(self.double_free(frame, 1));
        }
        // SAFETY: the states say, under the lock that changes them, that these blocks were handed out as one; the caller
        // gives them back, and from here on nobody else can.
        unsafe { self.return_to_buddy(&mut locked, block, order) };
        Ok(())
    }

    /// Turns a block that was handed out whole, or as part of a larger run, into 512 frames in use.
    #[cold]
    pub(in crate::memory) fn split_to_frames(&self, block: BlockNumber) {
        let mut locked = self.locked(block).lock();
        let state = self.table.state(block);
        // Another CPU may have freed a part of the same block a moment ago.
        if let (Kind::Huge, Some(order)) = (state.kind(), state.order()) {
            self.split_huge(&mut locked, block, order, Order::BLOCK);
            self.table.bitmap(block).reset_to_free_from(FRAMES_PER_BLOCK);
            // Refused if another CPU has freed the whole block meanwhile, without the lock: the caller looks again.
            let _ = state::update(self.table.cell(block), State::split);
        }
    }

    /// Breaks a run of blocks handed out at order `from` into the piece of order `to` around `block`, whose states are the
    /// caller's to set, and around it the largest pieces that the rest gives.
    #[cold]
    #[inline(never)]
    fn split_huge(&self, _: &mut LockedZone, block: BlockNumber, from: Order, to: Order) {
        let mut order = from;
        while order > to {
            order = order.half();
            self.table.mark(block.head(order).buddy(order), order.blocks(), State::huge(order));
        }
    }
}

/// The first word of its block's bitmap that an aligned run of order 1 to 8 has bits in, and which: in each word, if there
/// are several.
#[inline(always)]
fn bits_of(frame: FrameNumber, order: Order) -> (usize, u64) {
    let all = u64::MAX >> (WORD_BITS - order.frames().min(WORD_BITS));
    (frame.index_in_block() / WORD_BITS, all << (frame.get() % WORD_BITS))
}
