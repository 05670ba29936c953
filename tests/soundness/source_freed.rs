//! Frees frames of the kernel's allocator through the trait that allocators are compared by, and shares a seat.
//! refused: E0133 call to unsafe function `free` is unsafe
//! refused: E0133 call to unsafe function `Seat::new` is unsafe

use octopod::memory::KernelAllocator;
use octopod::memory::frames::{FrameNumber, Order};
use octopod::memory::source::{FrameSource, Seat};

pub fn allocated(seat: &mut Seat) -> Option<FrameNumber> {
    KernelAllocator.alloc(seat, Order::FRAME)
}

#[cfg(attempt)]
pub fn freed(seat: &mut Seat, frame: FrameNumber) {
    let _ = KernelAllocator.free(seat, frame, Order::FRAME);
}

#[cfg(attempt)]
pub fn seated() -> Seat {
    Seat::new(0)
}
