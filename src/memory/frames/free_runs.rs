//! The return of runs and blocks, and of parts of blocks, to the block table and the buddies.

use super::allocator::Frames;
use super::bitmap::{WORD_BITS, largest_in};
use super::error::FreeError;
#[cfg(feature = "faults")]
use super::faults;
use super::free::{lowest, place};
use super::gigabyte::Gigabyte;
use super::number::{BlockNumber, FrameNumber, Order};
use super::state::{self, Kind, State};
use super::sync::AtomicU64;
use super::zone::LockedZone;
use core::ops::Range;

/// The result of `Frames::steal_blocks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stolen {
    /// No CPU caches such a run, or another CPU has taken it meanwhile.
    Nothing,
    /// A larger run than that of the order is free now.
    Freed,
    /// This run is allocated.
    Run(FrameNumber),
}

impl Frames {
    /// Whether every frame of an aligned run of order 1 to 8, which has bits in `words` words, is managed and allocated.
    ///
    /// The CPU has reserved the block of the run, so its frames are allocated by its bitmap.
    #[inline(always)]
    pub(in crate::memory) fn is_in_use(&self, frame: FrameNumber, order: Order, words: usize) -> bool {
        let block = frame.block();
        let state = self.table.state(block);
        debug_assert!(state.kind() == Kind::Frames && state.is_reserved());
        let (first, mask) = bits_of(frame, order);
        let bitmap = self.table.bitmap(block);
        // A run of several words is all of them, so the words can be combined.
        let free = (first..first + words).fold(0, |free, word| free | bitmap.word(word)) & mask;
        free == 0 && (state.is_whole() || self.is_managed(state, first..first + words, mask))
    }

    /// Whether these bits in the words of a block that is managed in part stand for managed frames.
    #[cold]
    #[inline(never)]
    fn is_managed(&self, state: State, mut words: Range<usize>, mask: u64) -> bool {
        words.all(|word| self.table.unmanaged(state, word, mask) == 0)
    }

    /// Returns an aligned run to the table, or a cached run of blocks to the buddy.
    #[inline(never)]
    pub(in crate::memory) fn return_run(&self, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        let block = frame.block();
        if order <= Order::WORD
            && let Some(cell) = self.table.cell_within(block)
            && let state = state::load(cell)
            && state.is_whole_unreserved()
        {
            // The typical case: one word, no error.
            let (word, mask) = bits_of(frame, order);
            if let Some(now) = self.table.bitmap(block).set_if_clear(word, mask) {
                let largest = largest_in(now, state.largest().max(order));
                if put_at_once(cell, state, order.frames(), largest) {
                    return Ok(());
                }
                return self.put_run(block, order.frames(), largest);
            }
        }
        self.return_other(frame, order)
    }

    /// [`put`](Self::put) as a function of its own, and the result of its caller.
    #[inline(never)]
    fn put_run(&self, block: BlockNumber, count: usize, largest: Order) -> Result<(), FreeError> {
        self.put(block, count, largest);
        Ok(())
    }

    /// [`return_run`](Self::return_run) for blocks that a CPU has reserved or that are managed in part, and for all that is rare.
    #[inline(never)]
    fn return_other(&self, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        let block = frame.block();
        if order >= Order::BLOCK {
            self.return_cached_blocks(block, order);
            return Ok(());
        }
        let state = self.table.state(block);
        if order <= Order::WORD && state.kind() == Kind::Frames {
            let (word, mask) = bits_of(frame, order);
            if self.foreign(state, word, mask) == 0
                && let Some(now) = self.table.bitmap(block).set_if_clear(word, mask)
            {
                self.put(block, order.frames(), largest_in(now, state.largest().max(order)));
                return Ok(());
            }
        }
        self.return_run_slow(frame, order)
    }

    /// Whether this run of whole blocks is cached by a CPU.
    #[inline(always)]
    pub(in crate::memory) fn is_cached(&self, run: FrameNumber, order: Order) -> bool {
        self.table.state(run.block()) == State::cached(order)
    }

    /// Allocates a cached run of this order, 9 or above, unless another CPU has taken it.
    #[inline(always)]
    pub(in crate::memory) fn uncache_blocks(&self, block: BlockNumber, order: Order) -> bool {
        state::replace(self.table.cell(block), State::cached(order), State::huge(order))
    }

    /// Moves a cached run of whole blocks to the buddy, unless another CPU has taken it; whether it has.
    pub(in crate::memory) fn return_cached_blocks(&self, block: BlockNumber, order: Order) -> bool {
        let is_ours = state::replace(self.table.cell(block), State::cached(order), State::transit(order));
        if is_ours {
            self.return_to_buddy(block, order);
        }
        is_ours
    }

    /// [`return_run`](Self::return_run) for runs of several words, blocks that were allocated as a whole, and all
    /// errors.
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
            let doubled = if faults::is_armed(faults::FrameFault::AcceptDoubleFree) { 0 } else { doubled };
            if doubled != 0 {
                return Err(self.double_free(lowest(frame, doubled), 1));
            }
        }
        let (mut count, mut largest) = (0, state.largest());
        let mut result = Ok(());
        for frame in words {
            let (newly_free, outcome) = self.set_bits(state, frame, mask, &mut largest);
            count += newly_free;
            result = result.and(outcome);
        }
        self.put(frame.block(), count, largest);
        result
    }

    /// Marks an allocated run of this order, 9 or above, as cached. If several CPUs try at once, one succeeds.
    #[inline(always)]
    pub(in crate::memory) fn cache_blocks(&self, block: BlockNumber, order: Order) -> bool {
        self.table.replace(block, State::huge(order), State::cached(order))
    }

    /// Frees a run of order 9 or above to the buddy.
    #[inline(never)]
    pub(in crate::memory) fn free_blocks_to_buddy(
        &self,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        let block = frame.block();
        let (lock, gigabyte) = self.place_of_free(block);
        let mut locked = lock.lock();
        if self.table.replace(block, State::huge(order), State::BLANK) {
            // The typical case: all of an allocation.
            locked.buddy.give(&self.table, gigabyte, block, order);
            return Ok(());
        }
        self.free_part_to_buddy(&mut locked, gigabyte, frame, order)
    }

    /// [`free_blocks_to_buddy`](Self::free_blocks_to_buddy) for a part of an allocation, and for errors.
    #[cold]
    #[inline(never)]
    fn free_part_to_buddy(
        &self,
        locked: &mut LockedZone,
        gigabyte: &'static Gigabyte,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        let block = frame.block();
        let Some((head, state)) = self.run_of(block) else {
            return Err(FreeError::NotManaged { frame });
        };
        let allocated = match state.kind() {
            Kind::Huge => state.order().unwrap_or(Order::FRAME),
            Kind::Frames => Order::BLOCK.half(),
            Kind::Buddy | Kind::Transit | Kind::Cached => return Err(self.double_free(frame, 1)),
            Kind::Blank | Kind::Corrupt => return Err(FreeError::NotManaged { frame }),
        };
        #[cfg(feature = "faults")]
        if allocated < order && faults::is_armed(faults::FrameFault::AcceptWrongOrder) {
            self.table.set(block, State::BLANK);
            locked.buddy.give(&self.table, gigabyte, block, order);
            return Ok(());
        }
        if allocated < order {
            return Err(FreeError::WrongOrder { frame, given: order, at_most: allocated });
        }
        if self.split_run(locked, head, state, block, order).is_none() {
            // Another CPU has freed it meanwhile: caching a run takes no lock.
            return Err(self.double_free(frame, 1));
        }
        locked.buddy.give(&self.table, gigabyte, block, order);
        self.table.set(block, State::BLANK);
        Ok(())
    }

    /// Splits an allocated run around the part of order `to` that begins at `block`. The part is in `Transit` afterwards, the rest are
    /// allocations of the largest possible orders. `None` if another CPU has freed the run meanwhile.
    #[inline(always)]
    pub(in crate::memory) fn split_run(
        &self,
        _: &mut LockedZone,
        head: BlockNumber,
        state: State,
        block: BlockNumber,
        to: Order,
    ) -> Option<()> {
        let mut order = state.order()?;
        if !state::replace(self.table.cell(head), state, State::transit(order)) {
            return None;
        }
        while order > to {
            order = order.half();
            self.table.set(block.head(order).buddy(order), State::huge(order));
        }
        if head != block || state.order() != Some(to) {
            self.table.set(block, State::transit(to));
        }
        Some(())
    }
}

/// Adds frames to the count of a block that was in this state, if that changes nothing else and the state is still the same; whether it
/// has. Most frees of a run are such.
#[inline(always)]
fn put_at_once(cell: &AtomicU64, state: State, count: usize, largest: Order) -> bool {
    #[cfg(feature = "faults")]
    if faults::is_armed(faults::FrameFault::Miscount) {
        return false;
    }
    state.put_alone(count, largest).is_some_and(|new| state::replace(cell, state, new))
}

/// The first bitmap word of an aligned run of order 1 to 8, and its bits there. They are the same in each word of a run of several.
#[inline(always)]
fn bits_of(frame: FrameNumber, order: Order) -> (usize, u64) {
    let all = u64::MAX >> (WORD_BITS - order.frames().min(WORD_BITS));
    (frame.index_in_block() / WORD_BITS, all << (frame.get() % WORD_BITS))
}
