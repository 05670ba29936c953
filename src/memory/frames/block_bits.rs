//! The free blocks of a gigabyte as 512 bits, 1 = free, and the arithmetic of their runs.
//!
//! A gigabyte is to a block what a block is to a frame. A run of order *n* is 2^(n - 9) bits, naturally aligned. Free neighbours are merged by
//! looking: where the bits of both halves are set, so is the run of twice their size. So a free sets bits and writes nothing else.

use super::bitmap::{ALIGNED, WORD_BITS, WORDS, lowest_run, starts_of_runs};
use super::number::Order;

/// Blocks in a gigabyte.
pub(in crate::memory) const BLOCKS: usize = Order::MAX.blocks();

/// The orders of runs of blocks, 9 to 18.
pub(in crate::memory) const RUN_ORDERS: usize = (Order::MAX.get() - Order::BLOCK.get()) as usize + 1;

/// The index of the order whose runs are a word, 128 MiB.
const WORD: usize = WORD_BITS.trailing_zeros() as usize;

const _: () = assert!(BLOCKS == WORDS * WORD_BITS && WORD < RUN_ORDERS);

/// The index of an order, 9 or above, among those of runs of blocks: log2 of the blocks of such a run.
#[inline(always)]
pub(in crate::memory) const fn index_of(order: Order) -> usize {
    (order.get() - Order::BLOCK.get()) as usize
}

/// The order that has this index.
pub(in crate::memory) const fn order_at(index: usize) -> Order {
    Order::of_blocks(index)
}

/// The bits of the aligned run of so many blocks, a power of two up to 64, in which a block is, in its word.
#[inline(always)]
pub(in crate::memory) const fn bits_around(at: usize, blocks: usize) -> u64 {
    // Shifts take the lowest six bits of their counts: of 64 - blocks here, and of the block's number rounded down.
    let mask = blocks.wrapping_neg();
    u64::MAX.wrapping_shr(mask as u32).wrapping_shl((at & mask) as u32)
}

/// The free blocks of a gigabyte at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) struct BlockBits(pub(in crate::memory) [u64; WORDS]);

impl BlockBits {
    /// How many blocks are free.
    pub(in crate::memory) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether this block is free.
    pub(in crate::memory) fn has(&self, at: usize) -> bool {
        self.0[at / WORD_BITS] >> (at % WORD_BITS) & 1 != 0
    }

    /// The free blocks from `start` on and below `end`.
    pub(in crate::memory) fn within(&self, start: usize, end: usize) -> Self {
        Self(core::array::from_fn(|word| {
            let low = start.saturating_sub(word * WORD_BITS).min(WORD_BITS);
            let high = end.saturating_sub(word * WORD_BITS).min(WORD_BITS);
            let below = |bit: usize| if bit == WORD_BITS { u64::MAX } else { (1 << bit) - 1 };
            self.0[word] & below(high) & !below(low)
        }))
    }

    /// The free blocks below `start`, and from `end` on.
    pub(in crate::memory) fn outside(&self, start: usize, end: usize) -> Self {
        let within = self.within(start, end);
        Self(core::array::from_fn(|word| self.0[word] & !within.0[word]))
    }

    /// The lowest free block.
    pub(in crate::memory) fn lowest(&self) -> Option<usize> {
        let word = self.0.iter().position(|&word| word != 0)?;
        Some(word * WORD_BITS + self.0[word].trailing_zeros() as usize)
    }

    /// A bit for each word that is free as a whole.
    fn whole_words(&self) -> u64 {
        let words = self.0.iter().enumerate();
        words.fold(0, |whole, (word, &bits)| whole | u64::from(bits == u64::MAX) << word)
    }

    /// Whether a run of this order is free.
    pub(in crate::memory) fn has_run(&self, order: Order) -> bool {
        let index = index_of(order);
        if index == 0 {
            return self.0.iter().fold(0, |any, word| any | word) != 0;
        }
        if index < WORD {
            return self.0.iter().any(|&word| lowest_run(word, as_frames(index)).is_some());
        }
        starts_of_runs(self.whole_words(), as_frames(index - WORD)) != 0
    }

    /// The largest order below this one of which a run is free.
    pub(in crate::memory) fn largest_below(&self, order: Order) -> Option<Order> {
        (0..index_of(order)).rev().map(order_at).find(|&order| self.has_run(order))
    }

    /// The order of the largest free run that this block is in.
    pub(in crate::memory) fn run_at(&self, at: usize) -> Option<Order> {
        if !self.has(at) {
            return None;
        }
        let word = self.0[at / WORD_BITS];
        let (bits, at, first) =
            if word == u64::MAX { (self.whole_words(), at / WORD_BITS, WORD) } else { (word, at, 0) };
        let is_free = |index: &usize| {
            let run = bits_around(at, 1 << (index - first));
            bits & run == run
        };
        (first..RUN_ORDERS).take_while(is_free).last().map(order_at)
    }

    /// The smallest free run that has at least this order, the lowest one of these; its first block, and its order.
    pub(in crate::memory) fn smallest_run(&self, order: Order) -> Option<(usize, Order)> {
        let wanted = index_of(order);
        if wanted < WORD {
            let (mut best, mut found) = (WORD, 0);
            for (word, &bits) in self.0.iter().enumerate() {
                // Words that are free as a whole are left for later.
                if bits == 0 || bits == u64::MAX {
                    continue;
                }
                let mut starts = starts_of_runs(bits, as_frames(wanted));
                let mut index = wanted;
                while starts != 0 && index < best {
                    let (alone, pairs) = split_pairs(starts, index);
                    if alone != 0 {
                        (best, found) = (index, word * WORD_BITS + alone.trailing_zeros() as usize);
                    }
                    (starts, index) = (pairs, index + 1);
                }
                if best == wanted {
                    break;
                }
            }
            if best < WORD {
                return Some((found, order_at(best)));
            }
        }
        let first = wanted.max(WORD);
        let mut starts = starts_of_runs(self.whole_words(), as_frames(first - WORD));
        for index in first..RUN_ORDERS {
            let (alone, pairs) = split_pairs(starts, index - WORD);
            if alone != 0 {
                return Some((alone.trailing_zeros() as usize * WORD_BITS, order_at(index)));
            }
            starts = pairs;
        }
        None
    }
}

/// Of the starts of runs of 2^`index` bits, fewer than 64: those that are no half of a run twice as long, and the starts of the latter.
#[inline(always)]
fn split_pairs(starts: u64, index: usize) -> (u64, u64) {
    let half = 1 << index;
    let pairs = starts & starts >> half & ALIGNED[index + 1];
    (starts & !(pairs | pairs << half), pairs)
}

/// The order of as many frames as a run of this index, 6 or below, has blocks: a bit is a bit.
#[inline(always)]
const fn as_frames(index: usize) -> Order {
    match Order::new(index as u8) {
        Some(order) => order,
        None => Order::FRAME,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    /// What the bits say, computed block by block.
    struct Oracle([bool; BLOCKS]);

    impl Oracle {
        fn of(bits: &BlockBits) -> Oracle {
            Oracle(core::array::from_fn(|at| bits.0[at / 64] >> (at % 64) & 1 == 1))
        }

        fn is_free(&self, first: usize, order: Order) -> bool {
            self.0[first..first + order.blocks()].iter().all(|&is_free| is_free)
        }

        /// The free runs that are no half of a larger one.
        fn maximal(&self) -> Vec<(usize, Order)> {
            let mut at = 0;
            let mut runs = Vec::new();
            while at < BLOCKS {
                let order = self.run_at(at);
                runs.extend(order.map(|order| (at, order)));
                at += order.map_or(1, Order::blocks);
            }
            runs
        }

        fn run_at(&self, at: usize) -> Option<Order> {
            let is_free = |order: &Order| self.is_free(at & !(order.blocks() - 1), *order);
            (0..RUN_ORDERS).map(order_at).rfind(is_free)
        }
    }

    fn check(bits: &BlockBits) {
        let oracle = Oracle::of(bits);
        let maximal = oracle.maximal();
        assert_eq!(bits.count(), maximal.iter().map(|(_, order)| order.blocks()).sum::<usize>());
        assert_eq!(bits.lowest(), maximal.first().map(|(first, _)| *first));
        for at in 0..BLOCKS {
            assert_eq!(bits.has(at), oracle.0[at]);
            assert_eq!(bits.run_at(at), oracle.run_at(at), "block {at}");
        }
        for order in (0..RUN_ORDERS).map(order_at) {
            assert_eq!(bits.has_run(order), maximal.iter().any(|(_, found)| *found >= order), "{order}");
            let mut below = (0..index_of(order)).map(order_at);
            let largest = below.rfind(|below| maximal.iter().any(|(_, found)| found >= below));
            assert_eq!(bits.largest_below(order), largest, "below {order}");
            let fitting = maximal.iter().filter(|(_, found)| *found >= order);
            let smallest = fitting.min_by_key(|(first, found)| (*found, *first)).copied();
            assert_eq!(bits.smallest_run(order), smallest, "{order}");
        }
    }

    #[test]
    fn every_single_run_is_found() {
        check(&BlockBits([0; WORDS]));
        check(&BlockBits([u64::MAX; WORDS]));
        for order in (0..RUN_ORDERS).map(order_at) {
            for first in (0..BLOCKS).step_by(order.blocks().max(8)) {
                let only = BlockBits([u64::MAX; WORDS]).within(first, first + order.blocks());
                assert_eq!(only.smallest_run(Order::BLOCK), Some((first, order)));
                check(&only);
                check(&BlockBits(only.0.map(|word| !word)));
            }
        }
    }

    #[test]
    fn a_range_is_cut_out_of_the_bits() {
        for (start, end) in
            [(0, 0), (0, 1), (0, 64), (63, 65), (1, 512), (64, 128), (130, 130), (511, 512), (0, 512)]
        {
            let cut = BlockBits([u64::MAX; WORDS]).within(start, end);
            assert!((0..BLOCKS).all(|at| cut.has(at) == (start..end).contains(&at)), "{start} to {end}");
        }
    }

    #[test]
    fn the_bits_of_a_run_lie_around_each_of_its_blocks() {
        for at in 0..BLOCKS {
            for blocks in (0..=6).map(|index| 1_usize << index) {
                let is_in_run = |bit: &usize| bit / blocks == at % 64 / blocks;
                let expected = (0..64).filter(is_in_run).fold(0, |run, bit| run | 1_u64 << bit);
                assert_eq!(bits_around(at, blocks), expected, "block {at}, {blocks} blocks");
            }
        }
    }

    proptest! {
        #[test]
        fn random_bits_agree_with_a_search_block_by_block(
            words in prop::array::uniform8(prop_oneof![
                2 => Just(u64::MAX), 1 => Just(0), 2 => any::<u64>(), 2 => any::<(u64, u64)>().prop_map(|(a, b)| a | b),
            ]),
            runs in prop::collection::vec((0..RUN_ORDERS, 0..BLOCKS, any::<bool>()), 0..20),
        ) {
            let mut bits = BlockBits(words);
            for (index, at, is_free) in runs {
                let first = at & !((1 << index) - 1);
                let run = BlockBits([u64::MAX; WORDS]).within(first, first + (1 << index));
                bits = BlockBits(core::array::from_fn(|word| {
                    if is_free { bits.0[word] | run.0[word] } else { bits.0[word] & !run.0[word] }
                }));
            }
            check(&bits);
        }
    }
}
