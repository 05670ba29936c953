//! The return of single frames to the block table.
//!
//! A frame's bit is set while it is free. So a double free is found when bits are set, at no cost: `fetch_or` returns the bits that were
//! set before. A frame with an error is reported and left as it is; the other frames of the call are free.

use super::allocator::Frames;
use super::bitmap::{WORD_BITS, count, largest_in};
use super::error::FreeError;
#[cfg(feature = "faults")]
use super::faults;
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::state::{self, Kind, State};
use super::sync::Ordering;

impl Frames {
    /// Returns single frames to the table.
    pub(in crate::memory) fn return_singles(&self, frames: &[FrameNumber]) -> Result<(), FreeError> {
        self.return_singles_at_least(frames, frames.len()).1
    }

    /// Returns at least `least` of these single frames to the table, up to the end of a bitmap word; how many. Adjacent list entries in the
    /// same word take one operation on the word. Those in the same block take one on its state.
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
            let (mut count, mut largest) = (0, state.largest());
            while let Some((run, mask, after)) = split_word(rest, block) {
                match self.set_bits(state, run[0], mask, &mut largest) {
                    (newly_free, Ok(())) if newly_free == run.len() => count += newly_free,
                    (newly_free, outcome) => {
                        count += newly_free;
                        result = result.and(self.error_of_word(outcome, run, mask));
                    }
                }
                rest = after;
                if enough(rest) {
                    break;
                }
            }
            self.put(block, count, largest);
        }
        (frames.len() - rest.len(), result)
    }

    /// The state of a frame's block, if the frame can be allocated. A block that was allocated as a whole is split, so that parts of it
    /// can be freed.
    #[inline(always)]
    pub(in crate::memory) fn admit(&self, frame: FrameNumber) -> Result<State, FreeError> {
        let state = self.table.state(frame.block());
        if state.kind() == Kind::Frames { Ok(state) } else { self.admit_other(frame) }
    }

    /// [`admit`](Self::admit) for a block that is not allocated by its bitmap, which is rare.
    #[cold]
    #[inline(never)]
    fn admit_other(&self, frame: FrameNumber) -> Result<State, FreeError> {
        let block = frame.block();
        // Under the lock, because another CPU may be splitting the same run.
        let mut locked = self.zone_lock(block).lock();
        match self.run_of(block) {
            Some((_, state)) if state.kind() == Kind::Frames => Ok(state),
            Some((head, state)) if state.kind() == Kind::Huge => {
                let Some(()) = self.split_run(&mut locked, head, state, block, Order::BLOCK) else {
                    // Another CPU has freed the whole run meanwhile.
                    return Err(self.double_free(frame, 1));
                };
                self.table.bitmap(block).reset_to_free_from(FRAMES_PER_BLOCK);
                let state = State::whole(0);
                self.table.set(block, state);
                Ok(state)
            }
            // No frame of such a run is allocated.
            Some((_, state)) if state.kind() != Kind::Corrupt => Err(self.double_free(frame, 1)),
            _ => Err(FreeError::NotManaged { frame }),
        }
    }

    /// Which of these bits stand for frames that are not managed.
    #[inline(always)]
    pub(in crate::memory) fn foreign(&self, state: State, word: usize, bits: u64) -> u64 {
        #[cfg(feature = "faults")]
        if faults::is_armed(faults::FrameFault::AcceptUnownedFree) {
            return 0;
        }
        self.table.unmanaged(state, word, bits)
    }

    /// Sets bits in the bitmap word of `frame`. Returns how many frames became free, which the caller has to [`put`](Self::put), and the
    /// error of the others. Raises `largest` to the largest order that a run with these
    /// frames may have.
    #[inline(always)]
    pub(in crate::memory) fn set_bits(
        &self,
        state: State,
        frame: FrameNumber,
        mask: u64,
        largest: &mut Order,
    ) -> (usize, Result<(), FreeError>) {
        let (word, _) = place(frame);
        let foreign = self.foreign(state, word, mask);
        let mask = mask & !foreign;
        let bitmap = self.table.bitmap(frame.block());
        let before = bitmap.set(word, mask);
        *largest = largest_in(before | mask, *largest);
        let doubled = before & mask;
        #[cfg(feature = "faults")]
        let doubled = if faults::is_armed(faults::FrameFault::AcceptDoubleFree) { 0 } else { doubled };
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

    /// Adds frames whose bits this CPU has set to the count of their block. None of them is in a larger run than `largest`.
    #[inline(always)]
    pub(in crate::memory) fn put(&self, block: BlockNumber, count: usize, largest: Order) {
        #[cfg(feature = "faults")]
        let count = if count > 0 { faults::counted(count) } else { 0 };
        if count > 0 {
            let change = state::update(self.table.cell(block), |state| state.put(count, largest));
            debug_assert!(change.is_some(), "more frames freed than managed in {block:?}");
            self.finish_update(block, change);
        }
    }

    /// Completes an update of a state word that may have raised its count or released it: a free block goes to the buddy, a block that
    /// became available, or has a larger run, is marked in the summary.
    #[inline(always)]
    pub(in crate::memory) fn finish_update(&self, block: BlockNumber, change: Option<(State, State)>) {
        match change {
            #[cfg(feature = "faults")]
            Some((_, new))
                if new.kind() == Kind::Transit
                    && faults::strikes_block(faults::FrameFault::SkipBlockCompletion) =>
            {
                state::store(self.table.cell(block), State::whole(FRAMES_PER_BLOCK));
            }
            Some((_, new)) if new.kind() == Kind::Transit => self.retire(block),
            Some((old, new)) => {
                if new.is_offered() && (!old.is_offered() || new.largest() > old.largest()) {
                    self.table.mark_available(block, new.largest());
                }
                // The highest order that a word can tell needs not be raised.
                if old.free() == 0 && new.free() > 0 && new.largest() < Order::BLOCK.half() {
                    self.raise_largest(block, new.largest());
                }
            }
            None => {}
        }
    }

    /// Raises the largest order of a block whose count was 0, if its bits have a larger run than `known`: a free may have formed that with
    /// bits that are counted only now, and the CPU that has taken all of the count since has lowered the order.
    #[inline(never)]
    fn raise_largest(&self, block: BlockNumber, known: Order) {
        let words = self.table.bitmap(block).load();
        let marked = words.into_iter().filter(|&word| word != 0);
        let largest = marked.fold(known, |largest, word| largest_in(word, largest));
        if largest > known {
            self.finish_update(block, state::update(self.table.cell(block), |state| state.put(0, largest)));
        }
    }

    #[cold]
    pub(in crate::memory) fn double_free(&self, frame: FrameNumber, times: usize) -> FreeError {
        self.counters.double_frees.fetch_add(times, Ordering::Relaxed);
        FreeError::DoubleFree { frame }
    }

    /// The error for frames of one word of which fewer were freed than the list has.
    #[cold]
    fn error_of_word(
        &self,
        outcome: Result<(), FreeError>,
        run: &[FrameNumber],
        mask: u64,
    ) -> Result<(), FreeError> {
        let twice = mask.count_ones() as usize != run.len();
        outcome.and(if twice { Err(self.listed_twice(run)) } else { Ok(()) })
    }

    /// The error for frames of one word that the list has more than once.
    #[cold]
    fn listed_twice(&self, run: &[FrameNumber]) -> FreeError {
        let mut twice = run.iter().enumerate().filter(|&(index, frame)| run[..index].contains(frame));
        let first = twice.next().map_or(run[0], |(_, &frame)| frame);
        self.double_free(first, 1 + twice.count())
    }
}

/// The bitmap word in which a frame's bit is, and the bit.
#[inline(always)]
pub(in crate::memory) fn place(frame: FrameNumber) -> (usize, u64) {
    (frame.index_in_block() / WORD_BITS, 1 << (frame.get() % WORD_BITS))
}

/// The frame of the lowest of these bits, in the same word as `frame`.
pub(in crate::memory) fn lowest(frame: FrameNumber, bits: u64) -> FrameNumber {
    FrameNumber::new(frame.get() & !(WORD_BITS - 1)) + bits.trailing_zeros() as usize
}

/// Whether frame *i* of this list is *i* above its first one, or below it if it descends.
///
/// Written out, because the compiler does not unroll a loop when it optimises for size.
#[inline(always)]
fn counts<const DESCENDS: bool, const N: usize>(frames: &[FrameNumber; N]) -> bool {
    let (chunks, rest) = frames.as_chunks::<8>();
    debug_assert!(rest.is_empty());
    let (mut differs, mut first) = (0, frames[0].get());
    for [a, b, c, d, e, f, g, h] in chunks {
        let differs_at = |frame: &FrameNumber, index: usize| {
            frame.get() ^ if DESCENDS { first.wrapping_sub(index) } else { first + index }
        };
        differs |= differs_at(a, 0) | differs_at(b, 1) | differs_at(c, 2) | differs_at(d, 3);
        differs |= differs_at(e, 4) | differs_at(f, 5) | differs_at(g, 6) | differs_at(h, 7);
        first = if DESCENDS { first.wrapping_sub(8) } else { first + 8 };
    }
    differs == 0
}

/// The last bit of a word.
const LAST_BIT: usize = WORD_BITS - 1;

/// Whether these frames are all of one bitmap word, as they are allocated in ascending order, or freed in descending order.
#[inline(always)]
fn is_whole_word(frames: &[FrameNumber; WORD_BITS]) -> bool {
    let (first, last) = (frames[0].get(), frames[WORD_BITS - 1].get());
    // The two ends tell nearly always.
    match first % WORD_BITS {
        0 => last == first + LAST_BIT && counts::<false, _>(frames),
        LAST_BIT => last == first - LAST_BIT && counts::<true, _>(frames),
        _ => false,
    }
}

/// Splits the frames off the start of the list that are in one bitmap word of this block, and returns them with their bits.
#[inline(always)]
fn split_word(frames: &[FrameNumber], block: BlockNumber) -> Option<(&[FrameNumber], u64, &[FrameNumber])> {
    let base = frames.first().filter(|frame| frame.block() == block)?.get() & !(WORD_BITS - 1);
    if let Some((word, after)) = frames.split_first_chunk::<WORD_BITS>()
        && is_whole_word(word)
    {
        return Some((word, u64::MAX, after));
    }
    let bit = |frame: &FrameNumber| frame.get() ^ base;
    let (mut mask, mut length) = (0, 0);
    // Eight consecutive frames are a byte of the word, or of two adjacent ones.
    let (chunks, _) = frames.as_chunks::<8>();
    for chunk in chunks {
        let first = bit(&chunk[0]);
        if first > WORD_BITS - 8 || !counts::<false, _>(chunk) {
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

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    /// How many frames at the start of the list are in the word of the first, and their bits. Looks at them one by one.
    fn expected(frames: &[FrameNumber]) -> (usize, u64) {
        let word = frames[0].get() / WORD_BITS;
        let (mut length, mut mask) = (0, 0);
        // A frame after a whole word is there twice.
        while let Some(frame) = frames.get(length).filter(|frame| frame.get() / WORD_BITS == word)
            && mask != u64::MAX
        {
            (length, mask) = (length + 1, mask | 1 << (frame.get() % WORD_BITS));
        }
        (length, mask)
    }

    #[test]
    fn a_list_is_split_at_the_ends_of_words_whatever_its_order() {
        let upwards: Vec<_> = (512 + 128..512 + 320).map(FrameNumber::new).collect();
        let downwards: Vec<_> = upwards.iter().rev().copied().collect();
        for list in [upwards, downwards] {
            // Each list from each of its places on; then with one frame missing, with one twice, and with two exchanged.
            for from in 0..WORD_BITS + 1 {
                for at in from..from + WORD_BITS + 1 {
                    let mut changed = [(); 4].map(|()| list.clone());
                    changed[1].remove(at);
                    changed[2][at + 1] = list[at];
                    changed[3].swap(at, at + 1);
                    for list in &changed {
                        let list = &list[from..];
                        let (run, mask, after) =
                            split_word(list, list[0].block()).expect("a frame of the block");
                        assert_eq!((run.len(), mask), expected(list), "from {from}, changed at {at}");
                        assert_eq!(run.len() + after.len(), list.len());
                    }
                }
            }
        }
        assert!(split_word(&[], BlockNumber(1)).is_none());
        assert!(split_word(&[FrameNumber::new(512)], BlockNumber(2)).is_none());
    }
}
