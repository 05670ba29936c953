//! octopod's allocator on the host: the shared part, and a magazine for each seat.

extern crate std;

use core::cell::UnsafeCell;
use std::vec::Vec;

use crossbeam_utils::CachePadded;

use super::{FrameSource, Seat};
use crate::memory::cache::Magazine;
use crate::memory::frames::{FrameNumber, FreeError, Invalid, ORDERS, Order};
use crate::memory::host::World;

/// The allocator, with a magazine for each seat. A thread cannot be interrupted and asked for what it keeps, so a seat that
/// finds nothing has to do without the other seats' frames.
pub struct Hosted<'a> {
    world: &'a World,
    magazines: Vec<CachePadded<UnsafeCell<Magazine>>>,
}

// SAFETY: a magazine is reached through `&mut Seat` of its own number alone, and there is one seat of each number.
unsafe impl Sync for Hosted<'_> {}

impl<'a> Hosted<'a> {
    /// On that memory, for so many seats.
    pub fn new(world: &'a World, seats: usize) -> Hosted<'a> {
        let magazines = (0..seats).map(|_| CachePadded::new(UnsafeCell::new(Magazine::new()))).collect();
        Hosted { world, magazines }
    }

    #[inline]
    fn with<R>(&self, seat: &mut Seat, f: impl FnOnce(&Magazine) -> R) -> R {
        // SAFETY: the seat is this thread's alone.
        f(unsafe { &*self.magazines[seat.number()].get() })
    }
}

impl FrameSource for Hosted<'_> {
    fn alloc(&self, seat: &mut Seat, order: Order) -> Option<FrameNumber> {
        self.with(seat, |magazine| self.world.frames.alloc(magazine, order))
    }

    unsafe fn free(&self, seat: &mut Seat, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        self.with(seat, |magazine| self.world.frames.free(magazine, frame, order))
    }

    fn reaches_everything(&self) -> bool {
        false
    }

    fn drain(&self, seat: &mut Seat) {
        // What is wrong with a frame here was its freer's fault; the allocator counts it.
        let _ = self.with(seat, |magazine| self.world.frames.drain(magazine));
    }

    fn free_frames(&self) -> usize {
        self.world.frames.free_frames()
    }

    fn free_by_order(&self) -> Option<[usize; ORDERS]> {
        Some(self.world.frames.free_by_order())
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.world.frames.validate()
    }
}
