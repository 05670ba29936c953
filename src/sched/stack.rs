//! Stacks of threads.

use core::ops::Range;

use crate::memory::FrameRange;
use crate::memory::frames::{FRAME_BYTES, Order};

/// The size of a stack for which the thread names none, in bytes.
pub(super) const DEFAULT_STACK_BYTES: usize = 32 * 1024;

/// A thread's stack. Its drop frees it.
#[derive(Debug)]
pub(crate) struct Stack(FrameRange);

impl Stack {
    /// Allocates a stack of at least `bytes`. `None` without memory.
    ///
    /// **Context:** as for [`FrameRange::alloc`].
    pub(crate) fn alloc(bytes: usize) -> Option<Stack> {
        FrameRange::alloc(Order::containing(bytes.div_ceil(FRAME_BYTES))?).map(Stack)
    }

    /// Returns the addresses of the stack.
    pub(crate) fn range(&self) -> Range<u64> {
        let start = self.0.as_ptr().expose_provenance() as u64;
        start..start + self.0.bytes() as u64
    }

    /// Returns the end of the stack, from which it grows down.
    pub(crate) fn top(&self) -> *mut u8 {
        // SAFETY: the result is the end of the allocation.
        unsafe { self.0.as_ptr().add(self.0.bytes()) }
    }
}
