//! Frames that the kernel's allocator donates to an allocator under test.

use core::ops::Range;

use super::allocator::{MAX_RANGES, join};
use super::allocators::{Allocator, Backing, BorrowedMemory, MetadataPage};
use super::lent::LentFrames;
use super::source::FrameSource;
use crate::heap::arena;
use crate::memory::frames::{FRAME_BYTES, FrameNumber, ORDERS, Order};
use crate::memory::{self, FrameRange, ZeroedSlice};

/// Bytes of tree nodes per frame at worst: every second frame is free, each in a node that is not half full.
const ARENA_BYTES_PER_FRAME: usize = 32;

/// The reserve for the kernel's own allocations: 1 MiB.
const KEPT: Order = Order::new(8).expect("there are more orders than that");

/// Donated frames, and the arena and the metadata of their borrower. Freed when dropped.
pub(crate) struct DonatedFrames {
    ranges: heapless::Vec<FrameRange, MAX_RANGES>,
    metadata: ZeroedSlice<MetadataPage>,
    /// Dropped after `drop` has revoked it from the arena.
    _arena: FrameRange,
}

impl DonatedFrames {
    /// Allocates all free frames, in the largest ranges, and that many pages of metadata. `None` if there is too little memory.
    ///
    /// **Context:** thread; no other CPU allocates meanwhile.
    pub(crate) fn take(metadata_pages: usize) -> Option<DonatedFrames> {
        let metadata = ZeroedSlice::new(metadata_pages)?;
        let bytes = memory::frames().total_frames() * ARENA_BYTES_PER_FRAME;
        let order = Order::containing(bytes.div_ceil(FRAME_BYTES))?;
        let arena = FrameRange::alloc(order)?;
        let kept = FrameRange::alloc(KEPT)?;
        let mut ranges = heapless::Vec::new();
        for order in (0..ORDERS as u8).rev().filter_map(Order::new) {
            while !ranges.is_full()
                && let Some(range) = FrameRange::alloc_nowait(order)
            {
                // The vector is not full.
                let _ = ranges.push(range);
            }
        }
        drop(kept);
        // SAFETY: the memory must be writable, aligned and unused until `revoke`. `arena` owns it, in the direct map, and `drop`
        // revokes it before the frames are freed.
        unsafe { arena::donate(arena.as_ptr(), arena.bytes()) };
        Some(DonatedFrames { ranges, metadata, _arena: arena })
    }

    /// Makes the allocator on these frames, for that many contexts, and passes it to `f`, with the frames that it was lent. Does nothing
    /// for the kernel's own.
    pub(crate) fn run(
        &mut self,
        allocator: &Allocator,
        contexts: usize,
        f: &mut dyn FnMut(&dyn FrameSource, LentFrames<'_>),
    ) {
        let Backing::Borrowed(borrower) = allocator.backing else { return };
        let ranges = self.ranges.iter().map(|range| range.number()..range.number() + range.frames());
        let mut ranges: heapless::Vec<Range<FrameNumber>, MAX_RANGES> = ranges.collect();
        join(&mut ranges);
        borrower.shape.of(&mut ranges);
        let lent = LentFrames::new(&ranges);
        let memory = BorrowedMemory::new(&ranges, contexts, &mut self.metadata);
        (borrower.run)(&memory, &mut |source| f(source, lent));
    }
}

impl Drop for DonatedFrames {
    fn drop(&mut self) {
        // SAFETY: no block of the arena may be in use. Only the allocator that `run` makes uses it, and it ends in that call.
        unsafe { arena::revoke() };
    }
}
