//! `box64`: a fixed number of objects of 64 bytes, allocated and freed by all CPUs at once.

use core::alloc::{GlobalAlloc, Layout};
use core::hint::black_box;
use core::ptr::null_mut;

use super::meter::Meter;
use crate::config::STRESS_GRACE_MS;
use crate::heap::KernelHeap;
use crate::smp;

/// The objects that a CPU holds at once.
const HELD: usize = 64;

/// The rounds of all CPUs together, each with [`HELD`] objects.
const ROUNDS: usize = 8 * 512;

/// The layout of an object.
const BOX: Layout = Layout::new::<[u64; 8]>();

/// Allocates and frees all objects, each CPU an equal part.
pub(super) fn box64(meter: &mut Meter, _: u32) {
    // Not counted: afterwards each CPU has its magazines.
    on_all_cpus();
    meter.count_many((ROUNDS * HELD) as u64, on_all_cpus);
}

fn on_all_cpus() {
    let rounds = ROUNDS / smp::online().count();
    let done = smp::on_each_cpu(STRESS_GRACE_MS, &|_| (0..rounds).for_each(|_| round()));
    assert!(done.is_ok(), "a CPU has not run the benchmark");
}

/// Allocates the objects, and frees the last one first.
fn round() {
    let mut held = [null_mut(); HELD];
    for object in &mut held {
        // SAFETY: the size must not be 0: it is 64.
        *object = unsafe { GlobalAlloc::alloc(&KernelHeap, black_box(BOX)) };
        assert!(!object.is_null(), "the benchmark needs more memory");
    }
    for object in held.into_iter().rev() {
        // SAFETY: the object must be the caller's, with this layout: it was allocated above, and nothing uses it.
        unsafe { GlobalAlloc::dealloc(&KernelHeap, object, black_box(BOX)) };
    }
}
