//! One thread: pairs of alloc and free.

use std::hint::black_box;
use std::time::{Duration, Instant};

use buddy_system_allocator::LockedFrameAllocator;
use criterion::Criterion;
use octopod::memory::cache::CAPACITY;
use octopod::memory::frames::{ORDERS, Order};
use octopod::memory::host::World;

use crate::ratios::{Ratios, Statistic, Turn};

/// Pairs in a turn: some microseconds of the fastest.
const PAIRS: u64 = 2000;

/// How long so many repetitions take.
pub(crate) fn time(repetitions: u64, mut repeated: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..repetitions {
        repeated();
    }
    start.elapsed()
}

/// So many repetitions of both, by turns.
fn by_turns(repetitions: u64, mut one: impl FnMut(), mut other: impl FnMut()) -> Vec<Turn> {
    let turns = repetitions.div_ceil(PAIRS);
    let turn = repetitions.min(PAIRS);
    (0..turns).map(|_| [time(turn, &mut one), time(turn, &mut other)]).collect()
}

/// The lower bound: a magazine that never refills.
struct Array {
    len: usize,
    items: [usize; CAPACITY],
}

impl Array {
    #[inline(always)]
    fn pop(&mut self) -> Option<usize> {
        let last = self.len.wrapping_sub(1);
        let item = *self.items.get(last)?;
        self.len = last;
        Some(item)
    }

    #[inline(always)]
    fn push(&mut self, item: usize) -> bool {
        let Some(slot) = self.items.get_mut(self.len) else { return false };
        *slot = item;
        self.len += 1;
        true
    }
}

/// A pair of order 0, and a bare array's pop and push.
pub(crate) fn order_0(criterion: &mut Criterion, ratios: &mut Ratios) {
    let world = World::new(8);
    let mut cache = world.cache();
    let mut array = Array { len: CAPACITY / 2, items: core::array::from_fn(|index| index) };
    ratios.compare(
        criterion,
        "pair_order0_to_array",
        Statistic::Median,
        ["octopod", "array"],
        |repetitions| {
            let ours = || {
                let frame = black_box(&mut cache).alloc(Order::FRAME).expect("a frame");
                cache.free(black_box(frame), Order::FRAME).expect("its own frame");
            };
            let theirs = || {
                let item = black_box(&mut array).pop().expect("an item");
                assert!(array.push(black_box(item)));
            };
            by_turns(repetitions, ours, theirs)
        },
    );
}

/// A pair of order 9, and the same of the crate's allocator.
pub(crate) fn order_9(criterion: &mut Criterion, ratios: &mut Ratios) {
    const BLOCKS: usize = 64;
    let world = World::new(BLOCKS);
    let mut cache = world.cache();
    let locked = LockedFrameAllocator::<ORDERS>::new();
    locked.lock().add_frame(0, world.frame_count());
    ratios.compare(
        criterion,
        "pair_order9_to_locked",
        Statistic::Median,
        ["octopod", "locked"],
        |repetitions| {
            let ours = || {
                let frame = black_box(&mut cache).alloc(Order::BLOCK).expect("a block");
                cache.free(black_box(frame), Order::BLOCK).expect("its own block");
            };
            let theirs = || {
                let frame = locked.lock().alloc(Order::BLOCK.frames()).expect("a block");
                locked.lock().dealloc(black_box(frame), Order::BLOCK.frames());
            };
            by_turns(repetitions, ours, theirs)
        },
    );
}
