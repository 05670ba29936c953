//! The one heap that all CPUs share, on the kernel's frames.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::allocator::Heap;
use super::backing::Backing;
use crate::boot::direct_map;
use crate::cpu::IrqGuard;
use crate::memory::frames::{FrameNumber, FrameRequest, Order, ZoneType};
use crate::memory::{self, FrameRange};

pub(super) static HEAP: Heap<KernelFrames> = Heap::new(KernelFrames);
crate::name_lock!(HEAP, |_, is_so| HEAP.lock_owners().any(is_so));

/// Frames that the heap has.
pub(super) static HELD: AtomicUsize = AtomicUsize::new(0);

/// The kernel's frames, in the direct map.
pub(super) struct KernelFrames;

// SAFETY: the frames must be exclusive, aligned and mapped. The frame allocator returns each once until it is freed, and the direct map has all of
// them. Its base is a multiple of 1 GiB. With interrupts off, which the heap's locks ensure, an allocation calls no hook.
unsafe impl Backing for KernelFrames {
    fn base(&self) -> usize {
        direct_map::base() as usize
    }

    fn end(&self) -> usize {
        memory::frames().end().address()
    }

    fn alloc(&self, order: Order) -> Option<NonNull<u8>> {
        let _guard = IrqGuard::new();
        let frames = low_frames(order).or_else(|| FrameRange::alloc(order))?;
        HELD.fetch_add(order.frames(), Ordering::Relaxed);
        let start = NonNull::new(frames.as_ptr());
        // The heap owns them from here on.
        frames.into_raw();
        start
    }

    unsafe fn free(&self, first: NonNull<u8>, frames: usize) {
        HELD.fetch_sub(frames, Ordering::Relaxed);
        let first = direct_map::phys(first.as_ptr().expose_provenance() as u64) as usize;
        // SAFETY: the heap owns the frames, guaranteed by the caller (see # Safety): `alloc` left them without a handle.
        drop(unsafe { FrameRange::from_raw(FrameNumber::containing(first), frames) });
    }
}

/// The end of memory above which the heap takes low frames first.
const LARGE_MEMORY: usize = 64 << 30;

/// Frames below 4 GiB, on a machine with much memory: the heap's table is initialised up to the highest address that the heap uses,
/// and ends at 1 TiB.
#[cold]
#[inline(never)]
fn low_frames(order: Order) -> Option<FrameRange> {
    let is_large = memory::frames().end().address() > LARGE_MEMORY;
    let request = FrameRequest::new(order).in_zone(ZoneType::Dma32);
    is_large.then(|| FrameRange::alloc_in(request)).flatten()
}
