//! Frees through a magazine: the hot path, the flush behind it, runs and blocks.

use super::magazine::{BATCH, CAPACITY, Full, Magazine};
use crate::memory::frames::allocator::Frames;
use crate::memory::frames::bitmap::WORD_BITS;
use crate::memory::frames::error::FreeError;
#[cfg(feature = "faults")]
use crate::memory::frames::faults;
use crate::memory::frames::free::place;
use crate::memory::frames::number::{FrameNumber, Order};
use crate::memory::frames::state::{Kind, State};

/// A flush ends at the end of a bitmap word, once it has moved this many frames. To leave a part of a word in the magazine would cost
/// one more operation now, and one at each later flush and refill. It is more than a batch, so that few frames remain to be moved
/// down; the next flush is then further away, and the next refill leaves half of the magazine empty as always.
const ENOUGH: usize = BATCH + 1;

const _: () = assert!(ENOUGH + WORD_BITS <= CAPACITY + 1);

impl Frames {
    /// Whether every free of a single frame is checked at once: in debug builds. Otherwise it is checked when the frame returns to the
    /// table.
    pub(crate) const CHECKS_EACH_FREE: bool = cfg!(debug_assertions);

    /// Whether a run is cached before [`free_run`](Self::free_run) is called, if it is to be: in release builds of the kernel.
    const HAS_FAST_PATH: bool = cfg!(target_os = "none") && !Self::CHECKS_EACH_FREE;

    /// Frees a run of `order`: an allocated run, or an aligned part of one.
    ///
    /// **Context:** thread or interrupt context, interrupts disabled.
    ///
    /// # Errors
    /// [`FreeError`]. Nothing has changed then, except that the other frames of a flush are free. In release builds the error of a
    /// single frame may come from a later call, the one that flushes the magazine; it names the frame.
    #[inline(always)]
    pub(crate) fn free(
        &self,
        magazine: &Magazine,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        if order != Order::FRAME {
            return self.free_many(magazine, frame, order);
        }
        if Self::CHECKS_EACH_FREE {
            self.check(magazine, frame)?;
        }
        match magazine.push(frame) {
            Ok(()) => Ok(()),
            Err(Full) => self.flush(magazine, frame),
        }
    }

    /// Frees single frames.
    ///
    /// **Context:** as for [`free`](Self::free).
    ///
    /// # Errors
    /// The first error. All frames without an error are free.
    pub(crate) fn free_bulk(&self, magazine: &Magazine, frames: &[FrameNumber]) -> Result<(), FreeError> {
        let small = frames.len() <= BATCH / 2;
        if Self::CHECKS_EACH_FREE && small {
            // One by one: each may be wrong, also because of one before it.
            let mut result = Ok(());
            for &frame in frames {
                result = result.and(self.free(magazine, frame, Order::FRAME));
            }
            return result;
        }
        if small && magazine.push_many(frames).is_ok() { Ok(()) } else { self.return_singles(frames) }
    }

    /// Returns all cached frames and runs to the shared allocator, and releases the reserved blocks.
    ///
    /// **Context:** as for [`free`](Self::free).
    ///
    /// # Errors
    /// The first error. The magazine is empty nevertheless.
    pub(crate) fn drain(&self, magazine: &Magazine) -> Result<(), FreeError> {
        magazine.transfer_seq.begin();
        // SAFETY: `return_singles` has no access to the magazine, and the view ends with the call.
        let mut result = self.return_singles(unsafe { magazine.view() });
        magazine.drop_oldest(magazine.len());
        for (frame, order) in magazine.run_cache.take_all() {
            result = result.and(self.return_run(frame, order));
        }
        self.release_all(&magazine.hint);
        magazine.hint.reset();
        magazine.transfer_seq.end();
        result
    }

    /// Flushes a full magazine, and puts the frame in.
    #[cold]
    #[inline(never)]
    fn flush(&self, magazine: &Magazine, frame: FrameNumber) -> Result<(), FreeError> {
        magazine.transfer_seq.begin();
        // SAFETY: `return_singles_at_least` has no access to the magazine, and the view ends with the call.
        let batch = unsafe { magazine.view() };
        #[cfg(feature = "faults")]
        let all = batch.len();
        #[cfg(feature = "faults")]
        let batch = faults::before_flush(batch);
        let (flushed, result) = self.return_singles_at_least(batch, ENOUGH);
        // Fault injection: the frames that were left out are leaked.
        #[cfg(feature = "faults")]
        let flushed = flushed + (all - batch.len());
        magazine.drop_oldest(flushed);
        magazine.transfer_seq.end();
        result.and(magazine.push(frame).map_err(|Full| unreachable!("there is room for a batch")))
    }

    /// Debug builds: checks that this frame is not free already.
    fn check(&self, magazine: &Magazine, frame: FrameNumber) -> Result<(), FreeError> {
        let block = frame.block();
        let state = self.table.state(block);
        let state = match state.kind() {
            Kind::Frames => state,
            // Under the lock, because another CPU may be splitting the run of the block.
            _ => {
                let _locked = self.zone_lock(block).lock();
                self.run_of(block).map_or(State::BLANK, |(_, state)| state)
            }
        };
        let (word, bit) = place(frame);
        let free = match state.kind() {
            Kind::Blank | Kind::Corrupt => return Err(FreeError::NotManaged { frame }),
            Kind::Buddy | Kind::Transit | Kind::Cached => true,
            Kind::Huge => false,
            Kind::Frames if self.foreign(state, word, bit) != 0 => {
                return Err(FreeError::NotManaged { frame });
            }
            Kind::Frames => self.table.bitmap(frame.block()).word(word) & bit != 0,
        };
        if free { Err(self.double_free(frame, 1)) } else { self.check_cached(magazine, frame, Order::FRAME) }
    }

    /// Debug builds: checks that this CPU caches no frame of the run, which would be free already.
    pub(super) fn check_cached(
        &self,
        magazine: &Magazine,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        let is_cached = |run, order| self.is_still_cached(run, order);
        magazine.lowest_of(frame, order, is_cached).map_or(Ok(()), |frame| Err(self.double_free(frame, 1)))
    }

    /// Whether a run of the run cache is still there: another CPU may have taken one of whole blocks.
    #[inline(always)]
    fn is_still_cached(&self, run: FrameNumber, order: Order) -> bool {
        order < Order::BLOCK || self.is_cached(run, order)
    }

    /// Orders 1 and above.
    #[inline(always)]
    pub(super) fn free_many(
        &self,
        magazine: &Magazine,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        if order < Order::BLOCK {
            self.free_run(magazine, frame, order)
        } else {
            self.free_blocks(magazine, frame, order)
        }
    }

    /// Checks a free of order 1 or above before anything changes.
    #[inline(always)]
    fn check_free(&self, magazine: &Magazine, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        if !frame.is_aligned_to(order) {
            return Err(FreeError::Misaligned { frame, order });
        }
        if Self::CHECKS_EACH_FREE {
            self.check_cached(magazine, frame, order)?;
        }
        Ok(())
    }

    /// [`free`](Self::free) for orders 1 to 8: a run of bits in one block.
    ///
    /// # Errors
    /// [`FreeError`]. Nothing has changed then, as far as the error was found before the first change.
    #[inline(always)]
    pub(crate) fn free_run(
        &self,
        magazine: &Magazine,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        self.check_free(magazine, frame, order)?;
        if magazine.run_cache.has(frame, order) {
            #[cfg(feature = "faults")]
            if faults::is_armed(faults::FrameFault::AcceptDoubleFree) {
                return self.return_run(frame, order);
            }
            return Err(self.double_free(frame, 1));
        }
        if !Self::HAS_FAST_PATH
            && magazine.hint.reserved(order).block.get() == Some(frame.block())
            && let Some(place) = magazine.run_cache.room(order)
            && self.is_in_use(frame, order, order.frames().div_ceil(WORD_BITS))
        {
            place.set(frame);
            return Ok(());
        }
        self.return_run(frame, order)
    }

    /// [`free`](Self::free) for orders 9 and above.
    ///
    /// # Errors
    /// [`FreeError`]; nothing has changed then.
    #[inline(always)]
    pub(crate) fn free_blocks(
        &self,
        magazine: &Magazine,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        self.check_free(magazine, frame, order)?;
        if let Some(place) = magazine.run_cache.room_unless(order, |run| self.is_still_cached(run, order))
            && self.cache_blocks(frame.block(), order)
        {
            place.set(frame);
            return Ok(());
        }
        self.free_blocks_to_buddy(frame, order)
    }
}
