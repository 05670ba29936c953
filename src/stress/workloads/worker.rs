//! A workload, the state that its CPUs share, and one of these CPUs.

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use fastrand::Rng;
use spin::Once;

use super::objects::HeapTarget;
pub use super::platform::Platform;
use super::sums::{Phase, Sums};
pub use super::timed::Timed;
use crate::memory::frames::{FrameNumber, Order};
use crate::stress::failure::{Failure, FailureLog};
use crate::stress::histogram::Histogram;
use crate::stress::lent::LentFrames;
use crate::stress::owners::{Owners, handler_of};
use crate::stress::replay::AllocTrace;
use crate::stress::ring::FrameRing;
use crate::stress::run_table::RunTable;
use crate::stress::source::{AllocContext, FrameSource};
use crate::stress::subject::SubjectKind;
use crate::stress::thread_platform::Cpus;
use crate::wire::{MAX_SCORES, Scheduling};

/// One in this many allocations is timed. Under TCG a CPU that reads its TSC waits for all others that do.
pub(in crate::stress) const TIMED: u32 = 128;

/// The time that a round which allocates much memory may take beyond the workload's time. An allocator whose allocations take longer the
/// less is free would never complete it.
pub(crate) const EXHAUST_LIMIT: Duration = Duration::from_secs(20);

/// What is logged of a workload of which the clock has ended a round, [`EXHAUST_LIMIT`] after the workload's time.
pub const ROUND_CUT: &str = "the clock ended a round before it was complete";

/// Short rounds between two reads of the clock, for the same reason.
pub(in crate::stress) const ROUNDS: usize = 64;

/// A workload: the operations of each CPU on the allocator under test.
pub struct Workload {
    /// Its name, on the command line and in reports.
    pub name: &'static str,
    /// The work of each CPU, in one sentence.
    pub summary: &'static str,
    /// Whether it runs when no workload is named.
    pub is_default: bool,
    /// Whether threads of a host can run it.
    pub on_host: bool,
    /// What its latencies include.
    pub timed: Timed,
    /// Whether it needs room in a [`RunTable`](crate::stress::run_table::RunTable).
    pub holds_runs: bool,
    /// Runs it on one CPU, until [`Platform::has_ended`](super::worker::Platform::has_ended). Frees all that it has allocated before it returns.
    pub run: Body,
    /// Writes its counters other than operations; `None` if it has none.
    pub details: Option<fn(&Shared, &mut fmt::Formatter<'_>) -> fmt::Result>,
}

/// What a workload does on each CPU.
#[derive(Clone, Copy)]
pub enum Body {
    /// It works on a frame allocator.
    Frames(fn(&mut Worker<'_>)),
    /// It works on a heap.
    Heap(fn(&mut HeapWorker<'_>)),
    /// It works on the scheduler: it is called once, and runs threads.
    Threads(fn(&ThreadRun<'_>)),
}

impl Workload {
    /// What it works on.
    pub fn kind(&self) -> SubjectKind {
        match self.run {
            Body::Frames(_) => SubjectKind::Frames,
            Body::Heap(_) => SubjectKind::Heap,
            Body::Threads(_) => SubjectKind::Scheduler,
        }
    }

    /// Whether it works on heaps.
    pub fn is_of_heaps(&self) -> bool {
        self.kind() == SubjectKind::Heap
    }
}

impl PartialEq for Workload {
    fn eq(&self, other: &Workload) -> bool {
        self.name == other.name
    }
}

impl Eq for Workload {}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

/// Displays the counters of a workload other than operations.
#[doc(hidden)]
pub struct Details<'a>(pub &'a Shared<'a>);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.workload.details.map_or(Ok(()), |details| details(self.0, f))
    }
}

/// The inputs of a workload.
#[doc(hidden)]
pub struct Setup<'a> {
    /// The workload.
    pub workload: &'static Workload,
    /// The seed of its random numbers.
    pub seed: u64,
    /// The allocator under test.
    pub source: &'a dyn FrameSource,
    /// The heap under test, of a workload of heaps; `source` has no frames then.
    pub heap: Option<HeapTarget<'a>>,
    /// The frames that it may allocate.
    pub lent: LentFrames<'a>,
    /// The owner of each frame.
    pub owners: Owners<'a>,
    /// Latencies: one histogram for each CPU, by rank, then one for the interrupt handler of each.
    pub histograms: &'a [Histogram],
    /// The number of the CPU of each rank, as in reports.
    pub ids: &'a [u32],
    /// The queue from the CPU of each rank to that of the next.
    pub rings: &'a [FrameRing],
    /// The failures so far.
    pub failures: &'a FailureLog,
    /// The number of free frames before the workload.
    pub free_before: u64,
    /// The trace that `replay` replays.
    pub trace: Option<&'a AllocTrace<'a>>,
    /// Whether every frame of a run is checked, not samples of it.
    pub check_every_frame: bool,
    /// The largest order that workers allocate.
    pub largest_order: Order,
    /// The table of a workload that [`holds_runs`](Workload::holds_runs), as new.
    pub runs: RunTable<'a>,
}

/// The allocations of a CPU.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::stress) struct Tally {
    pub(in crate::stress) allocations: u64,
    pub(in crate::stress) refused: u64,
    pub(in crate::stress) unsupported: u64,
}

/// The state that all CPUs of a workload share: its [`Setup`] and its counters.
#[doc(hidden)]
pub struct Shared<'a> {
    setup: Setup<'a>,
    /// The sums of the exhausting workloads.
    pub(in crate::stress) sums: Sums,
    /// CPU offline/online cycles of `hotplug`.
    pub(in crate::stress) offline_cycles: AtomicU64,
    /// Whether there is another round.
    pub(in crate::stress) goes_on: AtomicBool,
    /// Whether the CPU that ends the workload has done so.
    pub(in crate::stress) is_over: AtomicBool,
    /// Whether a round was ended by the clock.
    is_cut: AtomicBool,
    /// Interrupts during allocation, or rounds of a trace.
    pub(in crate::stress) rounds: AtomicU64,
    /// Failed allocations of interrupt handlers, or of a trace.
    pub(in crate::stress) failed: AtomicU64,
    /// The runs that all CPUs together have put into the table.
    pub(in crate::stress) filled: AtomicU64,
    /// The fragmentation scores, in tenths of a percent, and their number.
    scores: [AtomicU16; MAX_SCORES],
    scored: AtomicUsize,
    /// What the scheduler has done meanwhile, of a workload of the scheduler.
    pub(in crate::stress) scheduling: Once<Scheduling>,
    /// Allocations that succeeded, by all workers that have ended; of a workload of the scheduler, threads that were spawned.
    pub(in crate::stress) allocations: AtomicU64,
    /// Allocations of supported orders that failed.
    pub(in crate::stress) refused: AtomicU64,
    /// Allocations of orders that the allocator does not support.
    pub(in crate::stress) unsupported: AtomicU64,
}

impl<'a> Shared<'a> {
    /// Shared state with all counters 0.
    pub fn new(setup: Setup<'a>) -> Shared<'a> {
        Shared {
            setup,
            sums: Sums::default(),
            offline_cycles: AtomicU64::new(0),
            goes_on: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            scores: [const { AtomicU16::new(0) }; MAX_SCORES],
            scored: AtomicUsize::new(0),
            scheduling: Once::new(),
            allocations: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unsupported: AtomicU64::new(0),
        }
    }

    /// Whether the clock has ended a round before it was complete. The workload ends with this round.
    pub(in crate::stress) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    /// Appends a fragmentation score, in tenths of a percent, and returns the number of scores. Only one CPU may call this, at
    /// most [`MAX_SCORES`] times.
    pub(in crate::stress) fn add_score(&self, score: u64) -> usize {
        let count = self.scored.load(Ordering::Relaxed);
        self.scores[count].store(score as u16, Ordering::Relaxed);
        self.scored.store(count + 1, Ordering::Relaxed);
        count + 1
    }

    /// The fragmentation scores, in tenths of a percent: before the first round, and after each.
    pub(in crate::stress) fn scores(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        let count = self.scored.load(Ordering::Relaxed);
        self.scores[..count].iter().map(|score| score.load(Ordering::Relaxed))
    }
}

impl<'a> Deref for Shared<'a> {
    type Target = Setup<'a>;

    fn deref(&self) -> &Setup<'a> {
        &self.setup
    }
}

/// One run of a workload of the scheduler.
pub struct ThreadRun<'a> {
    pub(super) platform: &'a dyn Platform,
    pub(super) shared: &'a Shared<'a>,
    /// The CPUs of threads that are not pinned.
    pub(super) cpus: Cpus,
    /// Whether the workload's time is over, and a thread has seen that.
    pub(super) has_ended: AtomicBool,
    pub(super) spawned: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) ordered: AtomicU64,
    pub(super) done: AtomicU64,
}

/// One CPU of a workload.
pub struct Worker<'a> {
    pub(in crate::stress) platform: &'a dyn Platform,
    pub(in crate::stress) shared: &'a Shared<'a>,
    /// Its index among the CPUs of the workload.
    pub(in crate::stress) rank: usize,
    /// Its number in reports.
    pub(in crate::stress) id: u32,
    pub(in crate::stress) context: AllocContext,
    pub(in crate::stress) rng: Rng,
    pub(in crate::stress) phase: Phase,
    /// Whether it has not completed a round.
    pub(in crate::stress) is_new: bool,
    /// The orders that it allocates: those that the allocator supports. The bit of each is its number.
    orders: u32,
    pub(in crate::stress) tally: Tally,
}

/// The orders up to the largest that an allocator supports, as bits.
fn supported(source: &dyn FrameSource, largest: Order) -> u32 {
    let orders = (0..=largest.get()).filter_map(Order::new).filter(|order| source.supports(*order));
    orders.map(|order| 1 << order.get()).sum()
}

/// Runs the workload on this CPU, whose rank is the number of its context. The context of its handler, whose number is larger
/// by the number of CPUs of the workload, belongs to this call as well.
#[doc(hidden)]
pub fn run(platform: &dyn Platform, shared: &Shared, context: AllocContext) {
    let rank = context.number();
    // Seeds that differ in one bit give related streams, so the rank is multiplied.
    let seed = shared.seed ^ (rank as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut worker = Worker {
        platform,
        shared,
        rank,
        id: shared.ids[rank],
        context,
        rng: Rng::with_seed(seed),
        phase: Phase::default(),
        is_new: true,
        orders: supported(shared.source, shared.largest_order),
        tally: Tally::default(),
    };
    platform.barrier();
    match shared.workload.run {
        Body::Frames(run) => {
            run(&mut worker);
            worker.add_up();
        }
        Body::Heap(run) => {
            let mut worker = HeapWorker::new(worker);
            run(&mut worker);
            worker.worker.add_up();
        }
        Body::Threads(_) => unreachable!("a workload of the scheduler runs threads, not CPUs"),
    }
    platform.barrier();
}

impl<'a> Worker<'a> {
    /// The worker of this CPU's interrupt handler. Called once.
    pub(in crate::stress) fn handler(&mut self) -> Worker<'a> {
        // SAFETY: a context must be unique. The caller of `run` gave it the handler's context too, and this is called once per
        // worker.
        let context = unsafe { AllocContext::new(self.shared.ids.len() + self.rank) };
        let rng = self.rng.fork();
        Worker { context, rng, id: handler_of(self.id), is_new: false, tally: Tally::default(), ..*self }
    }

    /// Adds its allocations to those of all CPUs. Called once, at its end.
    pub(in crate::stress) fn add_up(&self) {
        let Tally { allocations, refused, unsupported } = self.tally;
        self.shared.allocations.fetch_add(allocations, Ordering::Relaxed);
        self.shared.refused.fetch_add(refused, Ordering::Relaxed);
        self.shared.unsupported.fetch_add(unsupported, Ordering::Relaxed);
    }

    /// Whether there is another round. There is at least one, however slow the host is.
    pub(in crate::stress) fn goes_on(&mut self) -> bool {
        core::mem::take(&mut self.is_new) || !self.platform.has_ended()
    }

    /// Whether the clock ends this round, which one step in [`ROUNDS`] asks, by number. Then it ends on all CPUs.
    pub(in crate::stress) fn cuts_round(&self, step: usize) -> bool {
        if !step.is_multiple_of(ROUNDS) {
            return false;
        }
        let is_cut = self.shared.is_cut() || self.platform.is_overdue();
        if is_cut {
            self.shared.is_cut.store(true, Ordering::Release);
        }
        is_cut
    }

    /// Whether it allocates runs of this order.
    pub(in crate::stress) fn supports(&self, order: Order) -> bool {
        self.orders >> order.get() & 1 != 0
    }

    /// Allocates a run, and counts it, or its failure.
    pub(in crate::stress) fn alloc(&mut self, order: Order) -> Option<FrameNumber> {
        if !self.supports(order) {
            self.tally.unsupported += 1;
            return None;
        }
        let frame = self.shared.source.alloc(&mut self.context, order);
        match frame {
            Some(_) => self.tally.allocations += 1,
            None => self.tally.refused += 1,
        }
        frame
    }

    /// As [`alloc`](Self::alloc). Records the latency of one in [`TIMED`] allocations, and of each of a block or more, which
    /// are few.
    pub(in crate::stress) fn alloc_sampled(&mut self, order: Order) -> Option<FrameNumber> {
        if order < Order::BLOCK && self.rng.u32(..TIMED) != 0 {
            return self.alloc(order);
        }
        let (frame, cycles) = self.alloc_timed(order);
        if frame.is_some() {
            self.record(cycles);
        }
        frame
    }

    /// As [`alloc`](Self::alloc), and returns its latency.
    pub(in crate::stress) fn alloc_timed(&mut self, order: Order) -> (Option<FrameNumber>, u64) {
        let began = self.platform.cycles();
        let frame = self.alloc(order);
        (frame, self.platform.cycles().wrapping_sub(began))
    }

    pub(in crate::stress) fn free(&mut self, frame: FrameNumber, order: Order) {
        // SAFETY: the run must be allocated from this source, and its memory unused. Workloads access owner words only, not the
        // memory. Each caller frees a run once: it has cleared the owner words before (`disown`, `unlink`), or has just
        // allocated the run and not recorded an owner.
        if let Err(error) = unsafe { self.shared.source.free(&mut self.context, frame, order) } {
            self.note(Failure::Rejected(error));
        }
    }

    /// Allocates single frames by one call, and counts them, and a failure if there are fewer. Returns their number.
    pub(in crate::stress) fn alloc_bulk(&mut self, frames: &mut [FrameNumber]) -> usize {
        if frames.is_empty() {
            return 0;
        }
        if !self.supports(Order::FRAME) {
            self.tally.unsupported += 1;
            return 0;
        }
        let count = self.shared.source.alloc_bulk(&mut self.context, frames).min(frames.len());
        self.tally.allocations += count as u64;
        self.tally.refused += u64::from(count < frames.len());
        count
    }

    /// Frees single frames by one call.
    pub(in crate::stress) fn free_bulk(&mut self, frames: &[FrameNumber]) {
        if frames.is_empty() {
            return;
        }
        // SAFETY: the frames must be allocated from this source, their memory unused, and each be in the slice once. Workloads access
        // owner words only, not the memory. The caller has cleared the owner word of each before (`disown`), which fails the second
        // time.
        if let Err(error) = unsafe { self.shared.source.free_bulk(&mut self.context, frames) } {
            self.note(Failure::Rejected(error));
        }
    }

    pub(in crate::stress) fn record(&self, cycles: u64) {
        self.shared.histograms[self.context.number()].record(cycles);
    }

    pub(in crate::stress) fn count(&self, operations: u64) {
        self.platform.count(self.rank, operations);
    }

    pub(in crate::stress) fn note(&self, failure: Failure) {
        if self.shared.failures.note(failure) {
            self.platform.report(&failure);
        }
    }
}

/// One CPU of a workload on a heap, or its interrupt handler.
pub struct HeapWorker<'a> {
    pub(in crate::stress) worker: Worker<'a>,
    pub(in crate::stress) target: &'a HeapTarget<'a>,
    /// The largest size that the heap supports.
    pub(in crate::stress) largest: usize,
}

impl<'a> Deref for HeapWorker<'a> {
    type Target = Worker<'a>;

    fn deref(&self) -> &Worker<'a> {
        &self.worker
    }
}

impl<'a> DerefMut for HeapWorker<'a> {
    fn deref_mut(&mut self) -> &mut Worker<'a> {
        &mut self.worker
    }
}

impl<'a> HeapWorker<'a> {
    /// The worker of a CPU.
    ///
    /// # Panics
    /// If the workload runs on no heap.
    pub(in crate::stress) fn new(worker: Worker<'a>) -> HeapWorker<'a> {
        let shared = worker.shared;
        let target = shared.heap.as_ref().expect("a workload of heaps runs on a heap");
        HeapWorker { worker, target, largest: target.source.largest_size() }
    }

    /// The worker of this CPU's interrupt handler. Called once.
    pub(in crate::stress) fn handler(&mut self) -> HeapWorker<'a> {
        HeapWorker { worker: self.worker.handler(), ..*self }
    }
}
