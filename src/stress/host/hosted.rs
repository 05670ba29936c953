//! octopod's allocator on the host: the shared layers, and a magazine for each context.

extern crate std;

use core::cell::UnsafeCell;
use std::vec::Vec;

use crossbeam_utils::CachePadded;

use crate::memory::cache::Magazine;
use crate::memory::frames::{FrameNumber, FreeError, Invalid, ORDERS, Order};
use crate::memory::host::World;
use crate::stress::source::{AllocContext, FrameSource};

/// The allocator, with a magazine for each context. A thread cannot be interrupted to drain its magazine, so an allocation does
/// not obtain frames that other contexts cache.
pub struct Hosted<'a> {
    world: &'a World,
    magazines: Vec<CachePadded<UnsafeCell<Magazine>>>,
}

// SAFETY: a magazine must not be accessed by two threads at once. `with` takes `&mut AllocContext`, and there is one context of
// each number.
unsafe impl Sync for Hosted<'_> {}

impl<'a> Hosted<'a> {
    /// An allocator on that memory, for that many contexts.
    pub fn new(world: &'a World, contexts: usize) -> Hosted<'a> {
        let magazines = (0..contexts).map(|_| CachePadded::new(UnsafeCell::new(Magazine::new()))).collect();
        Hosted { world, magazines }
    }

    #[inline]
    fn with<R>(&self, context: &mut AllocContext, f: impl FnOnce(&Magazine) -> R) -> R {
        // SAFETY: the access must be exclusive. The caller has `&mut` of the only context of this number.
        f(unsafe { &*self.magazines[context.number()].get() })
    }
}

impl FrameSource for Hosted<'_> {
    fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        self.with(context, |magazine| self.world.frames.alloc(magazine, order))
    }

    unsafe fn free(
        &self,
        context: &mut AllocContext,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError> {
        self.with(context, |magazine| self.world.frames.free(magazine, frame, order))
    }

    // A single frame lies in a magazine until a batch is freed to the table, which rejects it then.
    fn rejects_invalid_frees(&self) -> Option<Order> {
        Order::new(1)
    }

    fn can_obtain_all(&self) -> bool {
        false
    }

    fn drain(&self, context: &mut AllocContext) {
        // The allocator counts invalid frees; the caller of `free` caused them.
        let _ = self.with(context, |magazine| self.world.frames.drain(magazine));
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
