//! Frees, or allocates without an owner, by frame numbers, which every program can make.
//! refused: E0603 function `free` is private
//! refused: E0603 function `free_bulk` is private
//! refused: E0603 function `frames` is private
//! refused: E0133 call to unsafe function `cache::percpu::free` is unsafe
//! refused: E0133 call to unsafe function `cache::percpu::free_bulk` is unsafe

use octopod::memory::OwnedFrame;
use octopod::memory::frames::{FrameNumber, Order};

pub fn number_of(frame: &OwnedFrame) -> (FrameNumber, Order) {
    (frame.number(), frame.order())
}

#[cfg(attempt)]
pub fn by_number(frame: &OwnedFrame) {
    let _ = octopod::memory::free(frame.number(), Order::FRAME);
    let _ = octopod::memory::free_bulk(&[frame.number()]);
    let _ = octopod::memory::frames();
}
