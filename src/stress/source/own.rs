//! The kernel's own allocator, by the way that the rest of the kernel takes.

use super::{FrameSource, Seat, alone};
use crate::cpu::IrqGuard;
use crate::memory;
use crate::memory::frames::{FrameNumber, FreeError, Invalid, ORDERS, Order};

/// The kernel's own allocator. It knows by itself which CPU it runs on, so a seat tells it nothing.
pub struct Octopod;

impl FrameSource for Octopod {
    fn alloc(&self, _: &mut Seat, order: Order) -> Option<FrameNumber> {
        memory::alloc(order)
    }

    fn free(&self, _: &mut Seat, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        memory::free(frame, order)
    }

    fn drain(&self, _: &mut Seat) {
        memory::drain_this_cpu(&IrqGuard::new());
    }

    fn free_frames(&self) -> usize {
        alone(|| memory::frames().free_frames())
    }

    fn free_by_order(&self) -> Option<[usize; ORDERS]> {
        Some(alone(|| memory::frames().free_by_order()))
    }

    fn validate(&self) -> Result<(), Invalid> {
        alone(|| memory::frames().validate())
    }
}
