//! Costs of frames when most of the machine's memory is allocated. No frame is accessed, so a machine of any size takes little
//! memory of its host.

use super::frames::{NO_MEMORY, alloc, free, reset, try_alloc};
use super::meter::Meter;
use crate::memory::frames::{FrameNumber, Order};
use crate::memory::{self, ZeroedSlice};

/// Random numbers: xorshift64*. The same in each measurement, so that all take the same steps.
struct Random(u64);

impl Random {
    const fn new() -> Random {
        Random(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn shuffle(&mut self, frames: &mut [FrameNumber]) {
        for last in (1..frames.len()).rev() {
            frames.swap(last, self.below(last + 1));
        }
    }
}

/// All free runs of one order.
pub(super) struct AllRuns {
    order: Order,
    frames: ZeroedSlice<FrameNumber>,
    len: usize,
}

impl AllRuns {
    /// Allocates every run of this order, in ascending order.
    pub(super) fn alloc(order: Order) -> AllRuns {
        reset();
        let most = memory::frames().free_frames() >> order.get();
        let mut all = AllRuns { order, frames: ZeroedSlice::new(most).expect(NO_MEMORY), len: 0 };
        while let Some(slot) = all.frames.get_mut(all.len)
            && let Some(frame) = try_alloc(order)
        {
            *slot = frame;
            all.len += 1;
        }
        all.frames[..all.len].sort_unstable();
        all
    }

    fn frames(&mut self) -> &mut [FrameNumber] {
        &mut self.frames[..self.len]
    }

    /// Allocates the runs again, all of which were freed.
    fn alloc_again(&self) {
        (0..self.len).for_each(|_| _ = alloc(self.order));
    }

    /// Removes a run, which the caller owns from now on.
    pub(super) fn take_one(&mut self) -> FrameNumber {
        self.len = self.len.checked_sub(1).expect(NO_MEMORY);
        self.frames[self.len]
    }

    pub(super) fn free(mut self) {
        let order = self.order;
        self.frames().iter().for_each(|&frame| free(frame, order));
        drop(self.frames);
        reset();
    }
}

/// Allocates all runs of an order, and frees them in random order; counts the frees, the loop over their numbers included.
pub(super) fn free_random<const ORDER: u8>(meter: &mut Meter, repetitions: u32) {
    let order = const { Order::new(ORDER).expect("an order that there is") };
    let mut random = Random::new();
    let mut all = AllRuns::alloc(order);
    for round in 0..repetitions {
        if round > 0 {
            all.alloc_again();
        }
        random.shuffle(all.frames());
        let frames = all.frames();
        meter.count_many(frames.len() as u64, || frames.iter().for_each(|&frame| free(frame, order)));
        reset();
    }
    drop(all.frames);
    reset();
}

/// Runs of any order.
struct MixedRuns {
    /// The first frame of each, shifted by [`ORDER_BITS`], and its order.
    runs: ZeroedSlice<u64>,
    len: usize,
    /// Frames of all of them.
    allocated: usize,
}

const ORDER_BITS: u32 = 5;

/// The largest order of the mix.
const LARGEST: usize = Order::BLOCK.get() as usize;

/// How many runs are freed, and how many allocations are counted, at a time.
const STEP: usize = 64;

impl MixedRuns {
    fn push(&mut self, frame: FrameNumber, order: usize) {
        self.runs[self.len] = (frame.get() as u64) << ORDER_BITS | order as u64;
        self.len += 1;
        self.allocated += 1 << order;
    }

    fn free_one(&mut self, random: &mut Random) {
        let index = random.below(self.len);
        self.len -= 1;
        let run = self.runs[index];
        let (frame, order) = ((run >> ORDER_BITS) as usize, (run & ((1 << ORDER_BITS) - 1)) as usize);
        self.runs[index] = self.runs[self.len];
        self.allocated -= 1 << order;
        free(FrameNumber::new(frame), order_of(order));
    }
}

fn order_of(order: usize) -> Order {
    Order::new(order as u8).unwrap_or(Order::FRAME)
}

/// An order: 0 in half of all cases, each larger one half as often, so that every order has the same share of the memory.
fn draw_order(random: &mut Random) -> usize {
    (random.next().trailing_zeros() as usize).min(LARGEST)
}

/// An allocation when 90 % of the memory is allocated in runs of orders 0 to 9. Each step frees [`STEP`] random runs and allocates
/// as many, of random orders, as fit into the 90 %. The allocations are counted, the failed ones too.
pub(super) fn alloc_mixed(meter: &mut Meter, repetitions: u32) {
    const STEPS: u32 = 100;
    // All free memory is in the lists in the same order for each measurement.
    AllRuns::alloc(Order::BLOCK).free();
    let most = memory::frames().free_frames();
    let runs = ZeroedSlice::new(most / 2).expect(NO_MEMORY);
    let mut held = MixedRuns { runs, len: 0, allocated: 0 };
    let mut random = Random::new();
    let full = memory::frames().free_frames() / 10 * 9;
    while held.allocated < full {
        let order = draw_order(&mut random);
        held.push(alloc(order_of(order)), order);
    }
    for _ in 0..repetitions * STEPS {
        (0..STEP).for_each(|_| held.free_one(&mut random));
        let mut orders = [0; STEP];
        let mut count = 0;
        let mut left = full.saturating_sub(held.allocated);
        while count < STEP {
            let order = draw_order(&mut random);
            if left < 1 << order {
                break;
            }
            left -= 1 << order;
            orders[count] = order;
            count += 1;
        }
        let mut allocated = [None; STEP];
        meter.count_many(count as u64, || {
            for (slot, &order) in allocated.iter_mut().zip(&orders[..count]) {
                *slot = try_alloc(order_of(order));
            }
        });
        for (frame, order) in allocated.into_iter().zip(orders) {
            if let Some(frame) = frame {
                held.push(frame, order);
            }
        }
    }
    while held.len > 0 {
        held.free_one(&mut random);
    }
    drop(held.runs);
    reset();
}
