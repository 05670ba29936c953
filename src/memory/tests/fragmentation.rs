//! Fragmentation under churn: how many whole blocks stay free. By the definition of LLFree's `frag`: allocate all memory, free runs at
//! random until the rest is the occupancy; then, in each round, free a tenth of the memory at random and allocate as much. LLFree
//! replaces run by run.

extern crate std;

use core::ops::RangeInclusive;
use std::vec::Vec;

use super::concurrent::Random;
use super::order;
use crate::memory::cache::Magazine;
use crate::memory::frames::{FRAMES_PER_BLOCK, FrameNumber, Order};
use crate::memory::host::World;

/// 1 GiB. No frame is accessed.
const BLOCKS: usize = 512;

struct Churn {
    world: World,
    /// Frames of the memory.
    total: usize,
    /// One for each CPU.
    magazines: Vec<Magazine>,
    /// The CPU that allocates and frees.
    cpu: usize,
    random: Random,
    /// Each of these orders is drawn equally often.
    orders: RangeInclusive<usize>,
    held: Vec<(FrameNumber, Order)>,
    frames: usize,
}

impl Churn {
    /// Memory of 1 GiB of which these runs use so many percent.
    fn new(cpus: usize, orders: RangeInclusive<usize>, percent: usize) -> Churn {
        Churn::of(BLOCKS, cpus, orders, percent)
    }

    /// The same with so many blocks.
    fn of(blocks: usize, cpus: usize, orders: RangeInclusive<usize>, percent: usize) -> Churn {
        let random = Random(0x1234_5678_9abc);
        let (world, magazines) = (World::new(blocks), (0..cpus).map(|_| Magazine::new()).collect());
        let total = blocks * FRAMES_PER_BLOCK;
        let mut churn =
            Churn { world, total, magazines, cpu: 0, random, orders, held: Vec::new(), frames: 0 };
        churn.alloc_to(total);
        churn.free_to(total * percent / 100);
        churn
    }

    fn alloc(&self, order: Order) -> Option<FrameNumber> {
        self.world.frames.alloc(&self.magazines[self.cpu], order)
    }

    /// Frees a random run. Its order.
    fn free_one(&mut self) -> Order {
        let index = self.random.below(self.held.len());
        let (frame, order) = self.held.swap_remove(index);
        assert_eq!(self.world.frames.free(&self.magazines[self.cpu], frame, order), Ok(()));
        self.frames -= order.frames();
        order
    }

    /// Allocates until this many frames are allocated. A run that is not there, or would be too much, is replaced by one of half its
    /// size.
    fn alloc_to(&mut self, frames: usize) {
        while self.frames < frames {
            let (least, largest) = self.orders.clone().into_inner();
            let largest = (least + self.random.below(largest - least + 1)) as u8;
            let run = (0..=largest).rev().map(order).find_map(|order| {
                let is_within = self.frames + order.frames() <= frames;
                let frame = is_within.then(|| self.alloc(order)).flatten();
                frame.map(|frame| (frame, order))
            });
            let (frame, order) = run.expect("a free frame");
            self.held.push((frame, order));
            self.frames += order.frames();
        }
    }

    /// Frees random runs until no more than this many frames are allocated.
    fn free_to(&mut self, frames: usize) {
        while self.frames > frames {
            self.free_one();
        }
    }

    /// After so many rounds: how many blocks are free as a whole. In each, one CPU after the other replaces its part of a tenth.
    fn free_blocks_after(mut self, rounds: usize) -> usize {
        let (frames, cpus) = (self.frames, self.magazines.len());
        for round in 0..rounds * cpus {
            self.cpu = round % cpus;
            self.free_to(frames - self.total / 10 / cpus);
            self.alloc_to(frames);
        }
        self.free_blocks()
    }

    /// The same if each run of a tenth is freed and replaced at once.
    fn free_blocks_after_replacing(mut self, rounds: usize) -> usize {
        for _ in 0..rounds * self.held.len() / 10 {
            let order = self.free_one();
            let frame = self.alloc(order).expect("a run was freed");
            self.held.push((frame, order));
            self.frames += order.frames();
        }
        self.free_blocks()
    }

    fn free_blocks(self) -> usize {
        for magazine in &self.magazines {
            assert_eq!(self.world.frames.drain(magazine), Ok(()));
        }
        assert_eq!(self.world.frames.validate(), Ok(()));
        let by_order = self.world.frames.free_by_order();
        by_order[usize::from(Order::BLOCK.get())..].iter().sum::<usize>() / FRAMES_PER_BLOCK
    }
}

#[test]
fn churn_of_single_frames_leaves_all_other_blocks_whole() {
    assert_eq!(Churn::of(80, 1, 0..=0, 50).free_blocks_after(70), 40);
    assert_eq!(Churn::of(80, 1, 0..=0, 90).free_blocks_after(100), 8);
}

#[test]
fn churn_of_orders_0_to_5_leaves_210_blocks_whole() {
    let blocks = Churn::new(1, 0..=5, 50).free_blocks_after(20);
    assert!(blocks >= 210, "{blocks}");
}

#[test]
fn churn_of_orders_0_to_9_leaves_240_blocks_whole() {
    let blocks = Churn::new(1, 0..=9, 50).free_blocks_after(10);
    assert!(blocks >= 240, "{blocks}");
}

#[test]
fn churn_by_eight_cpus_leaves_220_blocks_whole() {
    let blocks = Churn::new(8, 0..=3, 50).free_blocks_after(40);
    assert!(blocks >= 220, "{blocks}");
}

#[test]
fn runs_replaced_one_by_one_leave_other_blocks_whole() {
    for (percent, least) in [(50, 240), (90, 40)] {
        let blocks = Churn::new(1, 3..=3, percent).free_blocks_after_replacing(70);
        assert!(blocks >= least, "{percent} % allocated: {blocks}");
    }
}
