//! The stress on the host: the same workloads and checks, with threads instead of CPUs and memory of the host instead of RAM.

extern crate std;

mod activity;
mod hosted;
pub mod program;
mod threads;

use core::ops::Range;
use core::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use std::vec::Vec;

use super::allocators::{Allocator, Backing, BorrowedMemory, MetadataPage, Needs};
use super::failure::FailureLog;
use super::figures::{Measured, figures, no_figures};
use super::heap::{Heap, HeapArena, HeapBacking, HeapSource};
use super::histogram::{Histogram, buckets};
use super::invalid_frees::{self, first_run_from};
use super::lost::Search;
use super::owners::Owners;
use super::replay::AllocTrace;
use super::ring::FrameRing;
use super::run_table::RunTable;
use super::snapshot::Discrepancy;
use super::source::{AllocContext, FrameSource};
use super::subject::Subject;
use super::tested::{NoFrames, Tested, TestedFrames, TestedHeap};
use super::thread_platform::Cpus;
use super::workloads::{self, Body, EXHAUST_LIMIT, SLOTS, Setup, Shared, Workload};
use crate::cpu::PAGE_BYTES;
use crate::heap::source::become_cpu;
use crate::memory::frames::{FrameNumber, Order};
use crate::memory::host::World;
use crate::sched::policies::Policy;
use crate::wire::{Bucket, Stress};

pub use super::lent::LentFrames;
pub use super::workloads::ROUND_CUT;
pub use activity::{Activity, Call, ThreadActivity};
use activity::{Watched, WatchedHeap};
use hosted::Hosted;
pub use threads::Bound;
use threads::Threads;

/// One run of a workload on the host.
#[derive(Clone, Copy, Debug)]
pub struct HostRun<'a> {
    /// The allocator.
    pub allocator: &'static Allocator,
    /// The workload.
    pub workload: &'static Workload,
    /// The number of threads.
    pub threads: usize,
    /// The size of memory, in blocks of 2 MiB.
    pub blocks: usize,
    /// When it ends.
    pub bound: Bound,
    /// The seed of the random numbers.
    pub seed: u64,
    /// The trace that `replay` replays.
    pub trace: Option<&'a AllocTrace<'a>>,
    /// Whether every frame of a run is checked, not samples of it.
    pub check_every_frame: bool,
    /// The largest order that the workload allocates.
    pub largest_order: Order,
}

/// The result of a [`HostRun`].
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The figures, as in the kernel's report, with latencies in nanoseconds instead of cycles.
    pub figures: Stress<&'static str>,
    /// The non-empty buckets of the latencies, in nanoseconds.
    pub buckets: Vec<Bucket>,
    /// The fragmentation scores, in tenths of a percent; empty if the workload does not measure any.
    pub scores: Vec<u16>,
    /// The operations of each thread.
    pub operations: Vec<u64>,
    /// Whether the clock has ended a round of the workload before it was complete: see [`ROUND_CUT`].
    pub is_cut: bool,
    /// The result of the checks.
    pub verdict: Result<(), Discrepancy>,
}

impl Outcome {
    /// That of a run on an allocator or heap that was not passed on.
    fn did_not_run(
        workload: &Workload,
        subject: Subject,
        threads: usize,
        reason: Option<&'static str>,
    ) -> Outcome {
        Outcome {
            figures: no_figures(workload, subject, threads as u32),
            buckets: Vec::new(),
            scores: Vec::new(),
            operations: Vec::new(),
            is_cut: false,
            verdict: Err(Discrepancy::DidNotRun { reason }),
        }
    }
}

impl HostRun<'_> {
    /// Runs the workload on memory of its own.
    pub fn run(&self) -> Outcome {
        self.run_watched(None)
    }

    /// As [`run`](Self::run), while another thread reads `activity`, which must be made for as many threads.
    pub fn run_watched(&self, activity: Option<&Activity>) -> Outcome {
        let world = World::new(self.blocks);
        // One for each thread, and one for its handler.
        let contexts = 2 * self.threads;
        let Backing::Borrowed(borrower) = self.allocator.backing else {
            let lent = lent_of(&world);
            return self.run_noted(LentFrames::new(&lent), &Hosted::new(&world, contexts), activity);
        };
        let mut frames = heapless::Vec::new();
        // One range fits.
        let [all] = lent_of(&world);
        let _ = frames.push(all);
        borrower.shape.of(&mut frames);
        let pages = self.allocator.metadata_pages(&Needs { frames: world.len, contexts });
        let mut metadata: Vec<_> = (0..pages).map(|_| MetadataPage::ZERO).collect();
        let memory = BorrowedMemory::new(&frames, contexts, &mut metadata);
        let mut outcome = None;
        let lent = LentFrames::new(&frames);
        (borrower.run)(&memory, &mut |source| outcome = Some(self.run_noted(lent, source, activity)));
        outcome.unwrap_or_else(|| {
            Outcome::did_not_run(self.workload, Subject::Allocator(self.allocator), self.threads, None)
        })
    }

    fn run_noted(
        &self,
        lent: LentFrames<'_>,
        source: &dyn FrameSource,
        activity: Option<&Activity>,
    ) -> Outcome {
        match activity {
            Some(activity) => self.run_on_watched(lent, source, activity),
            None => self.run_on(lent, source),
        }
    }

    /// As [`run_on`](Self::run_on), while another thread reads `activity`.
    pub fn run_on_watched(
        &self,
        lent: LentFrames<'_>,
        source: &dyn FrameSource,
        activity: &Activity,
    ) -> Outcome {
        self.run_on(lent, &Watched { source, activity })
    }

    /// Runs the workload on `source` instead of [`allocator`](Self::allocator). It may allocate the lent frames only, and must have
    /// twice as many contexts as there are threads.
    ///
    /// # Panics
    /// If the host cannot start a thread.
    pub fn run_on(&self, lent: LentFrames<'_>, source: &dyn FrameSource) -> Outcome {
        Run {
            subject: Subject::Allocator(self.allocator),
            workload: self.workload,
            threads: self.threads,
            bound: self.bound,
            seed: self.seed,
            trace: self.trace,
            check_every: self.check_every_frame,
            largest_order: self.largest_order,
        }
        .run(&Tested::Frames(TestedFrames {
            source,
            lent,
            foreign: source.rejects_invalid_frees().map(|order| first_run_from(lent.end(), order)),
        }))
    }
}

/// One run of a workload on a heap on the host.
#[derive(Clone, Copy, Debug)]
pub struct HostHeapRun {
    /// The heap.
    pub heap: &'static Heap,
    /// The workload, one of heaps.
    pub workload: &'static Workload,
    /// The number of threads.
    pub threads: usize,
    /// The size of the arena, in bytes.
    pub bytes: usize,
    /// When it ends.
    pub bound: Bound,
    /// The seed of the random numbers.
    pub seed: u64,
    /// Whether every word of an object is checked, not samples of it.
    pub check_every_word: bool,
}

/// A page of an arena.
#[derive(Clone)]
#[repr(C, align(65536))]
struct ArenaPage([u8; ARENA_PAGE]);

/// Its size: the alignment that an arena of the kernel has, if it is as large.
const ARENA_PAGE: usize = 16 * PAGE_BYTES;

impl HostHeapRun {
    /// Runs the workload on a heap of its own.
    pub fn run(&self) -> Outcome {
        self.run_watched(None)
    }

    /// As [`run`](Self::run), while another thread reads `activity`, which must be made for as many threads.
    ///
    /// # Panics
    /// If octopod's heap is not passed on.
    pub fn run_watched(&self, activity: Option<&Activity>) -> Outcome {
        match self.heap.backing {
            HeapBacking::Arena(make) => self.in_arena(activity, make),
            HeapBacking::Kernel(with) => {
                let mut outcome = None;
                with(self.bytes, self.threads, &mut |source| {
                    outcome = Some(self.run_on(None, source, activity));
                });
                outcome.expect("octopod's heap is passed on and the workload runs on it")
            }
        }
    }

    /// As [`run_watched`](Self::run_watched), on the heap that `make` makes.
    pub fn in_arena(
        &self,
        activity: Option<&Activity>,
        make: impl FnOnce(&HeapArena<'_>, &mut dyn FnMut(&dyn HeapSource)),
    ) -> Outcome {
        let mut memory = Vec::new();
        memory.resize(self.bytes.div_ceil(ARENA_PAGE), ArenaPage([0; ARENA_PAGE]));
        let start = core::ptr::NonNull::from(memory.as_mut_slice()).cast();
        // SAFETY: the memory must be valid and used for nothing else. The vector owns it, is not touched until the heap has ended,
        // and ends after the arena.
        let arena = unsafe { HeapArena::new(start, memory.len() * ARENA_PAGE, self.threads) };
        let mut outcome = None;
        make(&arena, &mut |source| {
            outcome = Some(self.run_on(Some(arena.addresses()), source, activity));
        });
        outcome.unwrap_or_else(|| {
            Outcome::did_not_run(self.workload, Subject::Heap(self.heap), self.threads, arena.declined())
        })
    }

    /// Runs the workload on `source` instead of [`heap`](Self::heap). Objects must lie within `bounds`, if there are any.
    fn run_on(
        &self,
        bounds: Option<Range<usize>>,
        source: &dyn HeapSource,
        activity: Option<&Activity>,
    ) -> Outcome {
        let run = Run {
            subject: Subject::Heap(self.heap),
            workload: self.workload,
            threads: self.threads,
            bound: self.bound,
            seed: self.seed,
            trace: None,
            check_every: self.check_every_word,
            largest_order: Order::MAX,
        };
        let watched;
        let source = match activity {
            Some(activity) => {
                watched = WatchedHeap { source, activity };
                &watched as &dyn HeapSource
            }
            None => source,
        };
        run.run(&Tested::Heap(TestedHeap { source, bounds, free_frames: None }))
    }
}

/// One run of a workload of the scheduler on the host: octopod's locks, conditions and channels, with threads that the host schedules.
#[derive(Clone, Copy, Debug)]
pub struct HostThreadRun {
    /// The policy that reports name. The host has its own.
    pub policy: &'static Policy,
    /// The workload, one of the scheduler.
    pub workload: &'static Workload,
    /// The number of CPUs for which the workload runs threads.
    pub threads: usize,
    /// When it ends.
    pub bound: Bound,
    /// The seed of the random numbers.
    pub seed: u64,
}

impl HostThreadRun {
    /// Runs the workload.
    ///
    /// # Panics
    /// If no thread does a step for two minutes.
    pub fn run(&self) -> Outcome {
        let run = Run {
            subject: Subject::Scheduler(self.policy),
            workload: self.workload,
            threads: self.threads,
            bound: self.bound,
            seed: self.seed,
            trace: None,
            check_every: false,
            largest_order: Order::MAX,
        };
        run.run(&Tested::Scheduler(&NoFrames))
    }
}

/// What the runs of workloads have in common.
struct Run<'a> {
    subject: Subject,
    workload: &'static Workload,
    threads: usize,
    bound: Bound,
    seed: u64,
    trace: Option<&'a AllocTrace<'a>>,
    check_every: bool,
    largest_order: Order,
}

impl Run<'_> {
    /// Runs the workload.
    fn run(&self, tested: &Tested<'_>) -> Outcome {
        let frames = tested.frames();
        let TestedFrames { source, lent, .. } = frames;
        let end = lent.end().get();
        let words = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let (owners, slots) = (words(end), words(SLOTS * self.threads));
        let histograms: Vec<_> = (0..2 * self.threads).map(|_| Histogram::new()).collect();
        let rings: Vec<_> = (0..self.threads).map(|_| FrameRing::new()).collect();
        let ids: Vec<_> = (0..self.threads as u32).collect();
        let sizes = if self.workload.holds_runs { RunTable::sizes(end, self.threads) } else { [0; 3] };
        let runs = sizes.map(words);
        let failures = FailureLog::new();
        let before = tested.snapshot();
        let shared = Shared::new(Setup {
            workload: self.workload,
            seed: self.seed,
            source,
            lent,
            heap: tested.heap(&slots, self.check_every),
            owners: Owners::new(&owners),
            histograms: &histograms,
            ids: &ids,
            rings: &rings,
            failures: &failures,
            free_before: before.free(),
            trace: self.trace,
            check_every_frame: self.check_every,
            largest_order: self.largest_order,
            runs: RunTable::new(runs.each_ref().map(Vec::as_slice)),
        });
        let threads = Threads::new(self.threads, self.bound);
        if let Body::Threads(body) = self.workload.run {
            workloads::run_threads(&threads, &shared, Cpus, body);
        } else {
            self.run_as_cpus(&threads, &shared);
        }
        let elapsed = threads.elapsed();
        self.drain(tested);
        let after = tested.snapshot();
        let operations = threads.operations();
        let measured = Measured {
            operations: operations.iter().sum(),
            elapsed_us: elapsed.as_micros() as u64,
            lost_and_gained: before.lost_and_gained(&after),
        };
        // SAFETY: a context must be unique. The threads have ended.
        let mut context = unsafe { AllocContext::new(0) };
        let limit = Instant::now() + EXHAUST_LIMIT;
        let (owners, is_overdue) = (shared.owners, &|| Instant::now() >= limit);
        let search = Search { owners, context: &mut context, is_overdue };
        Outcome {
            figures: figures(&shared, self.subject, measured),
            buckets: buckets(&histograms).collect(),
            scores: shared.scores().collect(),
            operations,
            is_cut: shared.is_cut(),
            verdict: before
                .compare(&after, &failures, tested, search)
                .and_then(|()| invalid_frees::check(tested, &mut context)),
        }
    }

    /// Runs the workload with a thread for each CPU.
    fn run_as_cpus(&self, threads: &Threads, shared: &Shared<'_>) {
        std::thread::scope(|scope| {
            for number in 0..self.threads {
                let work = move || {
                    become_cpu(number);
                    // SAFETY: a context must be unique. Each thread has that of its number and that of its handler, and no others
                    // exist.
                    workloads::run(threads, shared, unsafe { AllocContext::new(number) });
                };
                // Its name is part of what a panic says.
                let named = std::thread::Builder::new().name(std::format!("cpu {number}"));
                named.spawn_scoped(scope, work).expect("the host has memory for a thread");
            }
        });
    }

    /// Drains what is cached for each thread, in the name of the threads, which have ended.
    fn drain(&self, tested: &Tested<'_>) {
        match tested {
            Tested::Frames(TestedFrames { source, .. }) | Tested::Scheduler(source) => {
                for number in 0..2 * self.threads {
                    // SAFETY: a context must be unique. The threads, which had the contexts, have ended.
                    source.drain(&mut unsafe { AllocContext::new(number) });
                }
            }
            Tested::Heap(heap) => std::thread::scope(|scope| {
                for number in 0..self.threads {
                    let drained = scope.spawn(move || {
                        become_cpu(number);
                        heap.source.drain();
                    });
                    drained.join().expect("a drain does not panic");
                }
            }),
        }
    }
}

/// All frames of that memory.
fn lent_of(world: &World) -> [Range<FrameNumber>; 1] {
    [world.first..world.first + world.len]
}

#[cfg(test)]
mod broken_tests;
#[cfg(test)]
mod heap_tests;
#[cfg(test)]
mod tests;
