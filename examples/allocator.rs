//! A kernel with a heap for Rust's `alloc` on octopod's frames. Every CPU sorts a vector of its own.
//! `cargo run -- run --example allocator`
#![no_std]
#![no_main]
extern crate alloc;
use alloc::alloc::{GlobalAlloc, Layout};
use octopod::boot::direct_map;
use octopod::memory::FrameRange;
use octopod::memory::frames::{FRAME_BYTES, FrameNumber, Order};
use octopod::program::{Machine, Reason};
use octopod::{config::IPI_CALL_TIMEOUT_MS, smp};
octopod::program!(sort_everywhere, heap: Heap);

/// Contiguous frames for each allocation: wastes memory, but is fast.
struct Heap;

fn order(layout: Layout) -> Option<Order> {
    Order::containing(layout.size().max(layout.align()).div_ceil(FRAME_BYTES))
}

// SAFETY: allocations must be valid, aligned and disjoint. Their frames are owned, aligned to their size, and mapped in the
// direct map.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(range) = order(layout).and_then(FrameRange::alloc) else { return core::ptr::null_mut() };
        let start = range.as_ptr();
        // The allocation owns the frames from here on, without a handle.
        range.into_raw();
        start
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        let first = FrameNumber::containing(direct_map::phys(start.expose_provenance() as u64) as usize);
        let frames = order(layout).map_or(0, Order::frames);
        // SAFETY: the frames must be owned by the caller. `alloc` left the allocation this many frames without a handle.
        drop(unsafe { FrameRange::from_raw(first, frames) });
    }
}

fn sort_everywhere(_: &Machine) -> Result<(), Reason> {
    smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|cpu| {
        let mut numbers: alloc::vec::Vec<u32> = (0..10_000u32).map(|n| n.wrapping_mul(0x9e37_79b1)).collect();
        numbers.sort_unstable();
        log::info!("cpu {}: {} numbers, sorted: {}", cpu.id(), numbers.len(), numbers.is_sorted());
    })
    .map_err(|error| Reason::of_program(format_args!("{error}")))
}
