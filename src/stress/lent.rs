//! Frames that the kernel's allocator lends to another one while that is under test.

use core::ops::Range;

use super::arena;
use super::source::Locked;
use crate::boot::direct_map;
use crate::memory;
use crate::memory::frames::{FRAME_BYTES, FrameNumber, ORDERS, Order};

/// What the library's trees need for each frame at worst: half of all frames free by themselves, each in a node that is not
/// half full.
const ARENA_BYTES_PER_FRAME: usize = 32;

/// What the kernel keeps for itself meanwhile: 1 MiB.
const KEPT: Order = Order::new(8).expect("there are more orders than that");

/// How many pieces are lent at most. Right after boot there are two or three of each order.
const MAX_PIECES: usize = 8 * ORDERS;

/// Frames on loan, and the arena that their borrower needs.
pub struct Loan {
    pieces: [(FrameNumber, Order); MAX_PIECES],
    count: usize,
    arena: (FrameNumber, Order),
}

impl Loan {
    /// Takes what is free, in the largest pieces. Nobody else allocates meanwhile. `None` if there is too little.
    pub fn take() -> Option<Loan> {
        let bytes = memory::frames().total_frames() * ARENA_BYTES_PER_FRAME;
        let order = Order::containing(bytes.div_ceil(FRAME_BYTES))?;
        let arena = (memory::alloc(order)?, order);
        let Some(kept) = memory::alloc(KEPT) else {
            give_back(arena);
            return None;
        };
        let mut loan = Loan { pieces: [(FrameNumber::new(0), Order::FRAME); MAX_PIECES], count: 0, arena };
        for order in (0..ORDERS as u8).rev().filter_map(Order::new) {
            while loan.count < MAX_PIECES
                && let Some(frame) = memory::alloc_without_waiting(order)
            {
                loan.pieces[loan.count] = (frame, order);
                loan.count += 1;
            }
        }
        give_back((kept, KEPT));
        // SAFETY: the frames are this loan's own, in the direct map, and the arena is withdrawn before they go back.
        unsafe { arena::lend(direct_map::pointer(arena.0.address() as u64), order.bytes()) };
        Some(loan)
    }

    /// Lets a new allocator have the frames, and `f` have the allocator.
    pub fn lend<R>(&self, f: impl FnOnce(&Locked) -> R) -> R {
        let locked = Locked::new();
        for (frame, order) in &self.pieces[..self.count] {
            locked.insert(Range { start: *frame, end: *frame + order.frames() });
        }
        f(&locked)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // SAFETY: whoever had something of it lived in `lend` alone.
        unsafe { arena::withdraw() };
        give_back(self.arena);
        for piece in &self.pieces[..self.count] {
            give_back(*piece);
        }
    }
}

fn give_back((frame, order): (FrameNumber, Order)) {
    if let Err(error) = memory::free(frame, order) {
        log::error!("{error}");
    }
}
