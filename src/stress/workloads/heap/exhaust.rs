//! Workloads that allocate all memory of the heap.

use core::sync::atomic::Ordering;

use crate::stress::failure::Failure;
use crate::stress::heap::object::{Object, Shape};
use crate::stress::workloads::worker::{Body, HeapWorker, Timed, Workload};

/// The workload `heap_storm`.
pub(in crate::stress) static HEAP_STORM: Workload = Workload {
    name: "heap_storm",
    summary: "Each CPU allocates objects of 4 KiB until no memory is left, then frees all.",
    is_default: false,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Heap(|worker| worker.heap_storm()),
    details: None,
};

/// The workload `heap_fragmentation`.
pub(in crate::stress) static HEAP_FRAGMENTATION: Workload = Workload {
    name: "heap_fragmentation",
    summary: "Each CPU allocates all memory in objects of 4 KiB and frees every second one; all of these must then be had again.",
    is_default: false,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Heap(|worker| worker.heap_fragmentation()),
    details: None,
};

/// Of the objects that there was room for before, this part must be had again: the heap may have used some memory for itself.
const LEAST: (u64, u64) = (7, 8);

/// A list of objects, linked through their own memory.
#[derive(Clone, Copy, Default)]
struct List {
    head: Option<Object>,
    count: u64,
}

impl HeapWorker<'_> {
    /// All CPUs allocate until no memory is left, then free all of it. Each round must get nearly as much as the best one.
    fn heap_storm(&mut self) {
        let mut best = 0;
        loop {
            let mine = self.alloc_all();
            let taken = self.sum_and_decide(mine.count);
            best = self.expect_nearly(taken, best);
            let again = self.shared.goes_on.load(Ordering::Acquire);
            self.free_list(mine);
            self.platform.barrier();
            if !again {
                return;
            }
        }
    }

    fn heap_fragmentation(&mut self) {
        let mut best = 0;
        loop {
            let mine = self.alloc_all();
            let taken = self.sum_and_decide(mine.count);
            best = self.expect_nearly(taken, best);
            let again = self.shared.goes_on.load(Ordering::Acquire);
            let (kept, freed) = self.free_every_second(mine);
            let freed = self.sum_up(freed);
            let more = self.alloc_all();
            let taken = self.sum_up(more.count);
            self.expect_nearly(taken, freed);
            self.free_list(more);
            self.free_list(kept);
            self.platform.barrier();
            if !again {
                return;
            }
        }
    }

    /// Allocates objects until that fails.
    fn alloc_all(&mut self) -> List {
        let mut list = List::default();
        let refused = self.tally.refused;
        for step in 1_usize.. {
            if self.tally.refused != refused || self.cuts_round(step) {
                break;
            }
            // An object that the checks refuse is not in the list.
            if let Some(object) = self.alloc_sampled(Shape::PAGE) {
                list = List { head: Some(self.link(object, list.head)), count: list.count + 1 };
                self.count(1);
            } else if self.shared.failures.first().is_some() || self.tally.unsupported > 0 {
                break;
            }
        }
        list
    }

    /// Returns the sum of the counts of all CPUs. The first CPU decides whether there is another round. Passes one barrier.
    fn sum_and_decide(&mut self, mine: u64) -> u64 {
        if self.rank == 0 {
            let goes_on = !self.platform.has_ended() && self.shared.failures.first().is_none();
            self.shared.goes_on.store(goes_on, Ordering::Release);
        }
        self.sum_up(mine)
    }

    /// Checks that nearly as many objects were allocated as there was room for. Returns the larger number.
    fn expect_nearly(&self, taken: u64, room: u64) -> u64 {
        let (part, of) = LEAST;
        if self.rank == 0 && taken * of < room * part && !self.shared.is_cut() {
            self.note(Failure::ObjectsStranded { taken, room });
        }
        taken.max(room)
    }

    fn free_list(&mut self, list: List) {
        let mut head = list.head;
        while let Some(object) = head {
            let Some(next) = self.unlink(object) else { return };
            self.release(object);
            self.count(1);
            head = next;
        }
    }

    /// Frees every second object of a list. Returns the list of the others, and the number of freed objects.
    fn free_every_second(&mut self, list: List) -> (List, u64) {
        let (mut kept, mut freed, mut head) = (List::default(), 0, list.head);
        while let Some(object) = head {
            let Some(next) = self.unlink(object) else { break };
            if (kept.count + freed).is_multiple_of(2) {
                self.release(object);
                self.count(1);
                freed += 1;
            } else {
                kept = List { head: Some(self.link(object, kept.head)), count: kept.count + 1 };
            }
            head = next;
        }
        (kept, freed)
    }

    /// Allocates all memory, repeatedly, until `is_enough` returns true after a failure. `between` is called after each object.
    pub(super) fn exhaust_memory(
        &mut self,
        is_enough: &dyn Fn() -> bool,
        between: &mut dyn FnMut(&mut Self),
    ) {
        let mut list = List::default();
        for step in 1_usize.. {
            if is_enough() || self.shared.failures.first().is_some() || self.cuts_round(step) {
                break;
            }
            if let Some(object) = self.alloc_sampled(Shape::PAGE) {
                list = List { head: Some(self.link(object, list.head)), count: list.count + 1 };
                self.count(1);
            }
            between(self);
        }
        self.free_list(list);
    }
}
