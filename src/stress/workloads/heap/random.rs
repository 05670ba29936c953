//! Objects of recorded sizes and lifetimes.

use crate::stress::heap::object::Shape;
use crate::stress::heap::sizes::{RECORDED, SUM, index_of, places, total};
use crate::stress::workloads::objects::{HANDLER_SLOTS, Slots, THREAD_SLOTS};
use crate::stress::workloads::worker::{Body, HeapWorker, ROUNDS, Timed, Workload};

/// The workload `heap_random`.
pub(in crate::stress) static HEAP_RANDOM: Workload = Workload {
    name: "heap_random",
    summary: "Each CPU allocates and frees objects whose sizes and lifetimes are those of recorded servers.",
    is_default: true,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Heap(|worker| worker.heap_random()),
    details: None,
};

/// The places of each size, in a table of a thread or of a handler.
pub(super) type Places = [(u16, u16); RECORDED.len()];

/// A thread's.
pub(super) const THREAD: Places = places(480);
/// A handler's.
pub(super) const HANDLER: Places = places(160);

const _: () = assert!(total(&THREAD) <= THREAD_SLOTS && total(&HANDLER) <= HANDLER_SLOTS);

impl HeapWorker<'_> {
    fn heap_random(&mut self) {
        let slots = self.slots_of(self.rank);
        while self.goes_on() {
            for _ in 0..ROUNDS {
                self.replace_one(slots, &THREAD);
            }
        }
        self.release_all(slots);
    }

    /// Draws a size by its rate, allocates an object of it, and frees a random one of the same size, once there are as many as the
    /// record says. Returns `false` if there was no memory.
    pub(super) fn replace_one(&mut self, slots: Slots<'_>, places: &Places) -> bool {
        let index = index_of(self.rng.u32(..SUM));
        let (first, count) = places[index];
        let slot = usize::from(first + self.rng.u16(..count));
        let object = self.alloc_sampled(Shape::of_index(index));
        let old = slots.replace(slot, object);
        self.count(u64::from(object.is_some()) + u64::from(old.is_some()));
        if let Some(old) = old {
            self.release(old);
        }
        object.is_some()
    }
}
