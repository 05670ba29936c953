//! Freeing single frames: the hot path and the flush behind it. Runs and blocks are in `free_many`.
//!
//! A frame's bit says that it is free, so a double free shows when bits are set, at no cost: `fetch_or` returns those
//! that were set before. What is wrong is reported and left as it was; what came along with it is freed.

use super::allocator::Frames;
use super::bitmap::WORD_BITS;
use super::error::FreeError;
#[cfg(feature = "faults")]
use super::faults;
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber};
use super::state::{self, Kind, State};
use super::sync::Ordering;

impl Frames {
    /// Returns single frames to the table.
    pub(in crate::memory) fn return_singles(&self, frames: &[FrameNumber]) -> Result<(), FreeError> {
        self.return_singles_at_least(frames, frames.len()).1
    }

    /// Returns so many of these single frames to the table, and those behind them that lie in the same word; how many.
    /// Neighbours in the list that lie in one word take one operation on it, and those in one block one on its state.
    pub(in crate::memory) fn return_singles_at_least(
        &self,
        frames: &[FrameNumber],
        least: usize,
    ) -> (usize, Result<(), FreeError>) {
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
    pub(in crate::memory) fn admit(&self, frame: FrameNumber) -> Result<State, FreeError> {
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
                Kind::Huge => self.split_to_frames(block),
                // A block on its way, or kept as a whole, has nobody's frames in it.
                Kind::Buddy | Kind::Transit | Kind::Cached => return Err(self.double_free(frame, 1)),
                Kind::Absent | Kind::Corrupt => return Err(FreeError::NotManaged { frame }),
            }
        }
    }

    /// Which of these bits stand for frames that the allocator was never given.
    #[inline(always)]
    pub(in crate::memory) fn foreign(&self, state: State, word: usize, bits: u64) -> u64 {
        #[cfg(feature = "faults")]
        if faults::is_armed(faults::Fault::AcceptForeign) {
            return 0;
        }
        self.table.unmanaged(state, word, bits)
    }

    /// Sets bits in the word of the bitmap that `frame` lies in: how many frames are free now that were not, which the
    /// caller has to [`put`](Self::put), and what was wrong with others.
    #[inline(always)]
    pub(in crate::memory) fn set_bits(
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
        let doubled = if faults::is_armed(faults::Fault::AcceptDoubleFree) { 0 } else { doubled };
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
    pub(in crate::memory) fn put(&self, block: BlockNumber, count: usize) {
        #[cfg(feature = "faults")]
        let count = if count > 0 { faults::counted(count) } else { 0 };
        if count > 0 {
            let change = state::update(self.table.cell(block), |state| state.put(count));
            debug_assert!(change.is_some(), "more frames freed than managed in {block:?}");
            self.finish_update(block, change);
        }
    }

    /// What follows from a change of a block's state that may have raised its count or ended its hold.
    #[inline(always)]
    pub(in crate::memory) fn finish_update(&self, block: BlockNumber, change: Option<(State, State)>) {
        match change {
            #[cfg(feature = "faults")]
            Some((_, new)) if new.kind() == Kind::Transit && faults::strikes_block(faults::Fault::Strand) => {
                state::store(self.table.cell(block), State::whole(FRAMES_PER_BLOCK));
            }
            Some((_, new)) if new.kind() == Kind::Transit => self.retire(block),
            Some((old, new)) if new.is_offered() && !old.is_offered() => self.table.mark_available(block),
            _ => {}
        }
    }

    #[cold]
    pub(in crate::memory) fn double_free(&self, frame: FrameNumber, times: usize) -> FreeError {
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
pub(in crate::memory) fn place(frame: FrameNumber) -> (usize, u64) {
    (frame.index_in_block() / WORD_BITS, 1 << (frame.get() % WORD_BITS))
}

/// The frame of the lowest of these bits, in the same word as `frame`.
pub(in crate::memory) fn lowest(frame: FrameNumber, bits: u64) -> FrameNumber {
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
