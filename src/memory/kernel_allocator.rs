//! The kernel's own allocator as a [`FrameSource`]: the functions that all of the kernel uses.

use super::cache::{alloc, drain_this_cpu, free};
use super::frames::global::frames;
use super::frames::{FrameNumber, FreeError, Invalid, ORDERS, Order};
use super::source::{AllocContext, FrameSource, uninterrupted};
use crate::cpu::IrqGuard;

/// The kernel's own allocator. It uses the cache of the CPU that runs it, whatever the context.
pub struct KernelAllocator;

impl FrameSource for KernelAllocator {
    #[inline(always)]
    fn alloc(&self, _: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        alloc(order)
    }

    #[inline(always)]
    unsafe fn free(&self, _: &mut AllocContext, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        // SAFETY: the caller owns the frames, guaranteed by the caller of the trait's `free` (see # Safety there).
        unsafe { free(frame, order) }
    }

    // A single frame lies in a magazine until a batch is freed to the table, which rejects it then.
    fn rejects_invalid_frees(&self) -> Option<Order> {
        Order::new(1)
    }

    fn drain(&self, _: &mut AllocContext) {
        drain_this_cpu(&IrqGuard::new());
    }

    fn free_frames(&self) -> usize {
        uninterrupted(|| frames().free_frames())
    }

    fn free_by_order(&self) -> Option<[usize; ORDERS]> {
        Some(uninterrupted(|| frames().free_by_order()))
    }

    fn validate(&self) -> Result<(), Invalid> {
        uninterrupted(|| frames().validate())
    }
}
