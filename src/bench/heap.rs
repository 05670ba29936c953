//! Costs of the heap, by the functions that a program's `Box` and `Vec` call.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::frames::NO_MEMORY;
use super::meter::{Meter, opaque, repeat};
use crate::cpu::IrqGuard;
use crate::heap::KernelHeap;
use crate::{heap, memory, smp};

/// Objects of a bulk: several times as many as a CPU caches.
pub(crate) const BULK: usize = 512;

const fn layout(size: usize) -> Layout {
    match Layout::from_size_align(size, 8) {
        Ok(layout) => layout,
        Err(_) => panic!("the size is too large"),
    }
}

#[inline(always)]
fn alloc(layout: Layout) -> *mut u8 {
    // SAFETY: the size must not be 0. No bench has such a layout.
    let object = unsafe { KernelHeap.alloc(layout) };
    assert!(!object.is_null(), "{NO_MEMORY}");
    core::ptr::with_exposed_provenance_mut(opaque(object.expose_provenance()))
}

#[inline(always)]
fn free(object: *mut u8, layout: Layout) {
    // SAFETY: the object must be allocated with this layout, and unused. Each bench frees what it has allocated, once.
    unsafe { KernelHeap.dealloc(object, layout) };
}

/// Empties the caches, so that all measurements begin alike.
fn reset() {
    memory::drain_this_cpu(&IrqGuard::new());
    heap::reclaim();
}

/// Allocates and frees an object of a constant size.
pub(crate) fn pair<const SIZE: usize>(meter: &mut Meter, repetitions: u32) {
    let layout = const { layout(SIZE) };
    reset();
    free(alloc(layout), layout);
    meter.count(|| repeat(repetitions, || free(alloc(layout), layout)));
    reset();
}

/// Allocates and frees an object of a size that the compiler does not know.
pub(crate) fn pair_any(meter: &mut Meter, repetitions: u32) {
    reset();
    free(alloc(const { layout(200) }), const { layout(200) });
    let mut size = 200;
    meter.count(|| {
        repeat(repetitions, || {
            size = opaque(size);
            // SAFETY: the size must be valid with the alignment. It is 200, which the compiler does not see.
            let object = alloc(unsafe { Layout::from_size_align_unchecked(size, 8) });
            size = opaque(size);
            // SAFETY: the size must be valid with the alignment. It is still 200.
            free(object, unsafe { Layout::from_size_align_unchecked(size, 8) });
        });
    });
    reset();
}

/// Allocates [`BULK`] objects one by one, then frees them one by one.
pub(crate) fn bulk<const SIZE: usize>(meter: &mut Meter, repetitions: u32) {
    reset();
    each_of_bulk(
        meter,
        repetitions,
        || alloc(const { layout(SIZE) }),
        |object| free(object, const { layout(SIZE) }),
    );
    reset();
}

/// The loops of [`bulk`], which are subtracted.
pub(crate) fn empty_bulk(meter: &mut Meter, repetitions: u32) {
    let mut object = 8;
    let alloc = || {
        object = opaque(object);
        core::ptr::without_provenance_mut(object)
    };
    each_of_bulk(meter, repetitions, alloc, |object| _ = opaque(object.addr()));
}

#[inline(always)]
fn each_of_bulk(
    meter: &mut Meter,
    repetitions: u32,
    mut alloc: impl FnMut() -> *mut u8,
    mut free: impl FnMut(*mut u8),
) {
    let mut held = [null_mut(); BULK];
    let mut both = || {
        for slot in &mut held {
            *slot = alloc();
        }
        for &object in &held {
            free(object);
        }
    };
    both();
    meter.count(|| repeat(repetitions, both));
}

/// Objects of a message to the other CPU.
const MESSAGE: usize = 1024;

static HELD: [AtomicPtr<u8>; MESSAGE] = [const { AtomicPtr::new(null_mut()) }; MESSAGE];

/// Allocates objects, which the other CPU frees: the instructions of both, with those of the call that tells it to.
pub(crate) fn remote_pair(meter: &mut Meter, repetitions: u32) {
    let both = || {
        for slot in &HELD {
            slot.store(alloc(const { layout(64) }), Ordering::Relaxed);
        }
        let free_all =
            || HELD.iter().for_each(|slot| free(slot.load(Ordering::Relaxed), const { layout(64) }));
        assert!(smp::call(&smp::other_online(), &free_all).is_ok(), "a call to an idle CPU was not answered");
    };
    reset();
    both();
    for _ in 0..repetitions {
        meter.count_many(MESSAGE as u64, both);
    }
    reset();
}

/// Changes the size of an object within its class.
pub(crate) fn realloc_in_place(meter: &mut Meter, repetitions: u32) {
    reset();
    let object = alloc(layout(64));
    let mut size = 64;
    meter.count(|| {
        repeat(repetitions, || {
            // SAFETY: the size must be valid with the alignment: it is 64 or 57.
            let old = unsafe { Layout::from_size_align_unchecked(opaque(size), 8) };
            size ^= 64 ^ 57;
            // SAFETY: the object must have this layout: the size is what the call before has set.
            let same = unsafe { KernelHeap.realloc(object, old, opaque(size)) };
            opaque(same.addr());
        });
    });
    // SAFETY: the size is 64 or 57, valid with the alignment.
    free(object, unsafe { Layout::from_size_align_unchecked(size, 8) });
    reset();
}

crate::cache! {
    /// Objects of the bench.
    static ITEMS: [u64; 8] = || [0; 8];
}

/// Allocates an object of a cache and returns it.
pub(crate) fn cache_pair(meter: &mut Meter, repetitions: u32) {
    reset();
    drop(ITEMS.alloc().expect(NO_MEMORY));
    meter.count(|| {
        repeat(repetitions, || {
            let item = ITEMS.alloc().expect(NO_MEMORY);
            opaque((&raw const *item).addr());
        });
    });
    reset();
}
