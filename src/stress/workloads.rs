//! The workloads. Each CPU runs the same function, until time ends it. The same code runs in the kernel and on the host:
//! what it needs of either is a [`Platform`].

mod exhaust;
mod hotplug;
mod interrupts;
mod mixed;
mod replay;
mod singles;

use core::fmt;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU64};

use exhaust::Phase;
use exhaust::Sums;
use fastrand::Rng;
pub use replay::REPLAY;
pub use singles::PAIRS;

use super::failure::{Failure, FailureLog};
use super::histogram::Histogram;
use super::owners::{Owners, handler_of};
use super::replay::AllocTrace;
use super::ring::Ring;
use super::source::{AllocContext, FrameSource};
use crate::boot::command_line::Named;
use crate::memory::frames::{FrameNumber, Order};

/// One in so many hand-outs is timed. Under TCG a CPU that reads its TSC waits for all others that do.
const TIMED: u32 = 128;

/// So many short rounds are made before a CPU looks at the clock, for the same reason.
const ROUNDS: usize = 64;

/// All workloads, in the order in which they are listed and run. To add one, declare it in a file of its own and add a line.
const ALL: &[&Workload] = &[
    &singles::PAIRS,
    &singles::BULK,
    &mixed::RANDOM,
    &singles::REMOTE,
    &mixed::MIXED_ORDERS,
    &exhaust::FRAGMENTATION,
    &hotplug::HOTPLUG,
    &interrupts::INTERRUPTS,
    &exhaust::STORM,
    &replay::REPLAY,
];

/// How many workloads there are.
pub const COUNT: usize = ALL.len();

/// A workload: what each CPU at work does with the allocator under test.
pub struct Workload {
    /// Its name, on the command line and in reports.
    pub name: &'static str,
    /// What each CPU does, in one sentence.
    pub summary: &'static str,
    /// Whether it runs when no workload is named.
    pub is_default: bool,
    /// Runs it on one CPU, until [`Platform::has_ended`]. Returns with no frame held.
    pub(super) run: fn(&mut Worker<'_>),
    /// Writes what it counted beside operations; `None` if that is nothing.
    pub(super) details: Option<fn(&Shared, &mut fmt::Formatter<'_>) -> fmt::Result>,
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

impl Named for &'static Workload {
    fn all() -> &'static [&'static Workload] {
        ALL
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

/// The workloads that run when none is named.
pub fn defaults() -> impl Iterator<Item = &'static Workload> {
    ALL.iter().copied().filter(|workload| workload.is_default)
}

/// Displays what the workload counted beside operations.
pub struct Details<'a>(pub &'a Shared<'a>);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.workload.details.map_or(Ok(()), |details| details(self.0, f))
    }
}

/// What the workloads need of whatever they run on.
pub trait Platform: Sync {
    /// A clock for latencies: TSC cycles in the kernel.
    fn cycles(&self) -> u64;
    /// Whether the workload's time is over.
    fn has_ended(&self) -> bool;
    /// Waits until all who are at work are here.
    fn barrier(&self);
    /// Waits for what another CPU at work is about to do.
    fn wait_until(&self, condition: &dyn Fn() -> bool);
    /// Adds to the operations of the CPU of this rank, which is the caller's.
    fn count(&self, rank: usize, operations: u64);
    /// Takes the CPU with that number away, out of its work. The caller is another.
    ///
    /// # Errors
    /// [`Failure::Stayed`], where it goes on with its work; else it meets nobody any more.
    fn offline_cpu(&self, id: u32) -> Result<(), Failure>;
    /// Brings a CPU back that was taken away.
    ///
    /// # Errors
    /// It did not come, and meets nobody any more.
    fn online_cpu(&self, id: u32) -> Result<(), Failure>;
    /// Whether the caller, which is that CPU, is to go.
    fn is_offline_requested(&self, id: u32) -> bool;
    /// The caller goes, and returns when it has been brought back.
    fn go_offline(&self, id: u32);
    /// Runs `work` while `handler` comes in between on the same CPU: as an interrupt, where there are such; else it is what
    /// `work` is given to call between its operations, and what comes as an interrupt is not called by that.
    fn with_interrupts(&self, handler: &mut dyn FnMut(), work: &mut dyn FnMut(&mut dyn FnMut()));
    /// Tells a person of the first failure, at once: the run may not get much further.
    fn report(&self, failure: &Failure);
}

/// What a workload runs with.
pub struct Setup<'a> {
    /// The workload.
    pub workload: &'static Workload,
    /// The seed of its random numbers.
    pub seed: u64,
    /// The allocator under test.
    pub source: &'a dyn FrameSource,
    /// The owner of each frame.
    pub owners: Owners<'a>,
    /// Latencies: one for each CPU, by rank, then one for the interrupt handler of each.
    pub histograms: &'a [Histogram],
    /// The number of the CPU of each rank, as in reports.
    pub ids: &'a [u32],
    /// From the CPU of each rank to the one of the next rank.
    pub rings: &'a [Ring],
    /// What went wrong.
    pub failures: &'a FailureLog,
    /// The number of free frames before.
    pub free_before: u64,
    /// The trace that `replay` replays.
    pub trace: Option<&'a AllocTrace<'a>>,
}

/// What all CPUs of a workload share: its [`Setup`], and what they count.
pub struct Shared<'a> {
    setup: Setup<'a>,
    /// How many frames the exhausting workloads have moved.
    sums: Sums,
    /// How often `hotplug` has taken a CPU offline.
    offline_cycles: AtomicU64,
    /// Whether there is another round.
    goes_on: AtomicBool,
    /// Whether the CPU that decides when the workload ends has done so.
    is_over: AtomicBool,
    /// How many interrupts were handled during allocation; how often the trace was replayed.
    came: AtomicU64,
    /// How many allocations failed, of interrupt handlers or of the trace.
    refused: AtomicU64,
}

impl<'a> Shared<'a> {
    /// Nothing is counted yet.
    pub fn new(setup: Setup<'a>) -> Shared<'a> {
        Shared {
            setup,
            sums: Sums::default(),
            offline_cycles: AtomicU64::new(0),
            goes_on: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            came: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

impl<'a> Deref for Shared<'a> {
    type Target = Setup<'a>;

    fn deref(&self) -> &Setup<'a> {
        &self.setup
    }
}

/// One CPU at work.
pub(super) struct Worker<'a> {
    platform: &'a dyn Platform,
    shared: &'a Shared<'a>,
    /// Its place among the CPUs at work.
    rank: usize,
    /// What reports call it.
    id: u32,
    context: AllocContext,
    rng: Rng,
    phase: Phase,
    /// Whether it has not begun yet.
    is_new: bool,
}

/// Runs the workload on this CPU, whose place among the CPUs at work is that of its context. The context of its handler, whose
/// number is larger by as many as are at work, is this call's as well.
pub fn run(platform: &dyn Platform, shared: &Shared, context: AllocContext) {
    let rank = context.number();
    // Neighbouring seeds give unrelated streams only if they differ in more than a bit.
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
    };
    platform.barrier();
    (shared.workload.run)(&mut worker);
    platform.barrier();
}

impl<'a> Worker<'a> {
    /// Who works in this CPU's handler.
    fn handler(&mut self) -> Worker<'a> {
        // SAFETY: whoever has given this worker its context has given it the handler's too, and this is called once.
        let context = unsafe { AllocContext::new(self.shared.ids.len() + self.rank) };
        let rng = self.rng.fork();
        Worker { context, rng, id: handler_of(self.id), is_new: false, ..*self }
    }

    /// Whether there is another round. There is always a first: a host that was slow to begin has tested nothing else.
    fn goes_on(&mut self) -> bool {
        core::mem::take(&mut self.is_new) || !self.platform.has_ended()
    }

    fn alloc(&mut self, order: Order) -> Option<FrameNumber> {
        self.shared.source.alloc(&mut self.context, order)
    }

    /// As [`alloc`](Self::alloc); how long one in [`TIMED`] takes is recorded, and each of a block or more, which are few.
    fn alloc_sampled(&mut self, order: Order) -> Option<FrameNumber> {
        if order < Order::BLOCK && self.rng.u32(..TIMED) != 0 {
            return self.alloc(order);
        }
        let (frame, cycles) = self.alloc_timed(order);
        if frame.is_some() {
            self.record(cycles);
        }
        frame
    }

    /// As [`alloc`](Self::alloc), and how long that took.
    fn alloc_timed(&mut self, order: Order) -> (Option<FrameNumber>, u64) {
        let began = self.platform.cycles();
        let frame = self.alloc(order);
        (frame, self.platform.cycles().wrapping_sub(began))
    }

    fn free(&mut self, frame: FrameNumber, order: Order) {
        // SAFETY: this workload allocated the run from this source, and nothing uses its memory: workloads read and write owner
        // words only. The run is freed once: each caller has cleared its owner words before (`disown`, `unlink`), or has
        // just allocated it and not noted an owner.
        if let Err(error) = unsafe { self.shared.source.free(&mut self.context, frame, order) } {
            self.note(Failure::Refused(error));
        }
    }

    fn record(&self, cycles: u64) {
        self.shared.histograms[self.context.number()].record(cycles);
    }

    fn count(&self, operations: u64) {
        self.platform.count(self.rank, operations);
    }

    fn note(&self, failure: Failure) {
        if self.shared.failures.note(failure) {
            self.platform.report(&failure);
        }
    }

    /// Whether the run that this CPU was handed is its own now, all of it.
    fn acquired(&self, frame: FrameNumber, order: Order) -> bool {
        if !frame.is_aligned_to(order) {
            self.note(Failure::Misaligned { frame, order });
        }
        let mut all = true;
        for index in 0..order.frames() {
            if let Err(doubled) = self.shared.owners.acquire((frame + index).get(), self.id) {
                self.note(Failure::OwnershipViolation(doubled));
                all = false;
            }
        }
        all
    }

    /// Notes that `holder` has the run no longer; whether it had all of it.
    fn disown(&self, frame: FrameNumber, order: Order, holder: u32) -> bool {
        let mut all = true;
        for index in 0..order.frames() {
            if let Err(doubled) = self.shared.owners.give_back((frame + index).get(), holder) {
                self.note(Failure::OwnershipViolation(doubled));
                all = false;
            }
        }
        all
    }

    /// Gives a run of this CPU's own back.
    fn release(&mut self, frame: FrameNumber, order: Order) {
        if self.disown(frame, order, self.id) {
            self.free(frame, order);
        }
    }
}
