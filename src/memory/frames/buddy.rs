//! The buddy allocator of a zone: free runs of order 9 to 18, as [bits of blocks](super::block_bits).
//!
//! Each gigabyte is in the list of the order of its largest free run. The bits and the links are in the block table, so free memory is
//! never accessed. Each operation takes a bounded time, whatever the size of the memory: an allocation takes a gigabyte from the list that a
//! bit mask finds, and in it the smallest run that is large enough; a free sets bits, and moves the gigabyte to another list if its
//! largest run has become larger, which it seldom does.
//!
//! An allocation takes a gigabyte whose largest run is as small as possible, and in it the smallest run that suffices, the lowest of
//! these. So large runs stay whole. Of gigabytes with equally large runs, the one that was moved last is taken.

use super::bitmap::{Bitmap, WORD_BITS, WORDS};
use super::block_bits::{BLOCKS, RUN_ORDERS, bits_around, index_of, order_at};
#[cfg(feature = "faults")]
use super::faults;
use super::gigabyte::{Gigabyte, GigabyteIndex, Links};
use super::number::{BlockNumber, Order};
use super::table::Table;

/// The free runs of a zone. The lock of the zone protects it, and its gigabytes.
pub(in crate::memory) struct Buddy {
    /// The first gigabyte of each list.
    first: [Option<GigabyteIndex>; RUN_ORDERS],
    /// A bit for each list that is not empty.
    nonempty: u32,
    /// How many blocks are free.
    free: usize,
}

impl Buddy {
    /// A buddy allocator without free runs.
    pub(in crate::memory) const fn new() -> Self {
        Self { first: [None; RUN_ORDERS], nonempty: 0, free: 0 }
    }

    /// Takes a run of this order, 9 or above. Returns its first block, whose state the caller sets.
    #[inline(always)]
    pub(in crate::memory) fn take(&mut self, table: &Table, order: Order) -> Option<BlockNumber> {
        let large_enough = self.nonempty >> index_of(order);
        if large_enough == 0 {
            return None;
        }
        self.take_from(table, order, index_of(order) + large_enough.trailing_zeros() as usize)
    }

    /// [`take`](Self::take) from the first gigabyte of this list.
    #[inline(never)]
    fn take_from(&mut self, table: &Table, order: Order, list: usize) -> Option<BlockNumber> {
        let gigabyte = table.gigabyte(self.first[list]?);
        let entry = gigabyte.entry();
        let at = if list == 0 {
            let (at, is_another_left) = take_block(gigabyte.free())?;
            if !is_another_left {
                self.unlink(table, gigabyte, list);
                gigabyte.set_entry(entry.with_largest(None));
            }
            at
        } else {
            let mut bits = gigabyte.free_now();
            let (at, run) = bits.smallest_run(order)?;
            let taken = bits_around(at, order.blocks().min(WORD_BITS));
            for word in words_of(at, order) {
                bits.0[word] &= !taken;
                gigabyte.free().store(word, bits.0[word]);
            }
            if index_of(run) == list && !bits.has_run(run) {
                // What is left of the run has no larger part than its half.
                let left = if run > order { Some(run.half()) } else { bits.largest_below(run) };
                self.unlink(table, gigabyte, list);
                self.link(table, gigabyte, left);
            }
            at
        };
        // A wrong count is found by `validate`, and should not end the kernel here.
        self.free = self.free.saturating_sub(order.blocks());
        Some(BlockNumber(entry.first_block().0 + at))
    }

    /// Puts in a free run.
    ///
    /// The caller owns the run: it is naturally aligned, managed, not in a buddy, and its blocks belong to this gigabyte, which is of the
    /// zone of this buddy. Their words are blank, or become so before the lock is released.
    #[inline(always)]
    pub(in crate::memory) fn give(
        &mut self,
        table: &Table,
        gigabyte: &'static Gigabyte,
        block: BlockNumber,
        order: Order,
    ) {
        self.count_free(order);
        if order.blocks() > WORD_BITS {
            return self.give_words(table, gigabyte, block, order);
        }
        let at = block.0 % BLOCKS;
        let bits = gigabyte.free().word(at / WORD_BITS) | bits_around(at, order.blocks());
        gigabyte.free().store(at / WORD_BITS, bits);
        // A run of the least order of which there was none, or a word that may be a part of one. Few frees complete one.
        let larger = bits_around(at, gigabyte.entry().next_size());
        if bits & larger == larger {
            self.raise(table, gigabyte, at, order);
        }
    }

    #[inline(always)]
    fn count_free(&mut self, order: Order) {
        #[cfg(feature = "faults")]
        if faults::strikes_block(faults::FrameFault::SkipBuddyInsert) {
            return;
        }
        self.free += order.blocks();
    }

    /// [`give`](Self::give) for a run of several words.
    #[cold]
    #[inline(never)]
    fn give_words(&mut self, table: &Table, gigabyte: &'static Gigabyte, block: BlockNumber, order: Order) {
        let at = block.0 % BLOCKS;
        words_of(at, order).for_each(|word| gigabyte.free().store(word, u64::MAX));
        self.raise(table, gigabyte, at, order);
    }

    /// Moves a gigabyte to the list of the run in which this block is, if that is larger than the largest so far. A run of `order` has
    /// just become free there.
    #[cold]
    #[inline(never)]
    fn raise(&mut self, table: &Table, gigabyte: &'static Gigabyte, at: usize, order: Order) {
        let Some(known) = gigabyte.entry().largest() else {
            return self.link(table, gigabyte, Some(order));
        };
        #[cfg(feature = "faults")]
        if faults::is_armed(faults::FrameFault::SkipBuddyMerge) {
            return;
        }
        let run = gigabyte.free_now().run_at(at);
        if run > Some(known) {
            self.unlink(table, gigabyte, index_of(known));
            self.link(table, gigabyte, run);
        }
    }

    /// Puts in all free blocks of a gigabyte that is in no list.
    pub(in crate::memory) fn adopt(&mut self, table: &Table, gigabyte: &'static Gigabyte) {
        let bits = gigabyte.free_now();
        self.free += bits.count();
        self.link(table, gigabyte, Self::orders().rfind(|&order| bits.has_run(order)));
    }

    /// Puts a gigabyte at the start of the list of its largest order, or in none.
    fn link(&mut self, table: &Table, gigabyte: &'static Gigabyte, largest: Option<Order>) {
        gigabyte.set_entry(gigabyte.entry().with_largest(largest));
        let Some(list) = largest.map(index_of) else { return };
        let (index, next) = (gigabyte.index(), self.first[list]);
        let links = Links::NONE.with_next(next);
        #[cfg(feature = "faults")]
        let links = if faults::strikes_block(faults::FrameFault::ForgeListWord) {
            links.with_previous(Some(index))
        } else {
            links
        };
        gigabyte.set_links(links);
        if let Some(next) = next {
            let next = table.gigabyte(next);
            next.set_links(next.links().with_previous(Some(index)));
        }
        self.first[list] = Some(index);
        self.nonempty |= 1 << list;
    }

    /// Removes a gigabyte from its list.
    fn unlink(&mut self, table: &Table, gigabyte: &'static Gigabyte, list: usize) {
        let links = gigabyte.links();
        if let Some(next) = links.next() {
            let next = table.gigabyte(next);
            next.set_links(next.links().with_previous(links.previous()));
        }
        match links.previous() {
            Some(previous) => {
                let previous = table.gigabyte(previous);
                previous.set_links(previous.links().with_next(links.next()));
            }
            None => {
                self.first[list] = links.next();
                if links.next().is_none() {
                    self.nonempty &= !(1 << list);
                }
            }
        }
    }

    /// How many blocks are free.
    pub(in crate::memory) fn free_blocks(&self) -> usize {
        self.free
    }

    /// Whether some blocks are free, but either no larger run and at most `few`, or fewer than `reserved`.
    #[inline(always)]
    pub(in crate::memory) fn is_short(&self, few: usize, reserved: usize) -> bool {
        self.nonempty == 1 && self.free <= few || self.nonempty != 0 && self.free < reserved
    }

    /// The gigabytes of which the largest free run has this order, 9 or above, in the order of the list. A list that is corrupt has no
    /// end.
    pub(in crate::memory) fn list<'a>(
        &'a self,
        table: &'a Table,
        order: Order,
    ) -> impl Iterator<Item = &'static Gigabyte> + 'a {
        let first = self.first[index_of(order)].map(|first| table.gigabyte(first));
        let next = |gigabyte: &&'static Gigabyte| gigabyte.links().next().map(|next| table.gigabyte(next));
        core::iter::successors(first, next)
    }

    /// The orders of the lists.
    pub(in crate::memory) fn orders() -> impl DoubleEndedIterator<Item = Order> {
        (0..RUN_ORDERS).map(order_at)
    }
}

/// Takes the lowest free block; whether another is left.
#[inline(always)]
fn take_block(free: &Bitmap) -> Option<(usize, bool)> {
    let mut words: [u64; WORDS] = free.load();
    let word = words.iter().position(|&bits| bits != 0)?;
    let bits = words[word];
    words[word] &= bits - 1;
    free.store(word, words[word]);
    let is_another_left = words.iter().fold(0, |left, bits| left | bits) != 0;
    Some((word * WORD_BITS + bits.trailing_zeros() as usize, is_another_left))
}

/// The words in which a run has bits.
#[inline(always)]
fn words_of(at: usize, order: Order) -> core::ops::Range<usize> {
    let first = at / WORD_BITS;
    first..first + order.blocks().div_ceil(WORD_BITS)
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

    /// A table for so many gigabytes, without the memory.
    fn table(gigabytes: usize) -> (Frames, Buddy) {
        let end = FrameNumber::new(gigabytes << 18);
        let bytes = Frames::metadata_bytes(end, 0);
        let metadata = Vec::leak(std::vec![0_u64; bytes / 8 + 8]);
        let at = metadata.as_mut_ptr().cast::<u8>();
        let aligned = at.wrapping_add(at.align_offset(64));
        let metadata = core::ptr::NonNull::new(aligned).expect("an address");
        // SAFETY: the metadata is initialised, aligned and long enough, and leaked for the table alone.
        (unsafe { Frames::new(metadata, end, 0) }, Buddy::new())
    }

    fn give(buddy: &mut Buddy, table: &Table, block: usize, number: u8) {
        buddy.give(table, table.gigabyte_of(BlockNumber(block)), BlockNumber(block), order(number));
        check(buddy, table);
    }

    fn take(buddy: &mut Buddy, table: &Table, number: u8) -> Option<usize> {
        let block = buddy.take(table, order(number));
        check(buddy, table);
        block.map(|block| block.0)
    }

    /// Checks the lists and the count against the bits.
    fn check(buddy: &Buddy, table: &Table) {
        let mut free = 0;
        for order in Buddy::orders() {
            let mut previous = None;
            for gigabyte in buddy.list(table, order) {
                let (bits, index) = (gigabyte.free_now(), gigabyte.index());
                assert!(bits.has_run(order), "{index:?}");
                assert!(order == Order::MAX || !bits.has_run(order.double()), "{index:?}");
                assert_eq!(gigabyte.entry().largest(), Some(order), "{index:?}");
                assert_eq!(gigabyte.links().previous(), previous, "{index:?}");
                previous = Some(index);
                free += bits.count();
            }
            assert_eq!(buddy.nonempty >> index_of(order) & 1 == 1, previous.is_some());
        }
        assert_eq!(buddy.free_blocks(), free);
    }

    #[test]
    fn a_run_is_split_and_merged_by_its_bits() {
        let (frames, mut buddy) = table(2);
        let table = &frames.table;
        give(&mut buddy, table, 512, 18);
        assert_eq!(buddy.free_blocks(), 512);
        assert_eq!(take(&mut buddy, table, 9), Some(512));
        assert_eq!(table.gigabyte(GigabyteIndex(1)).entry().largest(), Some(order(17)));
        for number in 9..18 {
            let head = 512 + (1 << (number - 9));
            assert_eq!(frames.free_run_of(BlockNumber(head)), Some(order(number)));
            assert_eq!(frames.free_run_of(BlockNumber(2 * head - 513)), Some(order(number)));
        }
        assert_eq!(frames.free_run_of(BlockNumber(512)), None);
        assert_eq!(frames.free_run_of(BlockNumber(511)), None);
        give(&mut buddy, table, 512, 9);
        assert_eq!(buddy.list(table, Order::MAX).count(), 1);
        assert_eq!(take(&mut buddy, table, 18), Some(512));
        assert_eq!((buddy.free_blocks(), take(&mut buddy, table, 9)), (0, None));
    }

    #[test]
    fn the_smallest_run_that_is_large_enough_is_taken() {
        let (frames, mut buddy) = table(2);
        let table = &frames.table;
        for (block, number) in [(512, 18), (0, 13), (32, 12), (64, 11)] {
            give(&mut buddy, table, block, number);
        }
        for (wanted, expected) in [(11, 64), (12, 32), (10, 0), (18, 512)] {
            assert_eq!(take(&mut buddy, table, wanted), Some(expected), "order {wanted}");
        }
        assert_eq!(take(&mut buddy, table, 13), None);
        assert_eq!(
            [9, 10, 11, 12].map(|number| take(&mut buddy, table, number)),
            [Some(2), Some(4), Some(8), None]
        );
        assert_eq!(take(&mut buddy, table, 9), Some(3));
        assert_eq!(buddy.free_blocks(), 2 + 4);
    }

    /// A small allocation leaves the gigabyte whole that has the larger run.
    #[test]
    fn the_gigabyte_with_the_smallest_run_that_is_large_enough_is_taken_from() {
        let (frames, mut buddy) = table(4);
        let table = &frames.table;
        for (block, number) in [(0, 18), (512 + 64, 15), (1024 + 2, 10), (1536, 17)] {
            give(&mut buddy, table, block, number);
        }
        for (wanted, expected) in [(9, 1026), (12, 576), (16, 1536), (17, 0), (17, 256), (18, 0)] {
            let found = take(&mut buddy, table, wanted);
            assert_eq!(found, (wanted != 18).then_some(expected), "order {wanted}");
        }
    }

    #[test]
    fn blocks_in_any_order_become_one_run() {
        for step in [1, 3, 85, 255, 511] {
            let (frames, mut buddy) = table(1);
            for index in 0..512 {
                give(&mut buddy, &frames.table, index * step % 512, 9);
            }
            assert_eq!(buddy.list(&frames.table, Order::MAX).count(), 1, "step {step}");
            for block in 0..512 {
                assert_eq!(take(&mut buddy, &frames.table, 9), Some(block));
            }
        }
    }

    #[test]
    fn lists_keep_their_links_in_any_order_of_removal() {
        for removed in 0..24 {
            let (frames, mut buddy) = table(4);
            let table = &frames.table;
            (0..4).for_each(|gigabyte| give(&mut buddy, table, 512 * gigabyte, 9));
            let mut left = std::vec![3, 2, 1, 0];
            let mut choice = removed;
            for length in (1..=4).rev() {
                let gigabyte = left.remove(choice % length);
                choice /= length;
                // Its neighbour moves it to the next list.
                give(&mut buddy, table, 512 * gigabyte + 1, 9);
                let list: Vec<_> =
                    buddy.list(table, Order::BLOCK).map(|gigabyte| gigabyte.index().0).collect();
                assert_eq!(list, left);
                let moved = buddy.list(table, order(10)).next().map(|gigabyte| gigabyte.index());
                assert_eq!(moved, Some(GigabyteIndex(gigabyte)));
            }
        }
    }
}
