//! Memory that is allocated at boot and never freed: tables of the kernel, and per-CPU areas.

use core::mem::MaybeUninit;

use super::cache::alloc_nowait;
use super::frames::{FRAME_BYTES, Order};
use super::zeroable::Zeroable;
use crate::boot::direct_map;
use crate::cpu::per_cpu;

/// Allocates a slice with the iterator's items, for the kernel's lifetime. `None` without memory.
///
/// **Context:** thread context, with frames available. It does not wait for other CPUs.
pub(crate) fn alloc_slice_from<T>(items: impl Iterator<Item = T> + Clone) -> Option<&'static mut [T]> {
    let count = items.clone().count();
    let bytes = count.checked_mul(size_of::<T>())?;
    if bytes == 0 {
        return Some(&mut []);
    }
    let start = alloc_bytes(bytes)?.cast::<T>();
    const { assert!(align_of::<T>() <= FRAME_BYTES) };
    let mut written = 0;
    for item in items.take(count) {
        // SAFETY: `alloc_bytes` has allocated room for `count` items, and `written` is below `count`.
        let place = unsafe { start.add(written) };
        // SAFETY: the place lies in the memory that `alloc_bytes` has allocated for this call alone, aligned for an item.
        unsafe { place.write(item) };
        written += 1;
    }
    // SAFETY: the loop has written `written` items to memory that `alloc_bytes` has allocated for this call alone and that is never freed.
    Some(unsafe { core::slice::from_raw_parts_mut(start, written) })
}

/// Allocates a slice of `count` items of zero bytes, for the kernel's lifetime, without a copy on the stack. `None` without memory.
///
/// **Context:** as for [`alloc_slice_from`].
pub(crate) fn alloc_slice_zeroed<T: Zeroable>(count: usize) -> Option<&'static mut [T]> {
    const { assert!(align_of::<T>() <= FRAME_BYTES) };
    let bytes = count.checked_mul(size_of::<T>())?;
    if bytes == 0 {
        return Some(&mut []);
    }
    let start = alloc_bytes(bytes)?;
    // SAFETY: `alloc_bytes` has just allocated the memory, of that size, for this call alone.
    unsafe { start.write_bytes(0, bytes) };
    // SAFETY: the memory is this call's alone, and nothing frees it; zeros are a valid `T`, which its implementation of
    // `Zeroable` guarantees.
    Some(unsafe { core::slice::from_raw_parts_mut(start.cast(), count) })
}

/// Allocates memory for one `T`, for the kernel's lifetime, to be written in place without a copy on the stack. `None` without memory.
///
/// **Context:** as for [`alloc_slice_from`].
pub(crate) fn alloc_uninit<T>() -> Option<&'static mut MaybeUninit<T>> {
    const { assert!(align_of::<T>() <= FRAME_BYTES && size_of::<T>() > 0) };
    let start = alloc_bytes(size_of::<T>())?;
    // SAFETY: `alloc_bytes` has just allocated so many bytes for this call alone, page-aligned, and nothing frees them. An
    // uninitialised `T` has no other condition.
    Some(unsafe { &mut *start.cast::<MaybeUninit<T>>() })
}

/// A frame for a page table of the kernel: its physical address. The tables of [`mappings`](super::mappings) are freed when no mapping uses
/// them, all others never.
pub(super) fn table_frame() -> Option<u64> {
    alloc_nowait(Order::FRAME).map(|frame| frame.address() as u64)
}

fn alloc_bytes(bytes: usize) -> Option<*mut u8> {
    let order = bytes.div_ceil(FRAME_BYTES).next_power_of_two().trailing_zeros();
    let frame = alloc_nowait(Order::new(u8::try_from(order).ok()?)?)?;
    Some(direct_map::pointer(frame.address() as u64))
}

/// Allocates per-CPU areas, several in one allocation: an area is little more than one or two pages.
pub(crate) struct CpuAreas {
    next: *mut u8,
    left_in_chunk: usize,
    left: usize,
}

impl CpuAreas {
    /// The largest allocation.
    const CHUNK: Order = Order::new(4).expect("there are more orders than that");

    /// An allocator for the areas of `count` CPUs.
    pub(crate) fn for_cpus(count: usize) -> CpuAreas {
        CpuAreas { next: core::ptr::null_mut(), left_in_chunk: 0, left: count }
    }

    /// Makes the area of the next CPU; its GS base. `None` without memory.
    pub(crate) fn make(&mut self) -> Option<usize> {
        let bytes = per_cpu::area_bytes();
        if self.left_in_chunk < bytes {
            let wanted = Order::containing((bytes * self.left.max(1)).div_ceil(FRAME_BYTES))?;
            let least = Order::containing(bytes.div_ceil(FRAME_BYTES))?;
            let order = wanted.min(Self::CHUNK).max(least);
            self.next = direct_map::pointer(alloc_nowait(order)?.address() as u64);
            self.left_in_chunk = order.bytes();
        }
        let area = self.next;
        self.next = area.wrapping_byte_add(bytes);
        self.left_in_chunk -= bytes;
        self.left = self.left.saturating_sub(1);
        // SAFETY: the memory was allocated above for areas alone and is never freed. It has `bytes` bytes; pages are aligned to 128, and the
        // size of an area is a multiple of that.
        Some(unsafe { per_cpu::copy_template(area) })
    }
}
