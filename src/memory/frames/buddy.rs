//! Layer 3: whole blocks, in the crate's buddy [`Heap`], which links free ones through the direct map.
//!
//! The heap knows addresses, this file turns blocks into them. Two things it does not leave to the crate:
//!
//! - **Who may be given in.** The heap accepts anything; the table's states, changed under the same lock, say what is out.
//! - **When to look for a neighbour to merge with.** The heap's `dealloc` walks a list that may be long; the caller knows
//!   from one state word that there is nothing to find, and then the block is only pushed.
//!
//! Of the heap's statistics only the difference *total − allocated* means anything here: the bytes that are free inside.

use super::number::{BlockNumber, FRAME_BYTES, FRAMES_PER_BLOCK, FrameNumber, Order};
use buddy_system_allocator::Heap;
use core::alloc::Layout;
use core::ptr::NonNull;

/// The heap's classes are powers of two in bytes; the last one is that of the largest order.
const CLASSES: usize = Order::MAX.bytes().trailing_zeros() as usize + 1;
const BLOCK_BYTES: usize = FRAMES_PER_BLOCK * FRAME_BYTES;

/// Free blocks, singly and in larger pieces.
pub(super) struct Buddy {
    heap: Heap<CLASSES>,
    direct_map_base: usize,
}

impl Buddy {
    /// An empty one. `direct_map_base` is where physical address 0 is mapped; natural alignment must hold there up to
    /// the largest order, since the heap finds a piece's buddy by its address.
    ///
    /// # Panics
    /// If the base is zero, where the heap's null pointer would be a block, or misaligned.
    pub(super) fn new(direct_map_base: usize) -> Self {
        assert!(
            direct_map_base != 0 && direct_map_base.is_multiple_of(Order::MAX.bytes()),
            "a direct map at {direct_map_base:#x} breaks natural alignment"
        );
        Self { heap: Heap::new(), direct_map_base }
    }

    /// Takes a piece of this order, 9 or above; its first block.
    pub(super) fn take(&mut self, order: Order) -> Option<BlockNumber> {
        let address = self.heap.alloc(layout(order)).ok()?.addr().get();
        Some(FrameNumber::containing(address.wrapping_sub(self.direct_map_base)).block())
    }

    /// Gives a piece without looking for a neighbour to merge with.
    ///
    /// # Safety
    /// The piece is naturally aligned, mapped in the direct map, free, and not inside already; from here on nobody
    /// touches it until it is taken out.
    pub(super) unsafe fn push(&mut self, block: BlockNumber, order: Order) {
        let start = self.address(block);
        // SAFETY: the caller gives memory that is mapped, free and not inside already.
        unsafe { self.heap.add_to_heap(start, start + order.bytes()) };
    }

    /// Gives a piece and merges it with its free neighbours.
    ///
    /// # Safety
    /// As for [`push`](Self::push).
    pub(super) unsafe fn give(&mut self, block: BlockNumber, order: Order) {
        let mut piece = NonNull::new(self.address(block) as *mut u8);
        if self.heap.stats_alloc_actual() < order.bytes() {
            // What did not come from the heap, or came by `push`, must be counted before it may be deallocated. What
            // comes back is what was pushed, or else one just as free and as large.
            // SAFETY: the caller's conditions are those of the call.
            unsafe { self.push(block, order) };
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
    pub(super) fn may_push(&self) -> bool {
        self.heap.stats_total_bytes() < 1 << 62
    }

    /// Bytes inside.
    pub(super) fn free_bytes(&self) -> usize {
        self.heap.stats_total_bytes() - self.heap.stats_alloc_actual()
    }

    fn address(&self, block: BlockNumber) -> usize {
        self.direct_map_base.wrapping_add(block.0 * BLOCK_BYTES)
    }
}

/// An order as the heap wants it.
fn layout(order: Order) -> Layout {
    // SAFETY: the size is a power of two, and no order's comes near `isize::MAX`.
    unsafe { Layout::from_size_align_unchecked(order.bytes(), order.bytes()) }
}
