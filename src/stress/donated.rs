//! Frames that the kernel's allocator lends to another one while that is under test.

use core::ops::Range;

use super::allocators::{Allocator, Backing, BorrowedMemory, Page};
use super::arena;
use super::source::FrameSource;
use crate::memory::frames::{FRAME_BYTES, FrameNumber, ORDERS, Order};
use crate::memory::{self, FrameRange, ZeroedSlice};

/// What the library's trees need for each frame at worst: half of all frames free by themselves, each in a node that is not
/// half full.
const ARENA_BYTES_PER_FRAME: usize = 32;

/// What the kernel keeps for itself meanwhile: 1 MiB.
const KEPT: Order = Order::new(8).expect("there are more orders than that");

/// How many pieces are lent at most. Right after boot there are two or three of each order.
const MAX_PIECES: usize = 8 * ORDERS;

/// Frames on loan, and the arena and the metadata that their borrower needs.
pub struct DonatedFrames {
    pieces: heapless::Vec<FrameRange, MAX_PIECES>,
    metadata: ZeroedSlice<Page>,
    /// Dropped after the arena has been withdrawn from it.
    _arena: FrameRange,
}

impl DonatedFrames {
    /// Takes what is free, in the largest pieces, and that many pages of metadata. No other CPU allocates meanwhile. `None` if
    /// there is too little.
    pub fn take(metadata_pages: usize) -> Option<DonatedFrames> {
        let metadata = ZeroedSlice::new(metadata_pages)?;
        let bytes = memory::frames().total_frames() * ARENA_BYTES_PER_FRAME;
        let order = Order::containing(bytes.div_ceil(FRAME_BYTES))?;
        let arena = FrameRange::alloc(order)?;
        let kept = FrameRange::alloc(KEPT)?;
        let mut pieces = heapless::Vec::new();
        for order in (0..ORDERS as u8).rev().filter_map(Order::new) {
            while !pieces.is_full()
                && let Some(piece) = FrameRange::alloc_nowait(order)
            {
                // There is room, as the condition says.
                let _ = pieces.push(piece);
            }
        }
        drop(kept);
        // SAFETY: the frames are this loan's own, in the direct map, and the arena is withdrawn before they are freed, in `drop`.
        unsafe { arena::lend(arena.as_ptr(), arena.bytes()) };
        Some(DonatedFrames { pieces, metadata, _arena: arena })
    }

    /// Makes the allocator on these frames, for that many contexts, and passes it to `f`. The kernel's own is not made.
    pub fn lend(&mut self, allocator: &Allocator, contexts: usize, f: &mut dyn FnMut(&dyn FrameSource)) {
        let Backing::Borrowed(borrower) = allocator.backing else { return };
        let pieces = self.pieces.iter().map(|piece| piece.number()..piece.number() + piece.frames());
        let pieces: heapless::Vec<Range<FrameNumber>, MAX_PIECES> = pieces.collect();
        (borrower.run)(&BorrowedMemory::new(&pieces, contexts, &mut self.metadata), f);
    }
}

impl Drop for DonatedFrames {
    fn drop(&mut self) {
        // SAFETY: the arena's only user is the `Locked` of `lend`, which lived in that call alone.
        unsafe { arena::withdraw() };
    }
}
