//! Rust's heap on octopod's frames, with which every CPU sorts a vector of its own: `cargo run -- run --example allocator`
#![no_std]
#![no_main]
extern crate alloc;
use alloc::alloc::{GlobalAlloc, Layout};
use octopod::boot::direct_map;
use octopod::memory::frames::{FRAME_BYTES, FrameNumber, Order};
use octopod::program::{Machine, Reason};
use octopod::{config::REQUEST_MS, memory, smp};
octopod::program!(sort_everywhere, heap: Heap);

/// A run of frames for each allocation: wasteful, and as quick as frames are.
struct Heap;

fn order(layout: Layout) -> Option<Order> {
    Order::containing(layout.size().max(layout.align()).div_ceil(FRAME_BYTES))
}

// SAFETY: a run is nobody else's until it is freed, is aligned to its size, and is always seen in the direct map.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let run = order(layout).and_then(memory::alloc);
        run.map_or(core::ptr::null_mut(), |frame| direct_map::pointer(frame.address() as u64))
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        let frame = FrameNumber::containing(direct_map::phys(start.expose_provenance() as u64) as usize);
        assert_eq!(order(layout).map(|order| memory::free(frame, order)), Some(Ok(())));
    }
}

fn sort_everywhere(_: &Machine) -> Result<(), Reason> {
    smp::run_on_all(REQUEST_MS, &|cpu| {
        let mut numbers: alloc::vec::Vec<u32> = (0..10_000u32).map(|n| n.wrapping_mul(0x9e37_79b1)).collect();
        numbers.sort_unstable();
        log::info!("cpu {}: {} numbers, sorted: {}", cpu.id(), numbers.len(), numbers.is_sorted());
    });
    Ok(())
}
