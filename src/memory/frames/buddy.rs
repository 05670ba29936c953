//! The buddy allocator of a zone: free runs of order 9 to 18 in doubly linked lists, one for each order.
//!
//! The links are in the [state words](super::state) of the runs' first blocks, so free memory is never accessed. Each operation takes
//! a bounded time: a run is taken from the list that a bit mask finds, and split at most nine times; a run that is freed is merged at
//! most nine times, and each merge removes the other half from the middle of its list.
//!
//! A list is used last in, first out. The run that was freed last is the most likely to be in the processor's caches.

#[cfg(feature = "faults")]
use super::faults;
use super::number::{BlockNumber, Order};
use super::state::State;
use super::table::Table;

/// Orders 9 to 18.
const LISTS: usize = (Order::MAX.get() - Order::BLOCK.get()) as usize + 1;

/// The free runs of a zone. The lock of the zone protects it and the state words of its runs.
pub(in crate::memory) struct Buddy {
    /// The first run of each list.
    first: [Option<BlockNumber>; LISTS],
    /// How many runs each list has.
    runs: [usize; LISTS],
    /// A bit for each list that is not empty.
    nonempty: u32,
}

impl Buddy {
    /// A buddy allocator without free runs.
    pub(in crate::memory) const fn new() -> Self {
        Self { first: [None; LISTS], runs: [0; LISTS], nonempty: 0 }
    }

    /// Takes a run of this order, 9 or above: the smallest one that is large enough, of which the rest stays. Returns its first block,
    /// whose state the caller sets.
    #[inline(always)]
    pub(in crate::memory) fn take(&mut self, table: &Table, order: Order) -> Option<BlockNumber> {
        let wanted = list_of(order);
        let large_enough = self.nonempty >> wanted;
        if large_enough == 0 {
            return None;
        }
        let found = wanted + large_enough.trailing_zeros() as usize;
        let block = self.first[found]?;
        self.unlink(table, block, found);
        if found > wanted {
            self.split(table, block, found, wanted);
        }
        Some(block)
    }

    /// Puts the upper halves of a run of list `from` back, until its lower half is of list `to`.
    fn split(&mut self, table: &Table, block: BlockNumber, from: usize, to: usize) {
        for list in (to..from).rev() {
            self.link(table, BlockNumber(block.0 + (1 << list)), list);
        }
    }

    /// Puts in a free run, and merges it with its free buddies while `may_merge` allows the run that results.
    ///
    /// The caller owns the run: it is naturally aligned, managed, in no list, and of the zone of this buddy. The word of its first
    /// block is in `Transit` or new, and those of its other blocks are blank.
    #[inline(always)]
    pub(in crate::memory) fn give(
        &mut self,
        table: &Table,
        block: BlockNumber,
        order: Order,
        may_merge: impl Fn(&mut Self, BlockNumber, Order) -> bool,
    ) {
        if order < Order::MAX && table.state(block.buddy(order)).is_buddy_of(order) {
            return self.merge(table, block, order, may_merge);
        }
        self.link(table, block, list_of(order));
    }

    /// [`give`](Self::give) for a run whose buddy is probably free.
    #[cold]
    #[inline(never)]
    fn merge(
        &mut self,
        table: &Table,
        block: BlockNumber,
        order: Order,
        may_merge: impl Fn(&mut Self, BlockNumber, Order) -> bool,
    ) {
        let (mut head, mut merged) = (block, order);
        while merged < Order::MAX {
            let other = head.buddy(merged);
            let double = merged.double();
            if !table.state(other).is_buddy_of(merged) || !may_merge(self, head.head(double), double) {
                break;
            }
            self.unlink(table, other, list_of(merged));
            (head, merged) = (head.head(double), double);
        }
        self.link(table, head, list_of(merged));
        // The larger run has its word. Those of the upper halves become blank after it, so that `run_of` finds it meanwhile.
        let (mut head, mut half) = (block, order);
        while half < merged {
            table.set(head.max(head.buddy(half)), State::BLANK);
            head = head.head(half.double());
            half = half.double();
        }
    }

    /// Puts a run at the start of a list.
    #[inline(always)]
    fn link(&mut self, table: &Table, block: BlockNumber, list: usize) {
        let next = self.first[list];
        table.set(block, State::buddy(order_of(list), next, None));
        #[cfg(feature = "faults")]
        let next = next.filter(|_| !faults::strikes_block(faults::FrameFault::ForgeListWord));
        if let Some(next) = next {
            table.set(next, table.state(next).with_previous(Some(block)));
        }
        self.first[list] = Some(block);
        self.runs[list] += 1;
        self.nonempty |= 1 << list;
    }

    /// Removes a run from its list. Its state stays.
    #[inline(always)]
    fn unlink(&mut self, table: &Table, block: BlockNumber, list: usize) {
        let state = table.state(block);
        let (next, previous) = (state.next(), state.previous());
        match previous {
            Some(previous) => table.set(previous, table.state(previous).with_next(next)),
            None => self.first[list] = next,
        }
        if let Some(next) = next {
            table.set(next, table.state(next).with_previous(previous));
        }
        self.runs[list] -= 1;
        if self.runs[list] == 0 {
            self.nonempty &= !(1 << list);
        }
    }

    /// Fault injection: moves a free run to the lists of another zone.
    #[cfg(feature = "faults")]
    pub(in crate::memory) fn move_run(
        &mut self,
        table: &Table,
        block: BlockNumber,
        order: Order,
        to: &mut Buddy,
    ) {
        self.unlink(table, block, list_of(order));
        to.link(table, block, list_of(order));
    }

    /// Free bytes.
    #[cfg(test)]
    pub(in crate::memory) fn free_bytes(&self) -> usize {
        Self::orders().map(|order| self.runs_of(order) * order.bytes()).sum()
    }

    /// Whether there are free blocks, no larger run, and at most so many.
    #[inline(always)]
    pub(in crate::memory) fn has_at_most(&self, blocks: usize) -> bool {
        self.nonempty == 1 && self.runs[0] <= blocks
    }

    /// How many runs of this order, 9 or above, are free.
    pub(in crate::memory) fn runs_of(&self, order: Order) -> usize {
        self.runs[list_of(order)]
    }

    /// The free runs of this order, in the order of the list. A list that is corrupt ends at the number of runs that it should have.
    pub(in crate::memory) fn list<'a>(
        &'a self,
        table: &'a Table,
        order: Order,
    ) -> impl Iterator<Item = BlockNumber> + 'a {
        let first = self.first[list_of(order)];
        core::iter::successors(first, |&block| table.state(block).next()).take(self.runs_of(order) + 1)
    }

    /// The orders of the lists.
    pub(in crate::memory) fn orders() -> impl DoubleEndedIterator<Item = Order> {
        (0..LISTS).map(order_of)
    }
}

/// The index of the list for an order, 9 or above.
#[inline(always)]
const fn list_of(order: Order) -> usize {
    (order.get() - Order::BLOCK.get()) as usize
}

/// The order of the runs of a list.
#[inline(always)]
const fn order_of(list: usize) -> Order {
    Order::of_blocks(list)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;
    use crate::memory::frames::{FrameNumber, Frames};

    fn order(number: u8) -> Order {
        Order::new(number).expect("an order")
    }

    /// The blocks of a list.
    fn blocks(buddy: &Buddy, frames: &Frames, of: Order) -> Vec<usize> {
        buddy.list(&frames.table, of).map(|block| block.0).collect()
    }

    /// A table for two gigabytes, without the memory.
    fn table() -> (Frames, Buddy) {
        let end = FrameNumber::new(2 << 18);
        let bytes = Frames::metadata_bytes(end, 0);
        let metadata = Vec::leak(std::vec![0_u64; bytes / 8 + 8]);
        let at = metadata.as_mut_ptr().cast::<u8>();
        let aligned = at.wrapping_add(at.align_offset(64));
        let metadata = core::ptr::NonNull::new(aligned).expect("an address");
        // SAFETY: the metadata is initialised, aligned and long enough, and leaked for the table alone.
        (unsafe { Frames::new(metadata, end, 0) }, Buddy::new())
    }

    #[test]
    fn a_run_is_split_and_merged_with_few_words() {
        let (frames, mut buddy) = table();
        let table = &frames.table;
        let merge = |_: &mut Buddy, _, _| true;
        buddy.give(table, BlockNumber(512), Order::MAX, merge);
        assert_eq!(buddy.free_bytes(), 1 << 30);
        let block = buddy.take(table, Order::BLOCK).expect("a block");
        assert_eq!(block, BlockNumber(512));
        table.set(block, State::huge(Order::BLOCK));
        for number in 9..18 {
            assert_eq!(blocks(&buddy, &frames, order(number)), [512 + (1 << (number - 9))]);
        }
        assert_eq!(table.run_of(BlockNumber(512 + 300)).map(|(head, _)| head), Some(BlockNumber(768)));
        assert_eq!(table.run_of(BlockNumber(511)), None);
        table.set(block, State::transit(Order::BLOCK));
        buddy.give(table, block, Order::BLOCK, merge);
        assert_eq!(blocks(&buddy, &frames, Order::MAX), [512]);
        assert_eq!(buddy.free_bytes(), 1 << 30);
        // Only the first block has a word.
        let words = (0..1024).filter(|&block| table.state(BlockNumber(block)) != State::BLANK);
        assert_eq!(words.collect::<Vec<_>>(), [512]);
        assert_eq!(table.run_of(BlockNumber(1023)).map(|(head, _)| head), Some(BlockNumber(512)));
    }

    #[test]
    fn the_smallest_run_that_is_large_enough_is_taken() {
        let (frames, mut buddy) = table();
        let table = &frames.table;
        for (block, number) in [(512, 18), (0, 13), (32, 12), (64, 11)] {
            buddy.give(table, BlockNumber(block), order(number), |_, _, _| true);
        }
        for (wanted, expected) in [(11, 64), (12, 32), (10, 0), (18, 512)] {
            let block = buddy.take(table, order(wanted)).expect("a run");
            assert_eq!(block, BlockNumber(expected), "order {wanted}");
            table.set(block, State::huge(order(wanted)));
        }
        assert_eq!(buddy.take(table, order(13)), None);
        assert_eq!([10, 11, 12].map(|number| blocks(&buddy, &frames, order(number))), [[2], [4], [8]]);
    }

    #[test]
    fn no_run_is_merged_where_it_may_not_be() {
        let (frames, mut buddy) = table();
        let table = &frames.table;
        let within =
            |_: &mut Buddy, head: BlockNumber, order: Order| head.0 + order.blocks() <= 6 || head.0 >= 6;
        (0..8).for_each(|block| buddy.give(table, BlockNumber(block), Order::BLOCK, within));
        assert_eq!(blocks(&buddy, &frames, order(11)), [0]);
        assert_eq!(blocks(&buddy, &frames, order(10)), [6, 4]);
        assert_eq!(buddy.free_bytes(), 8 << 21);
    }

    #[test]
    fn lists_keep_their_links_in_any_order_of_removal() {
        for removed in 0..24 {
            let (frames, mut buddy) = table();
            let table = &frames.table;
            // Every second block, so that none has a free buddy.
            (0..4).for_each(|index| buddy.give(table, BlockNumber(2 * index), Order::BLOCK, |_, _, _| true));
            let mut left = std::vec![6, 4, 2, 0];
            let mut choice = removed;
            for length in (1..=4).rev() {
                let block = left.remove(choice % length);
                choice /= length;
                // Its buddy takes it out of the list.
                buddy.give(table, BlockNumber(block + 1), Order::BLOCK, |_, _, _| true);
                assert_eq!(blocks(&buddy, &frames, Order::BLOCK), left);
                let back = left.iter().rev().copied();
                let mut from_end =
                    core::iter::successors(left.last().map(|&block| BlockNumber(block)), |&block| {
                        table.state(block).previous()
                    });
                assert!(back.eq(from_end.by_ref().map(|block| block.0)));
                if left.is_empty() {
                    break;
                }
            }
            assert_eq!(buddy.free_bytes(), 8 << 21);
        }
    }
}
