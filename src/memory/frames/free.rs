//! Freeing single frames: the hot path and the flush behind it. Runs and blocks are in `free_many`.
//!
//! A frame's bit says that it is free, so a double free shows when bits are set, at no cost: `fetch_or` returns those
//! that were set before. What is wrong is reported and left as it was; what came along with it is freed.

use super::bitmap::WORD_BITS;
use super::magazine::{BATCH, CAPACITY, Full, Magazine};
use super::number::{BlockNumber, FrameNumber, Order};
use super::state::{self, Kind, State};
use super::sync::Ordering;
use super::{Frames, FreeError};

/// A flush ends where a word of a bitmap does, once this many frames have gone: to leave a part of a word behind would
/// cost an operation more now, and one at each later flush and refill.
const ENOUGH: usize = BATCH * 3 / 4;

const _: () = assert!(ENOUGH + WORD_BITS <= CAPACITY);

impl Frames {
    /// Whether every free of a single frame is checked at once. Otherwise it is when the frame gets back to the table.
    pub const CHECKS_EACH_FREE: bool = cfg!(debug_assertions);

    /// Frees a run of `order`: as it was allocated, or an aligned part of it.
    ///
    /// Interrupts are off; not from NMIs. In release builds the error of a single frame may come from a later call, the
    /// one that flushes the magazine; it names the frame.
    ///
    /// # Errors
    /// What was wrong with the frame. Nothing has changed then, except that with a flush the other frames of the batch are
    /// free.
    #[inline(always)]
    pub fn free(&self, magazine: &Magazine, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
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
    /// Interrupts are off; not from NMIs.
    ///
    /// # Errors
    /// The first thing that was wrong; what was not is free.
    pub fn free_bulk(&self, magazine: &Magazine, frames: &[FrameNumber]) -> Result<(), FreeError> {
        let small = frames.len() <= BATCH / 2;
        if Self::CHECKS_EACH_FREE && small {
            // One by one, since each may be wrong, and may be so because of one before it.
            let mut result = Ok(());
            for &frame in frames {
                result = result.and(self.free(magazine, frame, Order::FRAME));
            }
            return result;
        }
        if small && magazine.push_many(frames).is_ok() { Ok(()) } else { self.give_back(frames) }
    }

    /// Returns all that the magazine has to the table, and the block that it holds.
    ///
    /// Interrupts are off; not from NMIs.
    ///
    /// # Errors
    /// As for [`free_bulk`](Self::free_bulk): the magazine is empty all the same.
    pub fn drain(&self, magazine: &Magazine) -> Result<(), FreeError> {
        magazine.moves.begin();
        // SAFETY: `give_back` does not have the magazine, and the view is not used beyond.
        let mut result = self.give_back(unsafe { magazine.view() });
        magazine.drop_oldest(magazine.len());
        for (frame, order) in magazine.reserve.take_all() {
            result = result.and(self.give_back_run(frame, order));
        }
        self.release(&magazine.hint);
        magazine.hint.reset();
        magazine.moves.end();
        result
    }

    /// Makes room in a full magazine, and puts the frame in.
    #[cold]
    #[inline(never)]
    fn flush(&self, magazine: &Magazine, frame: FrameNumber) -> Result<(), FreeError> {
        magazine.moves.begin();
        // SAFETY: `give_back_at_least` does not have the magazine, and the view is not used beyond.
        let batch = unsafe { magazine.view() };
        #[cfg(feature = "faults")]
        let batch = super::faults::before_flush(&batch[..BATCH]);
        let (flushed, result) = self.give_back_at_least(batch, ENOUGH);
        // What the deliberate fault has left out is to be lost.
        #[cfg(feature = "faults")]
        let flushed = flushed + (BATCH - batch.len());
        magazine.drop_oldest(flushed);
        magazine.moves.end();
        result.and(magazine.push(frame).map_err(|Full| unreachable!("there is room for a batch")))
    }

    /// Checked builds: whether this frame can be free already.
    fn check(&self, magazine: &Magazine, frame: FrameNumber) -> Result<(), FreeError> {
        let state = self.table.state(frame.block());
        let (word, bit) = place(frame);
        let free = match state.kind() {
            Kind::Absent | Kind::Corrupt => return Err(FreeError::NotManaged { frame }),
            Kind::Buddy | Kind::Transit | Kind::Kept => true,
            Kind::Huge => false,
            Kind::Frames if self.foreign(state, word, bit) != 0 => {
                return Err(FreeError::NotManaged { frame });
            }
            Kind::Frames => self.table.bitmap(frame.block()).word(word) & bit != 0,
        };
        if free { Err(self.double_free(frame, 1)) } else { self.check_kept(magazine, frame, Order::FRAME) }
    }

    /// Checked builds: whether this CPU keeps a frame of the run, and so has it free already.
    pub(super) fn check_kept(
        &self,
        magazine: &Magazine,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        magazine.lowest_of(frame, order).map_or(Ok(()), |frame| Err(self.double_free(frame, 1)))
    }

    /// Returns single frames to the table.
    pub(super) fn give_back(&self, frames: &[FrameNumber]) -> Result<(), FreeError> {
        self.give_back_at_least(frames, frames.len()).1
    }

    /// Returns so many of these single frames to the table, and those behind them that lie in the same word; how many.
    /// Neighbours in the list that lie in one word take one operation on it, and those in one block one on its state.
    fn give_back_at_least(&self, frames: &[FrameNumber], least: usize) -> (usize, Result<(), FreeError>) {
        let mut result = Ok(());
        let mut rest = frames;
        let enough = |rest: &[FrameNumber]| frames.len() - rest.len() >= least;
        while let Some(&first) = rest.first().filter(|_| !enough(rest)) {
            let block = first.block();
            let state = match self.admit(first) {
                Ok(state) => state,
                Err(error) => {
                    result = result.and(Err(error));
                    rest = &rest[1..];
                    continue;
                }
            };
            let mut count = 0;
            while let Some((run, mask, after)) = split_word(rest, block) {
                match self.set_bits(state, run[0], mask) {
                    (newly_free, Ok(())) if newly_free == run.len() => count += newly_free,
                    (newly_free, outcome) => {
                        count += newly_free;
                        result = result.and(self.what_was_wrong(outcome, run, mask));
                    }
                }
                rest = after;
                if enough(rest) {
                    break;
                }
            }
            self.put(block, count);
        }
        (frames.len() - rest.len(), result)
    }

    /// The state of a frame's block if the frame can be in use. A block that was handed out whole is opened up, so that
    /// parts of it can be freed.
    #[inline(always)]
    pub(super) fn admit(&self, frame: FrameNumber) -> Result<State, FreeError> {
        let state = self.table.state(frame.block());
        if state.kind() == Kind::Frames { Ok(state) } else { self.admit_other(frame) }
    }

    /// [`admit`](Self::admit) where the block is not dealt out by its bitmap, which is rare.
    #[cold]
    #[inline(never)]
    fn admit_other(&self, frame: FrameNumber) -> Result<State, FreeError> {
        let block = frame.block();
        loop {
            let state = self.table.state(block);
            match state.kind() {
                Kind::Frames => return Ok(state),
                Kind::Huge => self.open_up(block),
                // A block on its way, or kept as a whole, has nobody's frames in it.
                Kind::Buddy | Kind::Transit | Kind::Kept => return Err(self.double_free(frame, 1)),
                Kind::Absent | Kind::Corrupt => return Err(FreeError::NotManaged { frame }),
            }
        }
    }

    /// Which of these bits stand for frames that the allocator was never given.
    #[inline(always)]
    pub(super) fn foreign(&self, state: State, word: usize, bits: u64) -> u64 {
        #[cfg(feature = "faults")]
        if super::faults::is_armed(super::faults::Fault::AcceptForeign) {
            return 0;
        }
        self.table.unmanaged(state, word, bits)
    }

    /// Sets bits in the word of the bitmap that `frame` lies in: how many frames are free now that were not, which the
    /// caller has to [`put`](Self::put), and what was wrong with others.
    #[inline(always)]
    pub(super) fn set_bits(
        &self,
        state: State,
        frame: FrameNumber,
        mask: u64,
    ) -> (usize, Result<(), FreeError>) {
        let (word, _) = place(frame);
        let foreign = self.foreign(state, word, mask);
        let mask = mask & !foreign;
        let doubled = self.table.bitmap(frame.block()).set(word, mask);
        #[cfg(feature = "faults")]
        let doubled =
            if super::faults::is_armed(super::faults::Fault::AcceptDoubleFree) { 0 } else { doubled };
        if foreign | doubled == 0 {
            return (count(mask), Ok(()));
        }
        let result = if foreign != 0 {
            Err(FreeError::NotManaged { frame: lowest(frame, foreign) })
        } else if doubled != 0 {
            Err(self.double_free(lowest(frame, doubled), doubled.count_ones() as usize))
        } else {
            Ok(())
        };
        ((mask & !doubled).count_ones() as usize, result)
    }

    /// Counts frames whose bits this CPU has set.
    #[inline(always)]
    pub(super) fn put(&self, block: BlockNumber, count: usize) {
        #[cfg(feature = "faults")]
        let count = if count > 0 { super::faults::counted(count) } else { 0 };
        if count > 0 {
            let change = state::update(self.table.cell(block), |state| state.put(count));
            debug_assert!(change.is_some(), "more frames freed than managed in {block:?}");
            self.settle(block, change);
        }
    }

    /// What follows from a change of a block's state that may have raised its count or ended its hold.
    #[inline(always)]
    pub(super) fn settle(&self, block: BlockNumber, change: Option<(State, State)>) {
        match change {
            #[cfg(feature = "faults")]
            Some((_, new))
                if new.kind() == Kind::Transit
                    && super::faults::strikes_block(super::faults::Fault::Strand) =>
            {
                state::store(self.table.cell(block), State::whole(super::FRAMES_PER_BLOCK));
            }
            Some((_, new)) if new.kind() == Kind::Transit => self.retire(block),
            Some((old, new)) if new.is_offered() && !old.is_offered() => self.table.note_free(block),
            _ => {}
        }
    }

    #[cold]
    pub(super) fn double_free(&self, frame: FrameNumber, times: usize) -> FreeError {
        self.counters.double_frees.fetch_add(times, Ordering::Relaxed);
        FreeError::DoubleFree { frame }
    }

    /// What is wrong with frames of one word of which fewer were freed than are in the list.
    #[cold]
    fn what_was_wrong(
        &self,
        outcome: Result<(), FreeError>,
        run: &[FrameNumber],
        mask: u64,
    ) -> Result<(), FreeError> {
        let twice = mask.count_ones() as usize != run.len();
        outcome.and(if twice { Err(self.listed_twice(run)) } else { Ok(()) })
    }

    /// The error for frames of one word of which some are in the list more than once.
    #[cold]
    fn listed_twice(&self, run: &[FrameNumber]) -> FreeError {
        let mut twice = run.iter().enumerate().filter(|&(index, frame)| run[..index].contains(frame));
        let first = twice.next().map_or(run[0], |(_, &frame)| frame);
        self.double_free(first, 1 + twice.count())
    }
}

/// How many bits are set. A whole word is the rule, and without POPCNT counting takes twenty instructions.
#[inline(always)]
fn count(bits: u64) -> usize {
    if bits == u64::MAX { WORD_BITS } else { bits.count_ones() as usize }
}

/// The word of its block's bitmap that a frame lies in, and its bit there.
#[inline(always)]
pub(super) fn place(frame: FrameNumber) -> (usize, u64) {
    (frame.index_in_block() / WORD_BITS, 1 << (frame.get() % WORD_BITS))
}

/// The frame of the lowest of these bits, in the same word as `frame`.
pub(super) fn lowest(frame: FrameNumber, bits: u64) -> FrameNumber {
    FrameNumber::new(frame.get() & !(WORD_BITS - 1)) + bits.trailing_zeros() as usize
}

/// Whether these frames follow one another. Spelled out: where code is to be small, a loop of eight rounds stays one.
#[inline(always)]
fn ascends(&[a, b, c, d, e, f, g, h]: &[FrameNumber; 8]) -> bool {
    let differs = |frame: FrameNumber, by: usize| frame.get() ^ (a + by).get();
    let first_half = differs(b, 1) | differs(c, 2) | differs(d, 3);
    first_half | differs(e, 4) | differs(f, 5) | differs(g, 6) | differs(h, 7) == 0
}

/// Splits off the frames at the start of the list that lie in one word of this block's bitmap, with their bits.
#[inline(always)]
fn split_word(frames: &[FrameNumber], block: BlockNumber) -> Option<(&[FrameNumber], u64, &[FrameNumber])> {
    let base = frames.first().filter(|frame| frame.block() == block)?.get() & !(WORD_BITS - 1);
    let bit = |frame: &FrameNumber| frame.get() ^ base;
    let (mut mask, mut length) = (0, 0);
    // A magazine's frames mostly follow one another, since they were taken so: eight of them make a byte of the word.
    let (chunks, _) = frames.as_chunks::<8>();
    for chunk in chunks {
        let first = bit(&chunk[0]);
        if first > WORD_BITS - 8 || !ascends(chunk) {
            break;
        }
        mask |= 0xff << first;
        length += chunk.len();
    }
    for bit in frames[length..].iter().map(bit).take_while(|&bit| bit < WORD_BITS) {
        mask |= 1 << bit;
        length += 1;
    }
    let (run, after) = frames.split_at(length);
    Some((run, mask, after))
}
