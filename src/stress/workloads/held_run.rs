//! What the workloads of programs use: runs that they hold, and a worker's methods for them.

use core::marker::PhantomData;

use super::worker::Worker;
use crate::memory::frames::{FrameNumber, Order};

/// A run that a workload holds: returned to its allocator by [`Worker::free_held`]. One that is dropped is lost, which the check at the
/// workload's end finds. It does not outlive the workload, so it cannot be freed to another allocator.
#[derive(Debug)]
#[must_use = "a run that is dropped is lost"]
pub struct HeldRun<'a> {
    frame: FrameNumber,
    order: Order,
    of_workload: PhantomData<&'a ()>,
}

impl HeldRun<'_> {
    /// Its first frame.
    pub fn frame(&self) -> FrameNumber {
        self.frame
    }

    /// Its order.
    pub fn order(&self) -> Order {
        self.order
    }
}

/// What a workload that a program registers does on its CPU.
///
/// **Context:** thread, interrupts on.
impl<'a> Worker<'a> {
    /// Whether there is another round: until the workload's time is over, and at least one.
    pub fn has_next_round(&mut self) -> bool {
        self.goes_on()
    }

    /// Allocates a run of 2^order frames from the allocator under test, and checks that no frame of it has an owner. `None` if the
    /// allocator has none.
    pub fn allocate(&mut self, order: Order) -> Option<HeldRun<'a>> {
        let frame = self.alloc_sampled(order)?;
        self.count(1);
        self.acquired(frame, order).then_some(HeldRun { frame, order, of_workload: PhantomData })
    }

    /// Checks that this CPU still owns this run, and frees it.
    pub fn free_held(&mut self, run: HeldRun<'a>) {
        self.release(run.frame, run.order);
        self.count(1);
    }

    /// A random number below `end`, from the stream of this CPU; 0 if `end` is 0.
    pub fn random_below(&mut self, end: u32) -> u32 {
        if end == 0 { 0 } else { self.rng.u32(..end) }
    }

    /// Its index among the CPUs of the workload, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of CPUs of the workload.
    pub fn cpus(&self) -> usize {
        self.shared.ids.len()
    }
}
