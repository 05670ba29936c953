//! The levels of a summary: a word of blocks, and the bits of the upper levels that mark the word as not empty.

use super::*;
use crate::memory::frames::summary::{Rows, Summary};
use crate::memory::frames::sync::{AtomicUsize, place};
use core::ptr::NonNull;

/// A summary of two words, and whether the two blocks of the second word have free frames.
struct Two {
    summary: Summary,
    has_free: [AtomicUsize; 2],
}

/// The blocks.
const BLOCKS: [BlockNumber; 2] = [BlockNumber(8), BlockNumber(9)];

/// Their marks.
const ROWS: Rows = Rows::up_to(Order::FRAME);

impl Two {
    fn new(has_free: [usize; 2]) -> Arc<Two> {
        let zero = || crate::memory::frames::sync::AtomicU64::new(0);
        // SAFETY: in a model they have memory of their own.
        let level = |count| unsafe { place(NonNull::dangling(), count, zero) };
        let summary = Summary::new([2, 1, 0, 0, 0, 0].map(level));
        let two = Two { summary, has_free: has_free.map(AtomicUsize::new) };
        (0..2).filter(|index| has_free[*index] != 0).for_each(|index| two.summary.set(BLOCKS[index], ROWS));
        Arc::new(two)
    }

    /// Frees a frame of the block.
    fn free(&self, index: usize) {
        if self.has_free[index].fetch_add(1, Ordering::AcqRel) == 0 {
            self.summary.set(BLOCKS[index], ROWS);
        }
    }

    /// Takes a frame of the block, which has one.
    fn take(&self, index: usize) {
        if self.has_free[index].fetch_sub(1, Ordering::AcqRel) == 1 {
            let has_free = || self.has_free[index].load(Ordering::Acquire) != 0;
            self.summary.clear(BLOCKS[index], ROWS, || if has_free() { ROWS } else { Rows::NONE });
        }
    }

    /// A search that begins in the other word finds every block that has free frames.
    fn end(self: Arc<Self>) {
        let found: Vec<_> = self.summary.candidates(BlockNumber(0)..BlockNumber(16), Order::FRAME).collect();
        for (index, block) in BLOCKS.iter().enumerate() {
            let has_free = self.has_free[index].load(Ordering::Relaxed) != 0;
            assert!(found.contains(block) || !has_free, "{block:?} is hidden");
        }
        drop(self);
        // SAFETY: the threads have ended, and the summary with them.
        unsafe { crate::memory::frames::sync::forget_placed() };
    }
}

/// Does two things at once.
fn at_once(has_free: [usize; 2], here: fn(&Two), there: fn(&Two)) {
    check(UNBOUNDED, move || {
        let two = Two::new(has_free);
        let other = thread::spawn({
            let two = two.clone();
            move || there(&two)
        });
        here(&two);
        other.join().expect("the thread has not panicked");
        two.end();
    });
}

#[test]
fn a_block_that_gets_frames_as_its_last_one_goes_is_found() {
    at_once([1, 0], |two| two.take(0), |two| two.free(0));
}

#[test]
fn a_block_that_gets_frames_as_its_neighbours_last_one_goes_is_found() {
    at_once([1, 0], |two| two.take(0), |two| two.free(1));
}

#[test]
fn a_block_that_comes_and_goes_beside_another_is_found() {
    at_once(
        [1, 0],
        |two| {
            two.take(0);
            two.free(0);
        },
        |two| {
            two.free(1);
            two.take(1);
        },
    );
}

#[test]
fn two_blocks_that_lose_their_last_frames_leave_nothing() {
    at_once([1, 1], |two| two.take(0), |two| two.take(1));
}
