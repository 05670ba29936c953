//! The stress on the host: the same workloads and checks, with threads in the place of CPUs and memory of the host's in the
//! place of RAM.

extern crate std;

mod activity;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::vec::Vec;

use crossbeam_utils::CachePadded;

use super::allocators::{Allocator, Backing, BorrowedMemory, Page};
use super::failure::{Failure, FailureLog};
use super::histogram::{Histogram, buckets, summarise};
use super::owners::Owners;
use super::replay::AllocTrace;
use super::ring::Ring;
use super::snapshot::{AllocatorSnapshot, Discrepancy};
use super::source::{AllocContext, FrameSource, Hosted};
use super::workloads::{self, Platform, Setup, Shared, Workload};
use crate::memory::host::World;
use crate::wire::{Bucket, Stress};

use activity::Watched;
pub use activity::{Activity, Call, ThreadActivity};

/// When a workload ends. Each thread then finishes its round.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// After this time.
    Time(Duration),
    /// When all threads together have done this many operations.
    Operations(u64),
}

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct HostRun<'a> {
    /// The allocator.
    pub allocator: &'static Allocator,
    /// The workload.
    pub workload: &'static Workload,
    /// How many threads.
    pub threads: usize,
    /// How much memory, in blocks of 2 MiB.
    pub blocks: usize,
    /// For how long.
    pub bound: Bound,
    /// Where the randomness starts.
    pub seed: u64,
    /// What `replay` replays.
    pub trace: Option<&'a AllocTrace<'a>>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The figures, as the kernel would report them; in nanoseconds where it has cycles.
    pub figures: Stress<&'static str>,
    /// The latencies, in nanoseconds, without empty buckets.
    pub buckets: Vec<Bucket>,
    /// Each thread's operations.
    pub operations: Vec<u64>,
    /// The verdict.
    pub verdict: Result<(), Discrepancy>,
}

struct Threads {
    barrier: Barrier,
    bound: Bound,
    began: Instant,
    operations: Vec<CachePadded<AtomicU64>>,
    /// For each thread one of [`HERE`], [`ASKED`], [`AWAY`] and [`CALLED`].
    departures: Vec<AtomicU32>,
}

const HERE: u32 = 0;
const ASKED: u32 = 1;
const AWAY: u32 = 2;
const CALLED: u32 = 3;

impl Threads {
    fn change_and_wait(&self, id: u32, to: u32, until: u32) {
        let departure = &self.departures[id as usize];
        departure.store(to, Ordering::Release);
        while departure.load(Ordering::Acquire) != until {
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

    fn barrier(&self) {
        self.barrier.wait();
    }

    fn wait_until(&self, condition: &dyn Fn() -> bool) {
        while !condition() {
            std::thread::yield_now();
        }
    }

    fn count(&self, rank: usize, operations: u64) {
        let count = &self.operations[rank];
        count.store(count.load(Ordering::Relaxed) + operations, Ordering::Relaxed);
    }

    fn offline_cpu(&self, id: u32) -> Result<(), Failure> {
        self.change_and_wait(id, ASKED, AWAY);
        Ok(())
    }

    fn online_cpu(&self, id: u32) -> Result<(), Failure> {
        self.change_and_wait(id, CALLED, HERE);
        Ok(())
    }

    fn is_offline_requested(&self, id: u32) -> bool {
        self.departures[id as usize].load(Ordering::Acquire) == ASKED
    }

    fn go_offline(&self, id: u32) {
        self.change_and_wait(id, AWAY, CALLED);
        self.departures[id as usize].store(HERE, Ordering::Release);
    }

    fn with_interrupts(&self, handler: &mut dyn FnMut(), work: &mut dyn FnMut(&mut dyn FnMut())) {
        work(handler);
    }

    fn report(&self, failure: &Failure) {
        std::eprintln!("{failure}");
    }
}

impl HostRun<'_> {
    /// Runs it, on memory of its own.
    pub fn run(&self) -> Outcome {
        self.run_watched(None)
    }

    /// The same, while another thread reads what the threads do. It has to be made for as many threads.
    pub fn run_watched(&self, activity: Option<&Activity>) -> Outcome {
        let world = World::new(self.blocks);
        // Those of the threads, and of what interrupts them.
        let contexts = 2 * self.threads;
        let Backing::Borrowed(borrower) = self.allocator.backing else {
            return self.run_noted(&world, &Hosted::new(&world, contexts), activity);
        };
        let frames = [world.first..world.first + world.len];
        let pages = self.allocator.metadata_pages(contexts);
        let mut metadata: Vec<_> = (0..pages).map(|_| Page::ZERO).collect();
        let memory = BorrowedMemory::new(&frames, contexts, &mut metadata);
        let mut outcome = None;
        (borrower.run)(&memory, &mut |source| outcome = Some(self.run_noted(&world, source, activity)));
        outcome.expect("the allocator is made and run")
    }

    fn run_noted(&self, world: &World, source: &dyn FrameSource, activity: Option<&Activity>) -> Outcome {
        match activity {
            Some(activity) => self.run_on_watched(end_of(world), source, activity),
            None => self.run_on(end_of(world), source),
        }
    }

    /// As [`run_on`](Self::run_on), while another thread reads what the threads do.
    pub fn run_on_watched(&self, end: usize, source: &dyn FrameSource, activity: &Activity) -> Outcome {
        self.run_on(end, &Watched { source, activity })
    }

    /// The same on any allocator, whatever [`allocator`](Self::allocator) says: all of its frames lie below `end`, and it has
    /// twice as many contexts as there are threads.
    pub fn run_on(&self, end: usize, source: &dyn FrameSource) -> Outcome {
        let owners: Vec<_> = (0..end).map(|_| AtomicU64::new(0)).collect();
        let histograms: Vec<_> = (0..2 * self.threads).map(|_| Histogram::new()).collect();
        let rings: Vec<_> = (0..self.threads).map(|_| Ring::new()).collect();
        let ids: Vec<_> = (0..self.threads as u32).collect();
        let failures = FailureLog::new();
        let before = AllocatorSnapshot::of(source);
        let shared = Shared::new(Setup {
            workload: self.workload,
            seed: self.seed,
            source,
            owners: Owners::new(&owners),
            histograms: &histograms,
            ids: &ids,
            rings: &rings,
            failures: &failures,
            free_before: before.free(),
            trace: self.trace,
        });
        let began = Instant::now();
        let threads = Threads {
            barrier: Barrier::new(self.threads),
            bound: self.bound,
            began,
            operations: (0..self.threads).map(|_| CachePadded::default()).collect(),
            departures: (0..self.threads).map(|_| AtomicU32::new(HERE)).collect(),
        };
        std::thread::scope(|scope| {
            for number in 0..self.threads {
                let (threads, shared) = (&threads, &shared);
                // SAFETY: each thread has the context of its own number and the handler's, and no others are made meanwhile.
                scope.spawn(move || workloads::run(threads, shared, unsafe { AllocContext::new(number) }));
            }
        });
        let elapsed = began.elapsed();
        for number in 0..2 * self.threads {
            // SAFETY: the threads have ended.
            source.drain(&mut unsafe { AllocContext::new(number) });
        }
        let after = AllocatorSnapshot::of(source);
        let (lost, gained) = before.lost_and_gained(&after);
        let operations: Vec<u64> =
            threads.operations.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Outcome {
            figures: Stress {
                workload: self.workload.name,
                allocator: self.allocator.name,
                cpus: self.threads as u32,
                operations: operations.iter().sum(),
                elapsed_us: elapsed.as_micros() as u64,
                lost,
                double_allocated: failures.doubled().max(gained),
                cycles: summarise(&histograms),
            },
            buckets: buckets(&histograms).collect(),
            operations,
            verdict: before.compare(&after, &failures, source),
        }
    }
}

fn end_of(world: &World) -> usize {
    world.first.get() + world.len
}

#[cfg(test)]
mod tests;
