//! Memory that is taken at boot and never given back: tables of the kernel's own, and the areas of CPUs.

use core::mem::MaybeUninit;

use super::cache::alloc_nowait;
use super::frames::{FRAME_BYTES, Order};
use super::zeroable::Zeroable;
use crate::boot::direct_map;
use crate::cpu::per_cpu;

/// Memory for good, holding the iterator's items.
pub fn alloc_slice_from<T>(items: impl Iterator<Item = T> + Clone) -> Option<&'static mut [T]> {
    let count = items.clone().count();
    let bytes = count.checked_mul(size_of::<T>())?;
    if bytes == 0 {
        return Some(&mut []);
    }
    let start = alloc_bytes(bytes)?.cast::<T>();
    const { assert!(align_of::<T>() <= FRAME_BYTES) };
    let mut written = 0;
    for item in items.take(count) {
        // SAFETY: fresh memory with room for `count` items.
        unsafe { start.add(written).write(item) };
        written += 1;
    }
    // SAFETY: `written` items have been written to memory that nobody else has and that is never given back.
    Some(unsafe { core::slice::from_raw_parts_mut(start, written) })
}

/// Memory for good, holding `count` items of zeroes. What is large never lies on the stack.
pub fn alloc_slice_zeroed<T: Zeroable>(count: usize) -> Option<&'static mut [T]> {
    const { assert!(align_of::<T>() <= FRAME_BYTES) };
    let bytes = count.checked_mul(size_of::<T>())?;
    if bytes == 0 {
        return Some(&mut []);
    }
    let start = alloc_bytes(bytes)?;
    // SAFETY: `alloc_bytes` has just allocated the memory, of that size, for this call alone, and nothing frees it; zeros are a
    // valid `T`, which its implementation of `Zeroable` guarantees.
    unsafe {
        start.write_bytes(0, bytes);
        Some(core::slice::from_raw_parts_mut(start.cast(), count))
    }
}

/// Memory for one `T`, never freed, to be written in place. What is large then never lies on the stack.
pub fn alloc_uninit<T>() -> Option<&'static mut MaybeUninit<T>> {
    const { assert!(align_of::<T>() <= FRAME_BYTES && size_of::<T>() > 0) };
    let start = alloc_bytes(size_of::<T>())?;
    // SAFETY: `alloc_bytes` has just allocated so many bytes for this call alone, page-aligned, and nothing frees them. An
    // uninitialised `T` has no other condition.
    Some(unsafe { &mut *start.cast::<MaybeUninit<T>>() })
}

/// A frame for a page table of the kernel: its physical address. Page tables are never freed.
pub(super) fn table_frame() -> Option<u64> {
    alloc_nowait(Order::FRAME).map(|frame| frame.address() as u64)
}

fn alloc_bytes(bytes: usize) -> Option<*mut u8> {
    let order = bytes.div_ceil(FRAME_BYTES).next_power_of_two().trailing_zeros();
    let frame = alloc_nowait(Order::new(u8::try_from(order).ok()?)?)?;
    Some(direct_map::pointer(frame.address() as u64))
}

/// Memory for the areas of many CPUs, side by side: an area is a little more than a page, or than two.
pub struct CpuAreas {
    next: *mut u8,
    left_in_chunk: usize,
    left: usize,
}

impl CpuAreas {
    /// The most that is taken in one piece.
    const CHUNK: Order = Order::new(4).expect("there are more orders than that");

    /// For so many CPUs.
    pub fn for_cpus(count: usize) -> CpuAreas {
        CpuAreas { next: core::ptr::null_mut(), left_in_chunk: 0, left: count }
    }

    /// Makes the next CPU's area and returns the GS base that leads to it. `None` without memory.
    pub fn make(&mut self) -> Option<usize> {
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
        // SAFETY: fresh memory of that size, never given back; a page is aligned to 128, and areas are multiples of that.
        Some(unsafe { per_cpu::copy_template(area) })
    }
}
