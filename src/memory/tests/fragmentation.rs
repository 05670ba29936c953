//! Fragmentation under churn: how many whole blocks stay free. By the definition of LLFree's `frag`: allocate all memory, free runs at
//! random until the rest is the occupancy; then, in each round, free a tenth of the memory at random and allocate as much.

extern crate std;

use std::vec::Vec;

use super::concurrent::Random;
use super::order;
use crate::memory::cache::Magazine;
use crate::memory::frames::{FRAMES_PER_BLOCK, FrameNumber, Order};
use crate::memory::host::World;

/// 1 GiB. No frame is accessed.
const BLOCKS: usize = 512;
const TOTAL: usize = BLOCKS * FRAMES_PER_BLOCK;

struct Churn {
    world: World,
    magazine: Magazine,
    random: Random,
    /// Each order up to this one is drawn equally often.
    largest: usize,
    held: Vec<(FrameNumber, Order)>,
    frames: usize,
}

impl Churn {
    /// Memory of which these runs use so many percent.
    fn new(largest: usize, percent: usize) -> Churn {
        let random = Random(0x1234_5678_9abc);
        let (world, magazine) = (World::new(BLOCKS), Magazine::new());
        let mut churn = Churn { world, magazine, random, largest, held: Vec::new(), frames: 0 };
        churn.alloc_to(TOTAL);
        churn.free_to(TOTAL * percent / 100);
        churn
    }

    /// Allocates until this many frames are allocated. A run that is not there, or would be too much, is replaced by one of half its
    /// size.
    fn alloc_to(&mut self, frames: usize) {
        while self.frames < frames {
            let largest = self.random.below(self.largest + 1) as u8;
            let run = (0..=largest).rev().map(order).find_map(|order| {
                let is_within = self.frames + order.frames() <= frames;
                let frame = is_within.then(|| self.world.frames.alloc(&self.magazine, order)).flatten();
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
            let index = self.random.below(self.held.len());
            let (frame, order) = self.held.swap_remove(index);
            assert_eq!(self.world.frames.free(&self.magazine, frame, order), Ok(()));
            self.frames -= order.frames();
        }
    }

    /// After so many rounds: how many blocks are free as a whole.
    fn free_blocks_after(mut self, rounds: usize) -> usize {
        let frames = self.frames;
        for _ in 0..rounds {
            self.free_to(frames - TOTAL / 10);
            self.alloc_to(frames);
        }
        assert_eq!(self.world.frames.drain(&self.magazine), Ok(()));
        assert_eq!(self.world.frames.validate(), Ok(()));
        let by_order = self.world.frames.free_by_order();
        by_order[usize::from(Order::BLOCK.get())..].iter().sum::<usize>() / FRAMES_PER_BLOCK
    }
}

#[test]
fn churn_of_single_frames_leaves_all_other_blocks_whole() {
    assert_eq!(Churn::new(0, 50).free_blocks_after(70), 256);
    assert_eq!(Churn::new(0, 90).free_blocks_after(100), 51);
}

#[test]
fn churn_of_orders_0_to_5_leaves_150_blocks_whole() {
    let blocks = Churn::new(5, 50).free_blocks_after(20);
    assert!(blocks >= 150, "{blocks}");
}

#[test]
fn churn_of_orders_0_to_9_leaves_130_blocks_whole() {
    let blocks = Churn::new(9, 50).free_blocks_after(10);
    assert!(blocks >= 130, "{blocks}");
}
