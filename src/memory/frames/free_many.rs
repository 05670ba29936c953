//! Freeing more than a frame at once: runs, blocks, and parts of blocks.

use super::bitmap::WORD_BITS;
use super::free::{lowest, place};
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::state::{Kind, State};
use super::{Frames, FreeError, Locked};

impl Frames {
    /// Orders 1 and above.
    #[inline(always)]
    pub(super) fn free_many(&self, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        if order < Order::BLOCK { self.free_run(frame, order) } else { self.free_blocks(frame, order) }
    }

    /// Orders 1 to 8, a run of bits in one block, otherwise as [`free`](Self::free). Interrupts are off.
    ///
    /// # Errors
    /// What was wrong. Nothing has changed then, as far as it could be seen beforehand.
    #[inline(always)]
    pub fn free_run(&self, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        if !frame.is_aligned_to(order) {
            return Err(FreeError::Misaligned { frame, order });
        }
        let block = frame.block();
        let state = self.table.state(block);
        if order.frames() < WORD_BITS && state.kind() == Kind::Frames {
            // Nearly always: one word, and nothing wrong.
            let (word, bit) = place(frame);
            let mask = (bit << order.frames()).wrapping_sub(bit);
            if self.table.unmanaged(state, word, mask) == 0
                && self.table.bitmap(block).set_if_clear(word, mask)
            {
                self.put(block, order.frames());
                return Ok(());
            }
        }
        self.free_run_with_care(frame, order)
    }

    /// [`free_run`](Self::free_run) for runs of several words, blocks that were handed out whole, and whatever is
    /// wrong.
    #[cold]
    #[inline(never)]
    fn free_run_with_care(&self, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        let state = self.admit(frame)?;
        let bits = order.frames().min(WORD_BITS);
        let words = (0..order.frames() / bits).map(|step| frame + step * WORD_BITS);
        let mask = (u64::MAX >> (WORD_BITS - bits)) << (frame.get() % WORD_BITS);
        for frame in words.clone() {
            let (word, _) = place(frame);
            let foreign = self.table.unmanaged(state, word, mask);
            if foreign != 0 {
                return Err(FreeError::NotManaged { frame: lowest(frame, foreign) });
            }
            let doubled = self.table.bitmap(frame.block()).word(word) & mask;
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

    /// Order 9 and above, otherwise as [`free`](Self::free). Interrupts are off.
    ///
    /// # Errors
    /// What was wrong; nothing has changed then.
    #[inline(always)]
    pub fn free_blocks(&self, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        if !frame.is_aligned_to(order) {
            return Err(FreeError::Misaligned { frame, order });
        }
        let block = frame.block();
        let mut locked = self.locked.lock();
        let state = self.table.state(block);
        let allocated = match state.kind() {
            Kind::Huge => state.order().unwrap_or(Order::FRAME),
            Kind::Frames => Order::BLOCK.half(),
            Kind::Buddy | Kind::Transit => return Err(self.double_free(frame, 1)),
            Kind::Absent | Kind::Corrupt => return Err(FreeError::NotManaged { frame }),
        };
        if allocated < order {
            return Err(FreeError::WrongOrder { frame, given: order, at_most: allocated });
        }
        if allocated > order {
            self.split_huge(&mut locked, block, allocated, order);
        }
        // SAFETY: the states say, under the lock that changes them, that these blocks were handed out as one; the caller
        // gives them back, and from here on nobody else can.
        unsafe { self.give_to_buddy(&mut locked, block, order) };
        Ok(())
    }

    /// Turns a block that was handed out whole, or as part of a larger run, into 512 frames in use.
    #[cold]
    pub(super) fn open_up(&self, block: BlockNumber) {
        let mut locked = self.locked.lock();
        let state = self.table.state(block);
        // Another CPU may have freed a part of the same block a moment ago.
        if let (Kind::Huge, Some(order)) = (state.kind(), state.order()) {
            self.split_huge(&mut locked, block, order, Order::BLOCK);
            self.table.bitmap(block).reset_to_free_from(FRAMES_PER_BLOCK);
            self.table.mark(block, 1, State::whole(0));
        }
    }

    /// Breaks a run of blocks handed out at order `from` into the piece of order `to` around `block`, whose states are the
    /// caller's to set, and around it the largest pieces that the rest gives.
    #[cold]
    #[inline(never)]
    fn split_huge(&self, _: &mut Locked, block: BlockNumber, from: Order, to: Order) {
        let mut order = from;
        while order > to {
            order = order.half();
            self.table.mark(block.head(order).buddy(order), order.blocks(), State::huge(order));
        }
    }
}
