//! Layer 3: whole blocks, in the crate's buddy [`Heap`], which links free ones through the direct map.
//!
//! The heap knows addresses, this file turns blocks into them. Two things it does not leave to the crate:
//!
//! - **Who may be given in.** The heap accepts anything; the table's states, changed under the same lock, say what is out.
//! - **When to look for a neighbour to merge with.** The heap's `dealloc` walks a list that may be long; the caller knows
//!   from one state word that there is nothing to find, and then the block is only pushed.
//!
//! Pieces of the largest order, which have no neighbour to merge with, are not linked but kept as runs of numbers, while
//! there is room for another run. So nothing in them is touched before it is needed: on terabytes of memory, where the
//! host backs the first touch of each GiB with 2 MiB, that is the difference between a boot and none.
//!
//! Of the heap's statistics only the difference *total − allocated* means anything here: the bytes that are free inside.

use super::number::{BlockNumber, FRAME_BYTES, FRAMES_PER_BLOCK, FrameNumber, Order};
use buddy_system_allocator::Heap;
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::NonNull;

/// The heap's classes are powers of two in bytes; the last one is that of the largest order.
const CLASSES: usize = Order::MAX.bytes().trailing_zeros() as usize + 1;
const BLOCK_BYTES: usize = FRAMES_PER_BLOCK * FRAME_BYTES;

/// Free blocks, singly and in larger pieces.
pub(in crate::memory) struct Buddy {
    heap: Heap<CLASSES>,
    uninitialized: Uninitialized,
    direct_map_base: usize,
}

impl Buddy {
    /// An empty one. `direct_map_base` is where physical address 0 is mapped; natural alignment must hold there up to
    /// the largest order, since the heap finds a piece's buddy by its address.
    ///
    /// # Panics
    /// If the base is zero, where the heap's null pointer would be a block, or misaligned.
    pub(in crate::memory) fn new(direct_map_base: usize) -> Self {
        assert!(
            direct_map_base != 0 && direct_map_base.is_multiple_of(Order::MAX.bytes()),
            "a direct map at {direct_map_base:#x} breaks natural alignment"
        );
        Self { heap: Heap::new(), uninitialized: Uninitialized::new(), direct_map_base }
    }

    /// Takes a piece of this order, 9 or above; its first block.
    #[inline(always)]
    pub(in crate::memory) fn take(&mut self, order: Order) -> Option<BlockNumber> {
        let mut piece = self.heap.alloc(layout(order));
        if piece.is_err() {
            let block = self.uninitialized.take()?;
            if order == Order::MAX {
                return Some(block);
            }
            // SAFETY: the piece was given in as one that `push` takes, and is nowhere else now.
            unsafe { self.link(block, Order::MAX) };
            piece = self.heap.alloc(layout(order));
        }
        let address = piece.ok()?.addr().get();
        Some(FrameNumber::containing(address.wrapping_sub(self.direct_map_base)).block())
    }

    /// Gives a piece without looking for a neighbour to merge with.
    ///
    /// # Safety
    /// The piece is naturally aligned, mapped in the direct map, free, and not inside already; from here on nobody
    /// touches it until it is taken out.
    #[inline(always)]
    pub(in crate::memory) unsafe fn push(&mut self, block: BlockNumber, order: Order) {
        if order < Order::MAX || !self.uninitialized.add(block) {
            // SAFETY: the piece is aligned, mapped, free and not inside, guaranteed by the caller (see # Safety).
            unsafe { self.link(block, order) };
        }
    }

    /// Links a piece into the heap's list.
    ///
    /// # Safety
    /// As for [`push`](Self::push).
    #[inline(always)]
    unsafe fn link(&mut self, block: BlockNumber, order: Order) {
        let start = self.address(block);
        // SAFETY: the caller gives memory that is mapped, free and not inside already.
        unsafe { self.heap.add_to_heap(start, start + order.bytes()) };
    }

    /// Gives a piece and merges it with its free neighbours.
    ///
    /// # Safety
    /// As for [`push`](Self::push).
    #[cold]
    #[inline(never)]
    pub(in crate::memory) unsafe fn give(&mut self, block: BlockNumber, order: Order) {
        // To leave the heap for good counts like a push.
        if order == Order::MAX && self.may_push() && self.uninitialized.add(block) {
            return;
        }
        let mut piece = NonNull::new(self.address(block) as *mut u8);
        if self.heap.stats_alloc_actual() < order.bytes() {
            // What did not come from the heap, or came by `push`, must be counted before it may be deallocated. What
            // comes back is what was pushed, or else one just as free and as large.
            // SAFETY: the piece is aligned, mapped, free and not inside, guaranteed by the caller (see # Safety).
            unsafe { self.link(block, order) };
            piece = self.heap.alloc(layout(order)).ok();
        }
        if let Some(piece) = piece {
            // SAFETY: the piece is free and not inside; the heap has handed out at least this many bytes that have not
            // come back, which is all that its counts ask for, and its lists depend on nothing else.
            unsafe { self.heap.dealloc(piece, layout(order)) };
        }
    }

    /// Whether [`push`](Self::push) may be used in place of [`give`](Self::give) for a piece without a free neighbour:
    /// pushing raises the heap's totals for ever, and they must not overflow.
    pub(in crate::memory) fn may_push(&self) -> bool {
        self.heap.stats_total_bytes() < 1 << 62
    }

    /// Bytes inside.
    pub(in crate::memory) fn free_bytes(&self) -> usize {
        let in_heap = self.heap.stats_total_bytes() - self.heap.stats_alloc_actual();
        in_heap + self.uninitialized.pieces() * Order::MAX.bytes()
    }

    fn address(&self, block: BlockNumber) -> usize {
        self.direct_map_base.wrapping_add(block.0 * BLOCK_BYTES)
    }
}

/// Runs of pieces of the largest order, by their number. Memory maps have few, and what is given back to a run's end
/// joins it.
struct Uninitialized {
    /// Those that are empty are free places.
    runs: [Range<usize>; Uninitialized::RUNS],
}

impl Uninitialized {
    const RUNS: usize = 8;

    const fn new() -> Uninitialized {
        Uninitialized { runs: [const { 0..0 }; Uninitialized::RUNS] }
    }

    /// Adds the piece that begins there; `false` if it would need a run more than there can be.
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

    /// Takes the lowest piece; its first block.
    fn take(&mut self) -> Option<BlockNumber> {
        let run = self.runs.iter_mut().filter(|run| run.start < run.end).min_by_key(|run| run.start)?;
        let piece = run.start;
        run.start += 1;
        Some(BlockNumber(piece * Order::MAX.blocks()))
    }

    /// How many there are.
    fn pieces(&self) -> usize {
        self.runs.iter().map(Range::len).sum()
    }
}

/// An order as the heap wants it: by its alignment alone. The heap takes the larger of that and the size rounded up to a
/// power of two, which has cost something by then.
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

    /// Where nothing is mapped: whoever touches a piece here does not survive it.
    fn buddy() -> Buddy {
        Buddy::new(1 << 62)
    }

    #[test]
    fn large_pieces_go_in_and_out_untouched() {
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
    fn a_piece_is_linked_when_it_must_be_split() {
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
