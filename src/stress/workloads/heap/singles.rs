//! Objects that live shortly, or are freed on another CPU.

use crate::stress::heap::object::Shape;
use crate::stress::heap::sizes::{FREQUENT, SUM, index_of};
use crate::stress::ring::FrameRing;
use crate::stress::workloads::worker::{Body, HeapWorker, ROUNDS, TIMED, Timed, Workload};

/// The most objects that `heap_pairs` holds.
const PAIRS_HELD: usize = 32;
/// The objects that `heap_bulk` allocates in a round.
const BULK_HELD: usize = 512;
/// The most objects that `heap_remote` sends before it receives.
const REMOTE_SENT: u32 = 64;
/// The sizes of `heap_bulk`.
const BULK_SHAPES: [Shape; 4] =
    [Shape::of_size(16), Shape::of_size(64), Shape::of_size(256), Shape::of_size(1024)];

/// The workload `heap_pairs`.
pub(in crate::stress) static HEAP_PAIRS: Workload = Workload {
    name: "heap_pairs",
    summary: "Each CPU allocates a few objects of recorded sizes and frees them in any order.",
    is_default: false,
    on_host: true,
    timed: Timed::Pair,
    holds_runs: false,
    run: Body::Heap(|worker| worker.heap_pairs()),
    details: None,
};

/// The workload `heap_bulk`.
pub(in crate::stress) static HEAP_BULK: Workload = Workload {
    name: "heap_bulk",
    summary: "Each CPU allocates 512 objects of one size, then frees all in any order.",
    is_default: false,
    on_host: true,
    timed: Timed::Pair,
    holds_runs: false,
    run: Body::Heap(|worker| worker.heap_bulk()),
    details: None,
};

/// The workload `heap_remote`.
pub(in crate::stress) static HEAP_REMOTE: Workload = Workload {
    name: "heap_remote",
    summary: "Each CPU allocates objects of recorded sizes that another CPU frees.",
    is_default: false,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Heap(|worker| worker.heap_remote()),
    details: None,
};

impl HeapWorker<'_> {
    fn heap_pairs(&mut self) {
        while self.goes_on() {
            for _ in 0..ROUNDS {
                let wanted = self.rng.usize(1..=PAIRS_HELD);
                self.alloc_and_free(wanted, Order::Random, None);
            }
        }
    }

    fn heap_bulk(&mut self) {
        while self.goes_on() {
            let shape = BULK_SHAPES[self.rng.usize(..BULK_SHAPES.len())];
            self.alloc_and_free(BULK_HELD, Order::Random, Some(shape));
        }
    }

    /// A recorded size of those that are frequent.
    fn frequent(&mut self) -> Shape {
        Shape::of_index(index_of(self.rng.u32(..SUM)).min(FREQUENT))
    }

    /// Allocates objects of one shape, or of recorded sizes, as many as there is room for, and frees them in this order.
    pub(super) fn alloc_and_free(&mut self, wanted: usize, order: Order, shape: Option<Shape>) {
        let slots = self.slots_of(self.rank).first(wanted);
        let mut count = 0;
        let mut timed = None;
        for _ in 0..wanted {
            let shape = shape.unwrap_or_else(|| self.frequent());
            let is_timed = timed.is_none() && self.rng.u32(..TIMED) == 0;
            let (object, cycles) = if is_timed { self.alloc_timed(shape) } else { (self.alloc(shape), 0) };
            // Memory is short: the round works on the objects that it has.
            let Some(object) = object else { break };
            if is_timed {
                timed = Some((object, cycles));
            }
            slots.replace(count, Some(object));
            count += 1;
        }
        for left in (1..=count).rev() {
            let (last, index) = (left - 1, order.index(count - left, left, &mut self.rng));
            let taken = slots.replace(index, None);
            if order == Order::Random && index != last {
                slots.replace(index, slots.replace(last, None));
            }
            let Some(object) = taken else { break };
            match timed {
                Some((timed_object, cycles)) if timed_object == object => {
                    let freed = self.release_timed(object);
                    self.record(cycles + freed);
                }
                _ => self.release(object),
            }
        }
        self.count(2 * count as u64);
    }

    /// Every object is freed on another CPU than the one that allocated it.
    fn heap_remote(&mut self) {
        let shared = self.shared;
        let senders = shared.ids.len();
        let outgoing = &shared.rings[self.rank];
        let sender_rank = (self.rank + senders - 1) % senders;
        let (incoming, sender) = (&shared.rings[sender_rank], shared.ids[sender_rank]);
        while self.goes_on() {
            for _ in 0..ROUNDS {
                self.send_some(outgoing);
                self.receive_all(incoming, sender);
            }
        }
        // After this barrier no CPU sends objects.
        self.platform.barrier();
        self.receive_all(incoming, sender);
    }

    fn send_some(&mut self, outgoing: &FrameRing) {
        for _ in 0..self.rng.u32(1..=REMOTE_SENT) {
            let shape = self.frequent();
            let Some(object) = self.alloc_sampled(shape) else { return };
            if !outgoing.send(object.pack()) {
                // The receiver is behind.
                self.release(object);
                self.count(2);
                return;
            }
            self.count(1);
        }
    }
}

/// The order of frees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// That of the allocations.
    First,
    /// The reverse one.
    Last,
    /// Any.
    Random,
}

impl Order {
    /// The index of the object that is freed next, after `freed` objects, when `left` are left.
    fn index(self, freed: usize, left: usize, rng: &mut fastrand::Rng) -> usize {
        match self {
            Order::First => freed,
            Order::Last => left - 1,
            Order::Random => rng.usize(..left),
        }
    }
}
