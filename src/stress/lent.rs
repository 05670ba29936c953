//! Frames that the kernel's allocator lends to another one while that is under test.

use super::arena;
use super::source::Locked;
use crate::memory::frames::{FRAME_BYTES, ORDERS, Order};
use crate::memory::{self, FrameRange};

/// What the library's trees need for each frame at worst: half of all frames free by themselves, each in a node that is not
/// half full.
const ARENA_BYTES_PER_FRAME: usize = 32;

/// What the kernel keeps for itself meanwhile: 1 MiB.
const KEPT: Order = Order::new(8).expect("there are more orders than that");

/// How many pieces are lent at most. Right after boot there are two or three of each order.
const MAX_PIECES: usize = 8 * ORDERS;

/// Frames on loan, and the arena that their borrower needs.
pub struct Loan {
    pieces: heapless::Vec<FrameRange, MAX_PIECES>,
    /// Dropped after the arena has been withdrawn from it.
    _arena: FrameRange,
}

impl Loan {
    /// Takes what is free, in the largest pieces. No other CPU allocates meanwhile. `None` if there is too little.
    pub fn take() -> Option<Loan> {
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
        Some(Loan { pieces, _arena: arena })
    }

    /// Lets a new allocator have the frames, and `f` have the allocator.
    pub fn lend<R>(&self, f: impl FnOnce(&Locked) -> R) -> R {
        let locked = Locked::new();
        for piece in &self.pieces {
            locked.insert(piece.number()..piece.number() + piece.frames());
        }
        f(&locked)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // SAFETY: the arena's only user is the `Locked` of `lend`, which lived in that call alone.
        unsafe { arena::withdraw() };
    }
}
