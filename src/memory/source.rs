//! The interface of a frame allocator that the kernel can stress, compare and measure: [`FrameSource`].

use core::marker::PhantomData;

use super::frames::{FrameNumber, FreeError, Invalid, ORDERS, Order};

/// The context of an allocator's caller: one for each CPU that works, and one more for its timer handler. Only the code that has a context
/// accesses what an allocator caches for it.
pub struct AllocContext {
    number: usize,
    // Two threads with references to one context could use one cache at the same time.
    _not_sync: PhantomData<core::cell::Cell<()>>,
}

impl AllocContext {
    /// The context with that number.
    ///
    /// # Safety
    /// No other context with that number exists for the same allocator at the same time.
    pub const unsafe fn new(number: usize) -> AllocContext {
        AllocContext { number, _not_sync: PhantomData }
    }

    /// Its number, from 0.
    pub const fn number(&self) -> usize {
        self.number
    }
}

/// A frame allocator, as the workloads use it.
///
/// **Context:** thread context with interrupts enabled, and timer handlers. Several CPUs call it at once, each with its own [`AllocContext`]. An
/// implementation that must not be interrupted disables interrupts itself ([`uninterrupted`]).
pub trait FrameSource: Sync {
    /// The largest order that it supports. The stress counts larger allocations as unsupported, and never calls
    /// [`alloc`](Self::alloc) for them.
    fn largest_order(&self) -> Order {
        Order::MAX
    }

    /// Allocates `2^order` naturally aligned frames; the first one. `None` if there are none.
    fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber>;

    /// Frees `2^order` frames, with any context.
    ///
    /// # Errors
    /// [`FreeError`], as far as the allocator can tell; nothing has changed then.
    ///
    /// # Safety
    /// The caller owns the frames: [`alloc`](Self::alloc) of this allocator returned them, at this or a higher order, they have
    /// not been freed since, and nothing uses their memory any more.
    unsafe fn free(
        &self,
        context: &mut AllocContext,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError>;

    /// Whether an allocation finds every free frame, also those that the allocator caches for other contexts.
    fn can_obtain_all(&self) -> bool {
        true
    }

    /// Returns what it caches for this context to its shared part.
    fn drain(&self, context: &mut AllocContext);

    /// How many frames are free. Exact while no call is in progress and every context is drained.
    fn free_frames(&self) -> usize;

    /// Free frames by the largest order at which they can be allocated, if the allocator knows; under the same conditions.
    fn free_by_order(&self) -> Option<[usize; ORDERS]> {
        None
    }

    /// Checks its tables, under the same conditions.
    ///
    /// # Errors
    /// The first inconsistency.
    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// Runs `f` without interrupts of this CPU: in the kernel with interrupts disabled.
#[inline(always)]
pub fn uninterrupted<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_os = "none")]
    let _guard = crate::cpu::IrqGuard::new();
    f()
}
