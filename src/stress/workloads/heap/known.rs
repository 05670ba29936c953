//! Workloads that are known from the evaluations of other heaps.

use core::ops::RangeInclusive;
use core::sync::atomic::Ordering;

use super::singles::Order as FreeOrder;
use crate::stress::heap::object::Shape;
use crate::stress::workloads::objects::Slots;
use crate::stress::workloads::worker::{Body, HeapWorker, ROUNDS, Timed, Workload};

/// The objects of a round of `threadtest`.
const THREADTEST_HELD: usize = 512;
/// The objects of a round of `box64`.
const BOXES: usize = 64;
/// The objects that each CPU of `larson` holds.
const LARSON_HELD: usize = 512;
/// Replacements of `larson` between two exchanges of tables.
const LARSON_STEPS: usize = 2048;
/// The sizes of `larson`: those of the record from 16 to 1024 bytes, each equally often.
const LARSON_SHAPES: RangeInclusive<usize> = Shape::of_size(16).index()..=Shape::of_size(1024).index();

/// The workload `threadtest`.
pub(in crate::stress) static THREADTEST: Workload = Workload {
    name: "threadtest",
    summary: "Each CPU allocates 512 objects of 8 bytes and frees them in the same order (Hoard: `threadtest`).",
    is_default: false,
    on_host: true,
    timed: Timed::Pair,
    holds_runs: false,
    run: Body::Heap(|worker| worker.threadtest()),
    details: None,
};

/// The workload `larson`.
pub(in crate::stress) static LARSON: Workload = Workload {
    name: "larson",
    summary: "Each CPU replaces random objects of 16 to 1024 bytes in a table, which another CPU then takes over (Larson and Krishnan, 1998).",
    is_default: false,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Heap(|worker| worker.larson()),
    details: None,
};

/// The workload `box64`.
pub(in crate::stress) static BOX64: Workload = Workload {
    name: "box64",
    summary: "Each CPU allocates 64 objects of 64 bytes and frees the last one first.",
    is_default: false,
    on_host: true,
    timed: Timed::Pair,
    holds_runs: false,
    run: Body::Heap(|worker| worker.box64()),
    details: None,
};

impl HeapWorker<'_> {
    fn threadtest(&mut self) {
        while self.goes_on() {
            self.alloc_and_free(THREADTEST_HELD, FreeOrder::First, Some(Shape::TINY));
        }
    }

    fn box64(&mut self) {
        while self.goes_on() {
            for _ in 0..ROUNDS / 8 {
                self.alloc_and_free(BOXES, FreeOrder::Last, Some(Shape::BOX));
            }
        }
    }

    /// The tables pass from CPU to CPU, so most objects are freed by another CPU than the one that allocated them.
    fn larson(&mut self) {
        let cpus = self.shared.ids.len();
        for round in 0.. {
            let slots = self.slots_of((self.rank + round) % cpus).first(LARSON_HELD);
            for _ in 0..LARSON_STEPS {
                self.replace_any(slots);
            }
            if self.rank == 0 {
                let goes_on = !self.platform.has_ended() && self.shared.failures.first().is_none();
                self.shared.goes_on.store(goes_on, Ordering::Release);
            }
            // Every CPU has left its table.
            self.platform.barrier();
            let again = self.shared.goes_on.load(Ordering::Acquire);
            if !again {
                self.release_all_of_any(slots);
                return;
            }
            // Every CPU has read whether there is another round.
            self.platform.barrier();
        }
    }

    /// Replaces the object of a random slot, whichever CPU has allocated it.
    fn replace_any(&mut self, slots: Slots<'_>) {
        let shape = Shape::of_index(self.rng.usize(LARSON_SHAPES));
        let index = self.rng.usize(..slots.len());
        let object = self.alloc_sampled(shape);
        let old = slots.replace(index, object);
        self.count(u64::from(object.is_some()) + u64::from(old.is_some()));
        if let Some(old) = old {
            self.release_of_any(old);
        }
    }

    fn release_all_of_any(&mut self, slots: Slots<'_>) {
        for index in 0..slots.len() {
            if let Some(object) = slots.replace(index, None) {
                self.release_of_any(object);
                self.count(1);
            }
        }
    }
}
