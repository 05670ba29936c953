//! The threads of the host that run a workload in place of CPUs.

extern crate std;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::vec::Vec;

use crossbeam_utils::CachePadded;

use crate::stress::failure::Failure;
use crate::stress::workloads::{EXHAUST_LIMIT, Platform};

/// When a workload ends. Each thread then completes its round.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// After this time.
    Time(Duration),
    /// When all threads together have completed this many operations.
    Operations(u64),
}

/// The threads of a run.
pub(super) struct Threads {
    barrier: Barrier,
    bound: Bound,
    began: Instant,
    operations: Vec<CachePadded<AtomicU64>>,
    /// The state of each thread: [`ONLINE`], [`OFFLINE_PENDING`], [`OFFLINE`] or [`ONLINE_PENDING`].
    states: Vec<AtomicU32>,
}

const ONLINE: u32 = 0;
const OFFLINE_PENDING: u32 = 1;
const OFFLINE: u32 = 2;
const ONLINE_PENDING: u32 = 3;

impl Threads {
    /// So many threads, whose run begins now.
    pub(super) fn new(count: usize, bound: Bound) -> Threads {
        Threads {
            barrier: Barrier::new(count),
            bound,
            began: Instant::now(),
            operations: (0..count).map(|_| CachePadded::default()).collect(),
            states: (0..count).map(|_| AtomicU32::new(ONLINE)).collect(),
        }
    }

    /// The time since the run began.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The operations of each thread so far.
    pub(super) fn operations(&self) -> Vec<u64> {
        self.operations.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Sets the state of a thread, and waits until another thread has set it to `until`.
    fn change_and_wait(&self, id: u32, to: u32, until: u32) {
        let state = &self.states[id as usize];
        state.store(to, Ordering::Release);
        while state.load(Ordering::Acquire) != until {
            std::thread::yield_now();
        }
    }
}

impl Platform for Threads {
    fn cycles(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn has_ended(&self) -> bool {
        match self.bound {
            Bound::Time(time) => self.began.elapsed() >= time,
            Bound::Operations(most) => {
                self.operations.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>() >= most
            }
        }
    }

    fn is_overdue(&self) -> bool {
        matches!(self.bound, Bound::Time(time) if self.began.elapsed() >= time + EXHAUST_LIMIT)
    }

    fn barrier(&self) {
        self.barrier.wait();
    }

    fn wait_until(&self, condition: &dyn Fn() -> bool) {
        while !condition() {
            std::thread::yield_now();
        }
    }

    fn count(&self, rank: usize, operations: u64) {
        // Threads of a workload of the scheduler share a count.
        self.operations[rank].fetch_add(operations, Ordering::Relaxed);
    }

    fn offline_cpu(&self, id: u32) -> Result<(), Failure> {
        self.change_and_wait(id, OFFLINE_PENDING, OFFLINE);
        Ok(())
    }

    fn online_cpu(&self, id: u32) -> Result<(), Failure> {
        self.change_and_wait(id, ONLINE_PENDING, ONLINE);
        Ok(())
    }

    fn is_offline_requested(&self, id: u32) -> bool {
        self.states[id as usize].load(Ordering::Acquire) == OFFLINE_PENDING
    }

    fn go_offline(&self, id: u32) {
        self.change_and_wait(id, OFFLINE, ONLINE_PENDING);
        self.states[id as usize].store(ONLINE, Ordering::Release);
    }

    fn with_interrupts(&self, handler: &mut dyn FnMut(), work: &mut dyn FnMut(&mut dyn FnMut())) {
        work(handler);
    }

    fn report(&self, failure: &Failure) {
        std::eprintln!("{failure}");
    }
}
