//! Model checking: the depot, slabs and remote frees. Small enough for loom, which tries every interleaving; shuttle tries random ones of these
//! and of a storm. The magazines of a CPU are its own, so only locks interleave.
//!
//! `cargo run -- soak loom` and `cargo run -- soak shuttle` run them.

#[cfg(shuttle)]
mod storms;

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use super::layout;
use crate::heap::host::HostHeap;
use crate::heap::magazines::Magazines;
use crate::heap::size_class::LARGEST;
#[cfg(loom)]
use crate::sync::model_atomics::{Accesses, explore};
#[cfg(shuttle)]
use crate::sync::model_schedules::{run_schedules, schedules};
#[cfg(loom)]
use loom::thread;
#[cfg(shuttle)]
use shuttle::thread;

/// Every interleaving with so many preemptions at most.
const PREEMPTIONS: Option<usize> = Some(2);

#[cfg(loom)]
fn check(model: impl Fn() + Sync + Send + 'static) {
    explore(PREEMPTIONS, &[Accesses::Exchanges], model);
}

#[cfg(shuttle)]
fn check(model: impl Fn() + Sync + Send + 'static) {
    let _ = PREEMPTIONS;
    run_schedules(schedules().div_ceil(10), model);
}

/// The largest class: a slab has eight objects and a magazine seven, so that few steps reach every path.
fn large() -> Layout {
    layout(LARGEST, 8)
}

/// A heap, and which of its objects are allocated.
struct Model {
    heap: HostHeap,
    base: usize,
    taken: Vec<AtomicBool>,
}

impl Model {
    fn new() -> Arc<Model> {
        let heap = HostHeap::new(1, 1);
        let base = heap.first_address();
        let taken = (0..heap.total_frames()).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Model { heap, base, taken })
    }

    fn index(&self, object: NonNull<u8>) -> usize {
        (object.addr().get() - self.base) / LARGEST
    }

    fn alloc(&self, cpu: &Magazines) -> NonNull<u8> {
        let object = self.heap.heap().alloc(cpu, large()).expect("the memory suffices");
        let was_taken = self.taken[self.index(object)].swap(true, Ordering::Relaxed);
        assert!(!was_taken, "an object was allocated twice");
        object
    }

    fn free(&self, cpu: &Magazines, object: NonNull<u8>) {
        assert!(self.taken[self.index(object)].swap(false, Ordering::Relaxed), "an object was not allocated");
        // SAFETY: `alloc` returned the object, for this layout.
        unsafe { self.heap.heap().dealloc(cpu, object, large()) }.expect("the free is right");
    }

    /// Drains these caches. All frames are free then.
    fn end(&self, cpus: &[&Magazines]) {
        self.heap.drain(cpus.iter().copied());
        assert_eq!(self.heap.heap().validate(), Ok(()));
        assert_eq!(self.heap.frames(), 0, "frames are lost");
    }
}

/// An object that another thread frees.
struct Sent(NonNull<u8>);

// SAFETY: the object belongs to the thread that gets it.
unsafe impl Send for Sent {}

/// Two CPUs allocate and free at once: their slabs, their records and the depot's lists are the same.
#[test]
fn two_cpus_share_a_depot() {
    check(|| {
        let model = Model::new();
        let other = {
            let model = model.clone();
            thread::spawn(move || {
                let cpu = Magazines::new();
                let object = model.alloc(&cpu);
                model.free(&cpu, object);
                model.heap.heap().drain(&cpu).expect("each object was freed once");
            })
        };
        let cpu = Magazines::new();
        let object = model.alloc(&cpu);
        model.free(&cpu, object);
        other.join().unwrap();
        model.end(&[&cpu]);
    });
}

/// Two CPUs want an object of a class of which a slab has fewer than a magazine: the one that makes the slab gets one.
#[test]
fn a_new_slab_has_an_object_for_the_cpu_that_makes_it() {
    check(|| {
        let small = layout(4096, 8);
        let heap = Arc::new(HostHeap::new(1, 1));
        let other = {
            let heap = heap.clone();
            thread::spawn(move || {
                let cpu = Magazines::new();
                let object = heap.heap().alloc(&cpu, small).expect("the memory suffices");
                // SAFETY: the object was allocated for this layout, one line above.
                unsafe { heap.heap().dealloc(&cpu, object, small) }.expect("the free is right");
                heap.heap().drain(&cpu).expect("each object was freed once");
            })
        };
        let cpu = Magazines::new();
        let object = heap.heap().alloc(&cpu, small).expect("the memory suffices");
        // SAFETY: the object was allocated for this layout, one line above.
        unsafe { heap.heap().dealloc(&cpu, object, small) }.expect("the free is right");
        other.join().unwrap();
        heap.drain([&cpu]);
    });
}

/// One CPU frees what another has allocated, while that one allocates more.
#[test]
fn an_object_is_freed_elsewhere() {
    check(|| {
        let model = Model::new();
        let cpu = Magazines::new();
        let sent = Sent(model.alloc(&cpu));
        let other = {
            let model = model.clone();
            thread::spawn(move || {
                let Sent(object) = { sent };
                let cpu = Magazines::new();
                model.free(&cpu, object);
                model.heap.heap().drain(&cpu).expect("each object was freed once");
            })
        };
        let second = model.alloc(&cpu);
        model.free(&cpu, second);
        model.heap.heap().drain(&cpu).expect("each object was freed once");
        other.join().unwrap();
        model.end(&[&cpu]);
    });
}

/// The depot is drained while a CPU exchanges magazines with it.
#[test]
fn a_depot_is_drained_during_exchanges() {
    check(|| {
        let model = Model::new();
        let cpu = Magazines::new();
        // More than two magazines have room for.
        let objects: Vec<_> = (0..16).map(|_| model.alloc(&cpu)).collect();
        let other = {
            let model = model.clone();
            thread::spawn(move || {
                model.heap.heap().drain_depots().expect("each object was freed once");
            })
        };
        for object in objects {
            model.free(&cpu, object);
        }
        other.join().unwrap();
        model.end(&[&cpu]);
    });
}

/// Two frees of the same large object at the same time: one is refused.
#[test]
fn of_two_frees_of_a_large_object_one_is_refused() {
    check(|| {
        let model = Model::new();
        let cpu = Magazines::new();
        let layout = layout(100_000, 8);
        let sent = Sent(model.heap.heap().alloc(&cpu, layout).expect("the memory suffices"));
        let object = sent.0;
        let other = {
            let model = model.clone();
            thread::spawn(move || {
                let Sent(object) = { sent };
                let cpu = Magazines::new();
                // SAFETY: one of the two frees is right, and the other is refused.
                unsafe { model.heap.heap().dealloc(&cpu, object, layout) }.is_ok()
            })
        };
        // SAFETY: one of the two frees is right, and the other is refused.
        let first = unsafe { model.heap.heap().dealloc(&cpu, object, layout) }.is_ok();
        let second = other.join().unwrap();
        assert!(first != second, "{} frees were accepted", u8::from(first) + u8::from(second));
        model.end(&[&cpu]);
    });
}
