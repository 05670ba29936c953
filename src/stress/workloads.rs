//! The workloads. Each CPU runs the same function, until time ends it. The same code runs in the kernel and on the host:
//! what it needs of either is a [`Platform`].

mod exhaust;
mod interrupts;
mod mixed;
mod offline;
mod replay;
mod singles;

use core::sync::atomic::{AtomicBool, AtomicU64};

use exhaust::Phase;
pub use exhaust::Sums;
use fastrand::Rng;

use super::faults::{Fault, Faults};
use super::histogram::Histogram;
use super::owners::{Owners, handler_of};
use super::ring::Ring;
use super::source::{FrameSource, Seat};
use super::trace::Trace;
use crate::boot::command_line::Workload;
use crate::memory::frames::{FrameNumber, Order};

/// One in so many hand-outs is timed. Under TCG a CPU that reads its TSC waits for all others that do.
const TIMED: u32 = 128;

/// So many short rounds are made before a CPU looks at the clock, for the same reason.
const ROUNDS: usize = 64;

/// What the workloads need of whatever they run on.
pub trait Platform: Sync {
    /// A clock for latencies: TSC cycles in the kernel.
    fn cycles(&self) -> u64;
    /// Whether the workload's time is over.
    fn has_ended(&self) -> bool;
    /// Waits until all who are at work are here.
    fn meet(&self);
    /// Waits for what another CPU at work is about to do.
    fn wait_until(&self, condition: &dyn Fn() -> bool);
    /// Adds to the operations of the CPU of this rank, which is the caller's.
    fn count(&self, rank: usize, operations: u64);
    /// Takes the CPU with that number away, out of its work. The caller is another.
    ///
    /// # Errors
    /// [`Fault::Stayed`], where it goes on with its work; else it meets nobody any more.
    fn take_away(&self, id: u32) -> Result<(), Fault>;
    /// Brings a CPU back that was taken away.
    ///
    /// # Errors
    /// It did not come, and meets nobody any more.
    fn bring_back(&self, id: u32) -> Result<(), Fault>;
    /// Whether the caller, which is that CPU, is to go.
    fn is_asked_to_leave(&self, id: u32) -> bool;
    /// The caller goes, and returns when it has been brought back.
    fn leave(&self, id: u32);
    /// Runs `work` while `handler` comes in between on the same CPU: as an interrupt, where there are such; else it is what
    /// `work` is given to call between its operations, and what comes as an interrupt is not called by that.
    fn interrupted(&self, handler: &mut dyn FnMut(), work: &mut dyn FnMut(&mut dyn FnMut()));
    /// Tells a person of the first fault, at once: the run may not get much further.
    fn tell(&self, fault: &Fault);
}

/// What all CPUs of a workload share.
pub struct Shared<'a> {
    /// Which one.
    pub workload: Workload,
    /// Where the randomness starts.
    pub seed: u64,
    /// The allocator under test.
    pub source: &'a dyn FrameSource,
    /// Who has which frame.
    pub owners: Owners<'a>,
    /// One for each CPU, by rank, then one for the handler of each.
    pub histograms: &'a [Histogram],
    /// The number of the CPU of each rank, as reports call it.
    pub ids: &'a [u32],
    /// From the CPU of each rank to the one of the next.
    pub rings: &'a [Ring],
    /// What went wrong.
    pub faults: &'a Faults,
    /// Frames that were free before.
    pub free_before: u64,
    /// How many frames the exhausting workloads have moved.
    pub sums: Sums,
    /// How often `offline` has taken a CPU away.
    pub taken_away: AtomicU64,
    /// Whether there is another round.
    pub goes_on: AtomicBool,
    /// Whether the CPU that decides when the workload ends has done so.
    pub is_over: AtomicBool,
    /// How often handlers came in between; how often the trace was replayed.
    pub came: AtomicU64,
    /// How often handlers found no memory; allocations of the trace for which there was none.
    pub refused: AtomicU64,
    /// What `replay` replays.
    pub trace: Option<&'a Trace<'a>>,
}

/// One CPU at work.
struct Worker<'a, P: Platform> {
    platform: &'a P,
    shared: &'a Shared<'a>,
    /// Its place among the CPUs at work.
    rank: usize,
    /// What reports call it.
    id: u32,
    seat: Seat,
    rng: Rng,
    phase: Phase,
    /// Whether it has not begun yet.
    is_new: bool,
}

/// Runs the workload on this CPU, whose place among the CPUs at work is that of its seat. The seat of its handler, whose
/// number is larger by as many as are at work, is this call's as well.
pub fn run<P: Platform>(platform: &P, shared: &Shared, seat: Seat) {
    let rank = seat.number();
    // Neighbouring seeds give unrelated streams only if they differ in more than a bit.
    let seed = shared.seed ^ (rank as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut worker = Worker {
        platform,
        shared,
        rank,
        id: shared.ids[rank],
        seat,
        rng: Rng::with_seed(seed),
        phase: Phase::default(),
        is_new: true,
    };
    platform.meet();
    match shared.workload {
        Workload::Pairs => worker.pairs(),
        Workload::Bulk => worker.bulk(),
        Workload::Random => worker.random(),
        Workload::Offline => worker.offline(),
        Workload::Interrupts => worker.interrupts(),
        Workload::Remote => worker.remote(),
        Workload::Orders => worker.orders(),
        Workload::Checkerboard => worker.checkerboard(),
        Workload::Storm => worker.storm(),
        Workload::Replay => worker.replay(),
    }
    platform.meet();
}

impl<'a, P: Platform> Worker<'a, P> {
    /// Who works in this CPU's handler.
    fn handler(&mut self) -> Worker<'a, P> {
        // SAFETY: whoever has given this worker its seat has given it the handler's too, and this is called once.
        let seat = unsafe { Seat::new(self.shared.ids.len() + self.rank) };
        let rng = self.rng.fork();
        Worker { seat, rng, id: handler_of(self.id), is_new: false, ..*self }
    }

    /// Whether there is another round. There is always a first: a host that was slow to begin has tested nothing else.
    fn goes_on(&mut self) -> bool {
        core::mem::take(&mut self.is_new) || !self.platform.has_ended()
    }

    fn alloc(&mut self, order: Order) -> Option<FrameNumber> {
        self.shared.source.alloc(&mut self.seat, order)
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
        // words only. The run is freed once: each caller has cleared its owner words before (`gives_back`, `unlink`), or has
        // just allocated it and not noted an owner.
        if let Err(error) = unsafe { self.shared.source.free(&mut self.seat, frame, order) } {
            self.note(Fault::Refused(error));
        }
    }

    fn record(&self, cycles: u64) {
        self.shared.histograms[self.seat.number()].record(cycles);
    }

    fn count(&self, operations: u64) {
        self.platform.count(self.rank, operations);
    }

    fn note(&self, fault: Fault) {
        if self.shared.faults.note(fault) {
            self.platform.tell(&fault);
        }
    }

    /// Whether the run that this CPU was handed is its own now, all of it.
    fn got(&self, frame: FrameNumber, order: Order) -> bool {
        if !frame.is_aligned_to(order) {
            self.note(Fault::Misaligned { frame, order });
        }
        let mut all = true;
        for index in 0..order.frames() {
            if let Err(doubled) = self.shared.owners.hand_out((frame + index).get(), self.id) {
                self.note(Fault::Doubled(doubled));
                all = false;
            }
        }
        all
    }

    /// Notes that `holder` has the run no longer; whether it had all of it.
    fn gives_back(&self, frame: FrameNumber, order: Order, holder: u32) -> bool {
        let mut all = true;
        for index in 0..order.frames() {
            if let Err(doubled) = self.shared.owners.give_back((frame + index).get(), holder) {
                self.note(Fault::Doubled(doubled));
                all = false;
            }
        }
        all
    }

    /// Gives a run of this CPU's own back.
    fn put(&mut self, frame: FrameNumber, order: Order) {
        if self.gives_back(frame, order, self.id) {
            self.free(frame, order);
        }
    }
}
