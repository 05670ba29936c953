//! Frees frames of the kernel's allocator through the trait that allocators are compared by, and shares a context.
//! refused: E0133 call to unsafe function `free` is unsafe
//! refused: E0133 call to unsafe function `AllocContext::new` is unsafe

use octopod::memory::KernelAllocator;
use octopod::memory::frames::{FrameNumber, Order};
use octopod::memory::source::{AllocContext, FrameSource};

pub fn allocated(context: &mut AllocContext) -> Option<FrameNumber> {
    KernelAllocator.alloc(context, Order::FRAME)
}

#[cfg(attempt)]
pub fn freed(context: &mut AllocContext, frame: FrameNumber) {
    let _ = KernelAllocator.free(context, frame, Order::FRAME);
}

#[cfg(attempt)]
pub fn seated() -> AllocContext {
    AllocContext::new(0)
}
