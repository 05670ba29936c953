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
    /// The largest order that it supports.
    fn largest_order(&self) -> Order {
        Order::MAX
    }

    /// Whether it supports an order: by default each up to [`largest_order`](Self::largest_order). The stress counts allocations of
    /// other orders as unsupported, and never calls [`alloc`](Self::alloc) for them. The answer is the same at any time.
    fn supports(&self, order: Order) -> bool {
        order <= self.largest_order()
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
    /// not been freed since, and nothing uses their memory any more. Or the order is that of
    /// [`rejects_invalid_frees`](Self::rejects_invalid_frees), and the frames are free, or were never this allocator's.
    unsafe fn free(
        &self,
        context: &mut AllocContext,
        frame: FrameNumber,
        order: Order,
    ) -> Result<(), FreeError>;

    /// Allocates single frames, as many as there are, into the slice from its begin on. Returns their number. By default it calls
    /// [`alloc`](Self::alloc) for each.
    fn alloc_bulk(&self, context: &mut AllocContext, frames: &mut [FrameNumber]) -> usize {
        let mut count = 0;
        while count < frames.len()
            && let Some(frame) = self.alloc(context, Order::FRAME)
        {
            frames[count] = frame;
            count += 1;
        }
        count
    }

    /// Frees single frames. By default it calls [`free`](Self::free) for each.
    ///
    /// # Errors
    /// The first error. All frames that no error concerns are free.
    ///
    /// # Safety
    /// As for [`free`](Self::free) of each frame, and no frame is in the slice twice.
    unsafe fn free_bulk(&self, context: &mut AllocContext, frames: &[FrameNumber]) -> Result<(), FreeError> {
        let mut outcome = Ok(());
        for frame in frames {
            // SAFETY: the caller owns the frames, guaranteed by the caller (see # Safety), and each is freed once.
            outcome = outcome.and(unsafe { self.free(context, *frame, Order::FRAME) });
        }
        outcome
    }

    /// An order at which [`free`](Self::free) rejects at once each run of frames that are free, and each run of frames that were never
    /// this allocator's, whatever their numbers. The stress checks that after each workload. `None`, the default: the allocator
    /// relies on its callers, and no such free is made.
    fn rejects_invalid_frees(&self) -> Option<Order> {
        None
    }

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
