//! What an allocator of frames must offer to be the kernel's, and to be stressed, compared and measured: [`FrameSource`].

use core::marker::PhantomData;

use super::frames::{FrameNumber, FreeError, Invalid, ORDERS, Order};

/// A place from which an allocator is used: one for each CPU at work, and one more for each CPU's timer handler. What an
/// allocator keeps for a context is touched by whoever has the context, and by nobody else.
pub struct AllocContext {
    number: usize,
    // Two references to one context in two hands would be two hands in one cache.
    _not_sync: PhantomData<core::cell::Cell<()>>,
}

impl AllocContext {
    /// The context of that number.
    ///
    /// # Safety
    /// There is no other context of that number for the same allocator at the same time.
    pub const unsafe fn new(number: usize) -> AllocContext {
        AllocContext { number, _not_sync: PhantomData }
    }

    /// Its number, from 0.
    pub const fn number(&self) -> usize {
        self.number
    }
}

/// An allocator of frames, as the workloads see it.
///
/// All of it may be called by several CPUs at once, each from its own [`AllocContext`], with interrupts on, and from a timer
/// handler. An implementation that must not be interrupted sees to that itself ([`uninterrupted`]).
pub trait FrameSource: Sync {
    /// A run of `2^order` frames whose first number is a multiple of its length; `None` if there is none.
    fn alloc(&self, context: &mut AllocContext, order: Order) -> Option<FrameNumber>;

    /// Frees `2^order` frames, from whichever context.
    ///
    /// # Errors
    /// What is wrong with it, as far as the allocator can tell; then nothing has changed.
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

    /// Whether a context can obtain every frame that nobody holds, also those that the allocator keeps for other contexts.
    fn can_obtain_all(&self) -> bool {
        true
    }

    /// Gives what it keeps for this context to its shared part.
    fn drain(&self, context: &mut AllocContext);

    /// How many frames are free. Exact when nobody is in a call and every context has been drained.
    fn free_frames(&self) -> usize;

    /// Free frames by the largest order in which they could be handed out, if it can tell; under the same conditions.
    fn free_by_order(&self) -> Option<[usize; ORDERS]> {
        None
    }

    /// Checks its own books, under the same conditions.
    ///
    /// # Errors
    /// The first rule that is broken.
    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// Runs `f` with nothing of this CPU's own coming in between: in the kernel with interrupts off.
#[inline(always)]
pub fn uninterrupted<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_os = "none")]
    let _guard = crate::cpu::IrqGuard::new();
    f()
}
