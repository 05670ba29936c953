//! The buddy allocator of whole blocks: [`Heap`] of the crate `buddy_system_allocator`, which links free blocks through the direct map.
//!
//! The heap uses addresses; this file converts blocks into them. It does two things itself:
//!
//! - **What may be freed.** The heap accepts anything. The state words of the table, which change under the same lock, say what is
//!   allocated.
//! - **When to merge.** The heap's `dealloc` searches a list that may be long. The caller knows from one state word whether the buddy of a
//!   block is free; if it is not, the block is only pushed.
//!
//! Blocks of the largest order, which cannot be merged, are not linked but kept as runs of numbers, while there is room for another run.
//! So their memory is not touched before it is used. The host of a virtual machine backs the first touch of each GiB with 2 MiB: with
//! terabytes of memory the boot would otherwise fail.
//!
//! Of the heap's statistics only the difference *total - allocated* has a meaning here: the free bytes in it.

use super::number::{BlockNumber, FRAME_BYTES, FRAMES_PER_BLOCK, FrameNumber, Order};
use buddy_system_allocator::Heap;
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::NonNull;

/// The heap's size classes are powers of two in bytes, up to the largest order.
const CLASSES: usize = Order::MAX.bytes().trailing_zeros() as usize + 1;
const BLOCK_BYTES: usize = FRAMES_PER_BLOCK * FRAME_BYTES;

/// Free blocks, and larger free runs.
pub(in crate::memory) struct Buddy {
    heap: Heap<CLASSES>,
    uninitialized: Uninitialized,
    direct_map_base: usize,
}

impl Buddy {
    /// A buddy allocator without free blocks. `direct_map_base` is the address at which physical address 0 is mapped. It must keep natural
    /// alignment up to the largest order, because the heap finds the buddy of a run by its address.
    ///
    /// # Panics
    /// If the base is zero, so that the heap's null pointer would be a block, or misaligned.
    pub(in crate::memory) fn new(direct_map_base: usize) -> Self {
        assert!(
            direct_map_base != 0 && direct_map_base.is_multiple_of(Order::MAX.bytes()),
            "a direct map at {direct_map_base:#x} breaks natural alignment"
        );
        Self { heap: Heap::new(), uninitialized: Uninitialized::new(), direct_map_base }
    }

    /// Takes a run of this order, 9 or above; its first block.
    #[inline(always)]
    pub(in crate::memory) fn take(&mut self, order: Order) -> Option<BlockNumber> {
        let mut piece = self.heap.alloc(layout(order));
        if piece.is_err() {
            let block = self.uninitialized.take()?;
            if order == Order::MAX {
                return Some(block);
            }
            // SAFETY: `push` has put in this run of the largest order, and `take` above has removed it.
            unsafe { self.link(block, Order::MAX) };
            piece = self.heap.alloc(layout(order));
        }
        let address = piece.ok()?.addr().get();
        Some(FrameNumber::containing(address.wrapping_sub(self.direct_map_base)).block())
    }

    /// Puts a run in, without merging.
    ///
    /// # Safety
    /// The run is naturally aligned, mapped in the direct map, free, and not in any buddy. Nothing accesses its memory until it is taken
    /// out.
    #[inline(always)]
    pub(in crate::memory) unsafe fn push(&mut self, block: BlockNumber, order: Order) {
        if order < Order::MAX || !self.uninitialized.add(block) {
            // SAFETY: the piece is aligned, mapped, free and not inside, guaranteed by the caller (see # Safety).
            unsafe { self.link(block, order) };
        }
    }

    /// Links a run into the heap's list.
    ///
    /// # Safety
    /// As for [`push`](Self::push).
    #[inline(always)]
    unsafe fn link(&mut self, block: BlockNumber, order: Order) {
        let start = self.address(block);
        // SAFETY: the memory is mapped, free and in no buddy, guaranteed by the caller (see # Safety).
        unsafe { self.heap.add_to_heap(start, start + order.bytes()) };
    }

    /// Puts a run in, and merges it with its free buddies.
    ///
    /// # Safety
    /// As for [`push`](Self::push).
    #[cold]
    #[inline(never)]
    pub(in crate::memory) unsafe fn give(&mut self, block: BlockNumber, order: Order) {
        // A run that leaves the heap permanently counts like a push.
        if order == Order::MAX && self.may_push() && self.uninitialized.add(block) {
            return;
        }
        let mut piece = NonNull::new(self.address(block) as *mut u8);
        if self.heap.stats_alloc_actual() < order.bytes() {
            // A run that the heap has not allocated must be counted before it is deallocated. The heap returns the run that was
            // pushed, or another free one of the same size.
            // SAFETY: the piece is aligned, mapped, free and not inside, guaranteed by the caller (see # Safety).
            unsafe { self.link(block, order) };
            piece = self.heap.alloc(layout(order)).ok();
        }
        if let Some(piece) = piece {
            // SAFETY: the run is free and not in the heap. The heap has allocated at least so many bytes, as its counts demand; its
            // lists depend on nothing else.
            unsafe { self.heap.dealloc(piece, layout(order)) };
        }
    }

    /// Whether [`push`](Self::push) may replace [`give`](Self::give) for a run without a free buddy. Each push raises the heap's total,
    /// which must not overflow.
    pub(in crate::memory) fn may_push(&self) -> bool {
        self.heap.stats_total_bytes() < 1 << 62
    }

    /// Free bytes.
    pub(in crate::memory) fn free_bytes(&self) -> usize {
        let in_heap = self.heap.stats_total_bytes() - self.heap.stats_alloc_actual();
        in_heap + self.uninitialized.pieces() * Order::MAX.bytes()
    }

    fn address(&self, block: BlockNumber) -> usize {
        self.direct_map_base.wrapping_add(block.0 * BLOCK_BYTES)
    }
}

/// Runs of blocks of the largest order whose memory the allocator has not touched, by their numbers. Memory maps have few; a block next to
/// a run joins it.
struct Uninitialized {
    /// Empty ranges are free entries.
    runs: [Range<usize>; Uninitialized::RUNS],
}

impl Uninitialized {
    const RUNS: usize = 8;

    const fn new() -> Uninitialized {
        Uninitialized { runs: [const { 0..0 }; Uninitialized::RUNS] }
    }

    /// Adds the run of the largest order that starts there; `false` if no entry is free.
    fn add(&mut self, block: BlockNumber) -> bool {
        let piece = block.0 / Order::MAX.blocks();
        let is_run = |run: &&mut Range<usize>| run.start < run.end;
        if let Some(run) = self.runs.iter_mut().filter(is_run).find(|run| run.end == piece) {
            run.end += 1;
            return true;
        }
        if let Some(run) = self.runs.iter_mut().filter(is_run).find(|run| run.start == piece + 1) {
            run.start -= 1;
            return true;
        }
        let place = self.runs.iter_mut().find(|run| run.start == run.end);
        place.map(|place| *place = piece..piece + 1).is_some()
    }

    /// Takes the lowest one; its first block.
    fn take(&mut self) -> Option<BlockNumber> {
        let run = self.runs.iter_mut().filter(|run| run.start < run.end).min_by_key(|run| run.start)?;
        let piece = run.start;
        run.start += 1;
        Some(BlockNumber(piece * Order::MAX.blocks()))
    }

    /// How many runs of the largest order there are.
    fn pieces(&self) -> usize {
        self.runs.iter().map(Range::len).sum()
    }
}

/// The layout for an order, by its alignment alone. The heap takes the larger one of the alignment and the size rounded up to a power of
/// two, and the rounding costs time.
fn layout(order: Order) -> Layout {
    // SAFETY: the alignment is a power of two, and no order's comes near `isize::MAX`.
    unsafe { Layout::from_size_align_unchecked(0, order.bytes()) }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    fn gib(number: usize) -> BlockNumber {
        BlockNumber(number * Order::MAX.blocks())
    }

    /// At addresses where nothing is mapped: an access to a free run faults.
    fn buddy() -> Buddy {
        Buddy::new(1 << 62)
    }

    #[test]
    fn runs_of_the_largest_order_go_in_and_out_untouched() {
        let mut buddy = buddy();
        for number in [3, 4, 5, 7, 2, 6, 100] {
            // SAFETY: none of it is touched, which is what this shows.
            unsafe { buddy.push(gib(number), Order::MAX) };
        }
        assert_eq!(buddy.free_bytes(), 7 << 30);
        let taken: Vec<_> =
            core::iter::from_fn(|| buddy.take(Order::MAX)).map(|block| block.0 / 512).collect();
        assert_eq!(taken, [2, 3, 4, 5, 6, 7, 100]);
        assert_eq!(buddy.free_bytes(), 0);
        for number in taken.into_iter().rev() {
            // SAFETY: the piece was taken out above, and pieces of the largest order are noted without being touched.
            unsafe { buddy.give(gib(number), Order::MAX) };
        }
        assert_eq!(buddy.free_bytes(), 7 << 30);
    }

    #[test]
    fn runs_are_joined_at_both_ends_and_bounded() {
        let mut uninitialized = Uninitialized::new();
        let scattered =
            (0..20).map(|number| uninitialized.add(gib(10 * number + 5))).filter(|added| *added).count();
        assert_eq!(scattered, Uninitialized::RUNS);
        assert!(uninitialized.add(gib(6)) && uninitialized.add(gib(4)) && !uninitialized.add(gib(8)));
        assert_eq!(uninitialized.pieces(), Uninitialized::RUNS + 2);
        assert_eq!(uninitialized.take(), Some(gib(4)));
    }

    /// Backed by the host, one piece is split, and becomes whole again as the heap's own.
    #[test]
    #[cfg_attr(miri, ignore = "Miri aligns to 512 MiB at most")]
    fn a_run_is_linked_when_it_must_be_split() {
        let world = crate::memory::host::World::new(1536);
        let before = world.frames.free_by_order();
        let magazine = crate::memory::cache::Magazine::new();
        let frame = world.frames.alloc(&magazine, Order::FRAME).expect("a frame");
        let huge = world.frames.alloc(&magazine, Order::MAX).expect("a gigabyte");
        assert_eq!(world.frames.validate(), Ok(()));
        assert_eq!(world.frames.free(&magazine, huge, Order::MAX), Ok(()));
        assert_eq!(world.frames.free(&magazine, frame, Order::FRAME), Ok(()));
        assert_eq!(world.frames.drain(&magazine), Ok(()));
        world.assert_as_before(before);
    }
}
