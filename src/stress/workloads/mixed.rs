//! Runs of several orders.

use super::{ROUNDS, Worker, Workload};
use crate::memory::frames::{FrameNumber, Order};

/// How many runs `random` holds at most.
const RANDOM_HELD: usize = 128;
/// How many runs of one order `mixed_orders` holds at most.
const ORDERS_HELD: usize = 16;

/// What `random` holds. Each run is a word, its order above its first frame: this lies on a stack, for the interrupt handler
/// twice, where unoptimised code has copies.
pub(super) struct Held {
    runs: [u64; RANDOM_HELD],
    count: usize,
}

/// Where a run's order begins in its word.
const ORDER_AT: u32 = 56;

impl Held {
    pub(super) fn new() -> Held {
        Held { runs: [0; RANDOM_HELD], count: 0 }
    }

    /// There is room, since whoever holds [`RANDOM_HELD`] runs takes no more.
    fn push(&mut self, frame: FrameNumber, order: Order) {
        self.runs[self.count] = frame.get() as u64 | u64::from(order.get()) << ORDER_AT;
        self.count += 1;
    }

    /// The run at that place, whose place the last one takes; `None` if there are not so many.
    pub(super) fn take(&mut self, place: usize) -> Option<(FrameNumber, Order)> {
        let last = self.count.checked_sub(1).filter(|last| place <= *last)?;
        self.runs.swap(place, last);
        self.count = last;
        Self::run(self.runs[last])
    }

    /// The run held longest; `None` if there is none.
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
pub static RANDOM: Workload = Workload {
    name: "random",
    summary: "Each CPU allocates contiguous frames of random orders, which live for random times.",
    is_default: true,
    run: |worker| worker.random(),
    details: None,
};

/// The workload `mixed_orders`.
pub static MIXED_ORDERS: Workload = Workload {
    name: "mixed_orders",
    summary: "Each CPU allocates every order up to 1 GiB, and frees some of it frame by frame.",
    is_default: true,
    run: |worker| worker.mixed_orders(),
    details: None,
};

impl Worker<'_> {
    /// Runs whose sizes and lifetimes are drawn: each size half as often as the next smaller one, as in a kernel whose page
    /// tables, stacks and buffers come from one place; and each run lives until it is drawn, so most live shortly and some
    /// very long.
    pub(super) fn random(&mut self) {
        let mut held = Held::new();
        while self.goes_on() {
            for _ in 0..ROUNDS {
                self.alloc_or_free(&mut held);
            }
        }
        self.release_all(&mut held);
    }

    /// One step of `random`; `false` if it was refused memory.
    pub(super) fn alloc_or_free(&mut self, held: &mut Held) -> bool {
        let mut has_memory = true;
        // Where it holds half of what it may, taking and returning are equally likely.
        if self.rng.usize(..RANDOM_HELD) >= held.count {
            let order = self.random_order();
            if let Some(frame) = self.alloc_sampled(order) {
                if self.acquired(frame, order) {
                    held.push(frame, order);
                }
            } else {
                has_memory = false;
                // Memory is short, so this CPU gives up what it has had longest.
                if let Some((frame, order)) = held.take_first() {
                    self.release(frame, order);
                }
            }
        } else if let Some((frame, order)) = held.take(self.rng.usize(..held.count)) {
            self.release(frame, order);
        }
        self.count(1);
        has_memory
    }

    pub(super) fn release_all(&mut self, held: &mut Held) {
        self.count(held.count as u64);
        while let Some((frame, order)) = held.take(0) {
            self.release(frame, order);
        }
    }

    /// The number of heads before the first tail.
    fn random_order(&mut self) -> Order {
        let heads = self.rng.u64(..).trailing_ones().min(u32::from(Order::BLOCK.get()) + 1);
        Order::new(heads as u8).unwrap_or(Order::MAX)
    }

    /// Each order in turn, from frames to gigabytes: as many as there are, up to a few, until there is none. The last run
    /// of each order comes back in parts, frame by frame: whoever frees the tail of a larger run must find it taken.
    pub(super) fn mixed_orders(&mut self) {
        let mut held = [FrameNumber::new(0); ORDERS_HELD];
        while self.goes_on() {
            for order in (0..=Order::MAX.get()).filter_map(Order::new) {
                let mut count = 0;
                while count < ORDERS_HELD {
                    let Some(frame) = self.alloc_sampled(order) else { break };
                    if self.acquired(frame, order) {
                        held[count] = frame;
                        count += 1;
                    }
                }
                let Some((last, others)) = held[..count].split_last() else { break };
                for frame in others {
                    self.release(*frame, order);
                }
                if order <= Order::BLOCK {
                    for index in (0..order.frames()).rev() {
                        self.release(*last + index, Order::FRAME);
                    }
                } else {
                    self.release(*last, order);
                }
                self.count(2 * count as u64);
            }
        }
    }
}
