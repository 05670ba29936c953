//! Workloads with several orders.

use super::worker::{Body, ROUNDS, Timed, Worker, Workload};
use crate::memory::frames::{FrameNumber, Order};

/// The most runs that `random` holds.
const RANDOM_HELD: usize = 128;
/// The most runs of one order that `mixed_orders` holds.
const ORDERS_HELD: usize = 16;

/// The runs that `random` holds. A run is one word, to save stack: its first frame, and its order above that.
pub(super) struct Held {
    runs: [u64; RANDOM_HELD],
    count: usize,
}

/// The position of the order in a run's word.
const ORDER_AT: u32 = 56;

impl Held {
    pub(super) fn new() -> Held {
        Held { runs: [0; RANDOM_HELD], count: 0 }
    }

    /// Adds a run. There is room: `alloc_or_free` allocates only while fewer than [`RANDOM_HELD`] are held.
    fn push(&mut self, frame: FrameNumber, order: Order) {
        self.runs[self.count] = frame.get() as u64 | u64::from(order.get()) << ORDER_AT;
        self.count += 1;
    }

    /// Removes the run at an index, and moves the last one there; `None` if the index is out of range.
    pub(super) fn take(&mut self, index: usize) -> Option<(FrameNumber, Order)> {
        let last = self.count.checked_sub(1).filter(|last| index <= *last)?;
        self.runs.swap(index, last);
        self.count = last;
        Self::run(self.runs[last])
    }

    /// Removes the oldest run; `None` if there is none.
    fn take_first(&mut self) -> Option<(FrameNumber, Order)> {
        let last = self.count.checked_sub(1)?;
        let first = self.runs[0];
        self.runs.copy_within(1..self.count, 0);
        self.count = last;
        Self::run(first)
    }

    fn run(word: u64) -> Option<(FrameNumber, Order)> {
        let frame = FrameNumber::new((word & ((1 << ORDER_AT) - 1)) as usize);
        Some((frame, Order::new((word >> ORDER_AT) as u8)?))
    }
}

/// The workload `random`.
pub(crate) static RANDOM: Workload = Workload {
    name: "random",
    summary: "Each CPU allocates contiguous frames of random orders, which live for random times.",
    is_default: true,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Frames(|worker| worker.random()),
    details: None,
};

/// The workload `mixed_orders`.
pub(crate) static MIXED_ORDERS: Workload = Workload {
    name: "mixed_orders",
    summary: "Each CPU allocates every order up to 1 GiB, and frees some of it frame by frame.",
    is_default: true,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Frames(|worker| worker.mixed_orders()),
    details: None,
};

impl Worker<'_> {
    /// Allocates runs of random orders, and frees random ones. Each order is half as frequent as the next smaller one, like
    /// page tables, stacks and buffers in a kernel. Most runs live shortly, and some very long.
    pub(super) fn random(&mut self) {
        let mut held = Held::new();
        while self.goes_on() {
            for _ in 0..ROUNDS {
                self.alloc_or_free(&mut held);
            }
        }
        self.release_all(&mut held);
    }

    /// One step of `random`. Returns `false` if an allocation of an order that the allocator supports failed. A request that is not
    /// fulfilled is no operation: an allocator that refuses must not look fast.
    pub(super) fn alloc_or_free(&mut self, held: &mut Held) -> bool {
        let mut has_memory = true;
        // If half of the runs are held, allocating and freeing are equally likely.
        if self.rng.usize(..RANDOM_HELD) >= held.count {
            let order = self.random_order();
            if let Some(frame) = self.alloc_sampled(order) {
                self.count(1);
                if self.acquired(frame, order) {
                    held.push(frame, order);
                }
            } else if self.supports(order) {
                has_memory = false;
                // Memory is short: free the oldest run.
                if let Some((frame, order)) = held.take_first() {
                    self.release(frame, order);
                    self.count(1);
                }
            }
        } else if let Some((frame, order)) = held.take(self.rng.usize(..held.count)) {
            self.release(frame, order);
            self.count(1);
        }
        has_memory
    }

    pub(super) fn release_all(&mut self, held: &mut Held) {
        self.count(held.count as u64);
        while let Some((frame, order)) = held.take(0) {
            self.release(frame, order);
        }
    }

    /// An order of geometric distribution: the number of heads before the first tail.
    fn random_order(&mut self) -> Order {
        let heads = self.rng.u64(..).trailing_ones().min(u32::from(Order::BLOCK.get()) + 1);
        Order::new(heads as u8).unwrap_or(Order::MAX)
    }

    /// For each order from single frames to 1 GiB: allocates a few runs, or as many as there are. Frees the last run of each
    /// order up to 2 MiB frame by frame, from the end: the rest of a run must stay allocated.
    pub(super) fn mixed_orders(&mut self) {
        let mut held = [FrameNumber::new(0); ORDERS_HELD];
        while self.goes_on() {
            for order in (0..=Order::MAX.get()).filter_map(Order::new) {
                if !self.supports(order) {
                    self.tally.unsupported += 1;
                    continue;
                }
                let mut count = 0;
                while count < ORDERS_HELD {
                    let Some(frame) = self.alloc_sampled(order) else { break };
                    // An allocator that allocates the same run again and again must not keep this loop going.
                    if !self.acquired(frame, order) {
                        break;
                    }
                    held[count] = frame;
                    count += 1;
                }
                let Some((last, others)) = held[..count].split_last() else { break };
                for frame in others {
                    self.release(*frame, order);
                }
                let frees = if order <= Order::BLOCK {
                    self.release_frame_by_frame(*last, order)
                } else {
                    self.release(*last, order);
                    1
                };
                self.count((count + others.len()) as u64 + frees);
            }
        }
    }

    /// Frees a run of this CPU frame by frame, from the end, and returns the number of frees. A checked frame has its owner
    /// until just before its own free.
    fn release_frame_by_frame(&mut self, first: FrameNumber, order: Order) -> u64 {
        let checked = self.checked(first, order);
        let mut checked = checked.indexes().rev().peekable();
        for index in (0..order.frames()).rev() {
            let frame = first + index;
            if checked.next_if_eq(&index).is_none() || self.disown(frame, Order::FRAME, self.id) {
                self.free(frame, Order::FRAME);
            }
        }
        order.frames() as u64
    }
}
