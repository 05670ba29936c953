//! The workloads. Each CPU runs the same function; time ends it.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fastrand::Rng;

use super::barrier::Barrier;
use super::histogram::Histogram;
use super::owners::{Doubled, Owners};
use super::progress::OPERATIONS;
use super::ring::Ring;
use crate::boot::command_line::Workload;
use crate::cpu::CpuId;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::read_tsc;
use crate::memory::{
    self,
    frames::{FrameNumber, Order},
};
use crate::sync::{Deadline, IrqMutex};

/// How many frames `pairs` holds at most.
const PAIRS_HELD: usize = 32;
/// How many `bulk` takes at once.
const BULK_HELD: usize = 512;
/// One in so many hand-outs is timed.
const TIMED: u32 = 16;

/// What all CPUs of a workload share.
pub struct Shared<'a> {
    /// Which one.
    pub workload: Workload,
    /// Where the randomness starts.
    pub seed: u64,
    /// When to end.
    pub end: Deadline,
    /// Where all CPUs meet.
    pub barrier: Barrier,
    /// Who has which frame.
    pub owners: Owners<'a>,
    /// One for each CPU, by rank.
    pub histograms: &'a [Histogram],
    /// The CPUs at work, by rank.
    pub ids: &'a [CpuId],
    /// From the CPU of each rank to the one of the next.
    pub rings: &'a [Ring],
    /// What went wrong.
    pub faults: &'a Faults,
    /// The TSC when the work began.
    pub began_tsc: AtomicU64,
    /// Frames that the round of `storm` at hand has taken.
    pub storm_taken: AtomicU64,
    /// Frames that were free before it.
    pub storm_free: AtomicU64,
    /// Whether there is another round of `storm`.
    pub storm_goes_on: AtomicBool,
}

/// What went wrong in a workload.
pub struct Faults {
    doubled: AtomicU64,
    first: IrqMutex<Option<Fault>>,
}

/// One thing that went wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// A frame is not whose it should be.
    Doubled(Doubled),
    /// `storm` could not get at frames that nobody held.
    Stranded {
        /// How many it took.
        taken: u64,
        /// How many there were.
        free: u64,
    },
    /// The allocator would not take a frame back.
    Refused(memory::frames::FreeError),
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Fault::Doubled(doubled) => doubled.fmt(f),
            Fault::Stranded { taken, free } => {
                write!(f, "all CPUs together obtained {taken} frames of {free} that were free")
            }
            Fault::Refused(error) => write!(f, "the allocator refused a frame: {error}"),
        }
    }
}

impl Faults {
    /// None so far.
    pub const fn new() -> Faults {
        Faults { doubled: AtomicU64::new(0), first: IrqMutex::new(None) }
    }

    /// How many frames were handed out twice or returned by a stranger.
    pub fn doubled(&self) -> u64 {
        self.doubled.load(Ordering::Relaxed)
    }

    /// The first thing that went wrong.
    pub fn first(&self) -> Option<Fault> {
        *self.first.lock()
    }

    fn note(&self, fault: Fault) {
        if let Fault::Doubled(_) = fault {
            self.doubled.fetch_add(1, Ordering::Relaxed);
        }
        let mut first = self.first.lock();
        if first.is_none() {
            log::error!("{fault}");
            *first = Some(fault);
        }
    }
}

/// One CPU at work.
struct Worker<'a> {
    shared: &'a Shared<'a>,
    /// Its place among the CPUs at work.
    rank: usize,
    rng: Rng,
}

/// Runs the workload on this CPU, whose place among the CPUs at work is `rank`.
pub fn run(shared: &Shared, rank: usize) {
    // Neighbouring seeds give unrelated streams only if they differ in more than a bit.
    let seed = shared.seed ^ (rank as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut worker = Worker { shared, rank, rng: Rng::with_seed(seed) };
    shared.barrier.wait();
    if rank == 0 {
        shared.began_tsc.store(read_tsc(), Ordering::Relaxed);
    }
    match shared.workload {
        Workload::Pairs => worker.pairs(),
        Workload::Bulk => worker.bulk(),
        Workload::Remote => worker.remote(),
        Workload::Storm => worker.storm(),
    }
    shared.barrier.wait();
}

impl Worker<'_> {
    /// A few frames at a time, returned in any order: the life of most frames.
    fn pairs(&mut self) {
        let mut held = [FrameNumber::new(0); PAIRS_HELD];
        while !self.shared.end.has_passed() {
            let wanted = self.rng.usize(1..=PAIRS_HELD);
            self.take_and_return(&mut held[..wanted]);
        }
    }

    /// More frames than a magazine holds, so that every round reaches the shared layers.
    fn bulk(&mut self) {
        let mut held = [FrameNumber::new(0); BULK_HELD];
        while !self.shared.end.has_passed() {
            self.take_and_return(&mut held);
        }
    }

    fn take_and_return(&mut self, held: &mut [FrameNumber]) {
        let mut count = 0;
        let mut timed = None;
        for slot in held.iter_mut() {
            let is_timed = timed.is_none() && self.rng.u32(..TIMED) == 0;
            let began = if is_timed { read_tsc() } else { 0 };
            // When memory is short the others have it; what this CPU has got has to do.
            let Some(frame) = memory::alloc(Order::FRAME) else { break };
            if is_timed {
                timed = Some((frame, read_tsc().wrapping_sub(began)));
            }
            if self.got(frame) {
                *slot = frame;
                count += 1;
            }
        }
        let held = &mut held[..count];
        self.rng.shuffle(held);
        for frame in held {
            if self.gives_back(*frame, self.id()).is_some() {
                let began = read_tsc();
                self.free(*frame);
                if let Some((timed_frame, cycles)) = timed
                    && timed_frame == *frame
                {
                    self.shared.histograms[self.rank].record(cycles + read_tsc().wrapping_sub(began));
                }
            }
        }
        OPERATIONS.add(2 * count as u64);
    }

    /// Every frame is freed on another CPU than the one that took it.
    fn remote(&mut self) {
        let senders = self.shared.rings.len();
        let outgoing = &self.shared.rings[self.rank];
        let sender_rank = (self.rank + senders - 1) % senders;
        let incoming = &self.shared.rings[sender_rank];
        let sender = self.shared.ids[sender_rank];
        while !self.shared.end.has_passed() {
            for _ in 0..self.rng.u32(1..=64) {
                let began = read_tsc();
                let Some(frame) = memory::alloc(Order::FRAME) else { break };
                let cycles = read_tsc().wrapping_sub(began);
                if !self.got(frame) {
                    continue;
                }
                if !outgoing.send(frame.get() as u64) {
                    // The other CPU is behind.
                    if self.gives_back(frame, self.id()).is_some() {
                        self.free(frame);
                    }
                    OPERATIONS.add(2);
                    break;
                }
                self.shared.histograms[self.rank].record(cycles);
                OPERATIONS.increment();
            }
            self.receive_all(incoming, sender);
        }
        // Nobody sends any more.
        self.shared.barrier.wait();
        self.receive_all(incoming, sender);
    }

    fn receive_all(&mut self, incoming: &Ring, sender: CpuId) {
        while let Some(frame) = incoming.receive() {
            let frame = FrameNumber::new(frame as usize);
            if self.gives_back(frame, sender).is_some() {
                self.free(frame);
            }
            OPERATIONS.increment();
        }
    }

    /// All CPUs take until nothing is left, then return all of it. Nothing that is free may be out of reach.
    fn storm(&mut self) {
        loop {
            if self.rank == 0 {
                self.shared.storm_taken.store(0, Ordering::Relaxed);
            }
            self.shared.barrier.wait();
            let mut taken = 0u64;
            let mut head = None;
            loop {
                let began = read_tsc();
                let Some(frame) = memory::alloc(Order::FRAME) else { break };
                self.shared.histograms[self.rank].record(read_tsc().wrapping_sub(began));
                match self.shared.owners.hand_out_linked(frame.get(), self.id().0, head) {
                    Ok(()) => {
                        head = Some(frame.get());
                        taken += 1;
                        OPERATIONS.increment();
                    }
                    Err(doubled) => self.shared.faults.note(Fault::Doubled(doubled)),
                }
            }
            self.shared.storm_taken.fetch_add(taken, Ordering::AcqRel);
            self.shared.barrier.wait();
            if self.rank == 0 {
                let taken = self.shared.storm_taken.load(Ordering::Acquire);
                let free = self.shared.storm_free.load(Ordering::Relaxed);
                if taken != free {
                    self.shared.faults.note(Fault::Stranded { taken, free });
                }
                self.shared.storm_goes_on.store(!self.shared.end.has_passed(), Ordering::Release);
            }
            while let Some(number) = head {
                let frame = FrameNumber::new(number);
                let Some(next) = self.gives_back(frame, self.id()) else { break };
                self.free(frame);
                OPERATIONS.increment();
                head = next;
            }
            // Everything is back, and rank 0 has decided.
            self.shared.barrier.wait();
            if !self.shared.storm_goes_on.load(Ordering::Acquire) {
                return;
            }
        }
    }

    fn id(&self) -> CpuId {
        self.shared.ids[self.rank]
    }

    /// Whether the frame that this CPU was handed is its own now.
    fn got(&self, frame: FrameNumber) -> bool {
        match self.shared.owners.hand_out(frame.get(), self.id().0) {
            Ok(()) => true,
            Err(doubled) => {
                self.shared.faults.note(Fault::Doubled(doubled));
                false
            }
        }
    }

    /// Notes that `holder` has the frame no longer; the next frame of its list, if it had it.
    fn gives_back(&self, frame: FrameNumber, holder: CpuId) -> Option<Option<usize>> {
        match self.shared.owners.give_back(frame.get(), holder.0) {
            Ok(next) => Some(next),
            Err(doubled) => {
                self.shared.faults.note(Fault::Doubled(doubled));
                None
            }
        }
    }

    fn free(&self, frame: FrameNumber) {
        if let Err(error) = memory::free(frame, Order::FRAME) {
            self.shared.faults.note(Fault::Refused(error));
        }
    }
}
