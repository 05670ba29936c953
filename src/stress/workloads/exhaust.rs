//! Workloads that take all there is. Nothing that is free may be out of reach.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Failure, Worker, Workload};
use crate::memory::frames::{FrameNumber, Order};
use crate::stress::owners::Frame;

/// What all CPUs of a workload add up, phase after phase. Neighbouring phases have a sum each, so that one meeting is enough
/// for a phase: nobody adds to the next but one while somebody still reads this one.
#[derive(Default)]
pub struct Sums([AtomicU64; 2]);

/// How far one CPU is with its [`Sums`], and what it found in either: they only ever grow.
#[derive(Clone, Copy, Default)]
pub(super) struct Phase {
    next: usize,
    found: [u64; 2],
}

/// Two frames in a row.
const PAIR: Order = Order::new(1).expect("there are more orders than that");

/// The workload `storm`.
pub static STORM: Workload = Workload {
    name: "storm",
    summary: "Each CPU allocates until no frame is left anywhere, then frees all.",
    is_default: true,
    run: |worker| worker.storm(),
    details: None,
};

/// The workload `fragmentation`.
pub static FRAGMENTATION: Workload = Workload {
    name: "fragmentation",
    summary: "Each CPU allocates its part of all memory and frees every second frame; one CPU must then obtain all of these.",
    is_default: true,
    run: |worker| worker.fragmentation(),
    details: None,
};

impl Worker<'_> {
    /// All CPUs take until nothing is left, then return all of it.
    pub(super) fn storm(&mut self) {
        loop {
            let mine = self.alloc_everything(self.shared.free_before);
            let again = self.shared.goes_on.load(Ordering::Acquire);
            self.free_all(mine);
            self.platform.barrier();
            if !again {
                return;
            }
        }
    }

    /// All CPUs take everything and return every second frame: then no run can be had, but every one of these frames. One CPU
    /// after the other takes them alone, if the allocator can get at what others keep; else all do.
    pub(super) fn fragmentation(&mut self) {
        for round in 0.. {
            let alone = self.shared.source.can_obtain_all().then_some(round % self.shared.ids.len());
            let mine = self.alloc_everything(self.shared.free_before);
            let again = self.shared.goes_on.load(Ordering::Acquire);
            let (kept, returned) = self.free_odd(mine);
            let free = self.sum_up(returned);
            if let Some(frame) = self.alloc(PAIR) {
                let order = PAIR;
                self.note(Failure::FromNowhere { frame, order });
                self.free(frame, order);
            }
            self.platform.barrier();
            let more = self.alloc_everything_if(alone.is_none_or(|rank| rank == self.rank), free);
            self.free_all(more);
            self.free_all(kept);
            self.platform.barrier();
            if !again {
                return;
            }
        }
    }

    /// Takes frame after frame until no CPU gets any, and compares what all have acquired with what was free. Gives the head of
    /// the list of this CPU's frames. Says whether there is another round, too.
    fn alloc_everything(&mut self, free: u64) -> Option<Frame> {
        self.alloc_everything_if(true, free)
    }

    /// The same, on a CPU that takes nothing itself if `takes` is false.
    fn alloc_everything_if(&mut self, takes: bool, free: u64) -> Option<Frame> {
        let (head, taken) = if takes { self.alloc_all() } else { (None, 0) };
        if self.rank == 0 {
            self.shared.goes_on.store(!self.platform.has_ended(), Ordering::Release);
        }
        let taken = self.sum_up(taken);
        if self.rank == 0 && taken != free {
            self.note(Failure::Stranded { taken, free });
        }
        head
    }

    /// Takes frame after frame until there is none; the head of their list, and how many they are.
    fn alloc_all(&mut self) -> (Option<Frame>, u64) {
        let (mut head, mut taken) = (None, 0);
        loop {
            let Some(frame) = self.alloc_sampled(Order::FRAME) else { return (head, taken) };
            match self.shared.owners.acquire_linked(frame.get(), self.id, head) {
                Ok(()) => {
                    head = Some(frame.get());
                    taken += 1;
                    self.count(1);
                }
                Err(doubled) => self.note(Failure::OwnershipViolation(doubled)),
            }
        }
    }

    /// Adds up what each CPU brings. All meet here, once.
    fn sum_up(&mut self, mine: u64) -> u64 {
        let which = self.phase.next;
        self.phase.next = 1 - which;
        let sum = &self.shared.sums.0[which];
        sum.fetch_add(mine, Ordering::AcqRel);
        self.platform.barrier();
        let now = sum.load(Ordering::Acquire);
        now.wrapping_sub(core::mem::replace(&mut self.phase.found[which], now))
    }

    pub(super) fn free_all(&mut self, mut head: Option<Frame>) {
        while let Some(number) = head {
            let Some(next) = self.unlink(number) else { break };
            self.free(FrameNumber::new(number), Order::FRAME);
            self.count(1);
            head = next;
        }
    }

    /// Returns the frames of odd numbers, and keeps the others in a list of their own; how many it returned.
    fn free_odd(&mut self, mut head: Option<Frame>) -> (Option<Frame>, u64) {
        let (mut kept, mut returned) = (None, 0);
        while let Some(number) = head {
            let Some(next) = self.unlink(number) else { break };
            if number % 2 == 1 {
                self.free(FrameNumber::new(number), Order::FRAME);
                self.count(1);
                returned += 1;
            } else {
                match self.shared.owners.acquire_linked(number, self.id, kept) {
                    Ok(()) => kept = Some(number),
                    Err(doubled) => self.note(Failure::OwnershipViolation(doubled)),
                }
            }
            head = next;
        }
        (kept, returned)
    }

    /// Takes the frame out of this CPU's list and gives the rest of it; `None` if it was not in there.
    fn unlink(&mut self, number: Frame) -> Option<Option<Frame>> {
        match self.shared.owners.give_back(number, self.id) {
            Ok(next) => Some(next),
            Err(doubled) => {
                self.note(Failure::OwnershipViolation(doubled));
                None
            }
        }
    }
}
