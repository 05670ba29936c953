//! Workloads that allocate all memory. No free frame may be unreachable.

use core::sync::atomic::Ordering;

use super::worker::{Body, Timed, Worker, Workload};
use crate::memory::frames::{FrameNumber, Order};
use crate::stress::failure::Failure;
use crate::stress::owners::FrameIndex;

/// Two contiguous frames.
const PAIR: Order = Order::new(1).expect("there are more orders than that");

/// The workload `storm`.
pub(crate) static STORM: Workload = Workload {
    name: "storm",
    summary: "Each CPU allocates until no frame is left anywhere, then frees all.",
    is_default: true,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Frames(|worker| worker.storm()),
    details: None,
};

/// The workload `fragmentation`.
pub(crate) static FRAGMENTATION: Workload = Workload {
    name: "fragmentation",
    summary: "Each CPU allocates its part of all memory and frees every second frame; one CPU must then obtain all of these.",
    is_default: true,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Frames(|worker| worker.fragmentation()),
    details: None,
};

impl Worker<'_> {
    /// All CPUs allocate until no frame is left, then free all of them.
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

    /// All CPUs allocate all memory and free every second frame. Then every free frame can be allocated, but no two contiguous
    /// ones. One CPU allocates them all, a different one in each round, if the allocator can obtain frames cached by others;
    /// else all CPUs do.
    pub(super) fn fragmentation(&mut self) {
        for round in 0.. {
            let alone = self.shared.source.can_obtain_all().then_some(round % self.shared.ids.len());
            let mine = self.alloc_everything(self.shared.free_before);
            let again = self.shared.goes_on.load(Ordering::Acquire);
            let (kept, freed) = self.free_odd(mine);
            let free = self.sum_up(freed);
            let pair = if self.shared.is_cut() { None } else { self.alloc(PAIR) };
            if let Some(frame) = pair {
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

    /// Allocates single frames until no CPU gets any, and compares their number with `free`. Decides whether there is another
    /// round. Returns the head of the list of this CPU's frames.
    fn alloc_everything(&mut self, free: u64) -> Option<FrameIndex> {
        self.alloc_everything_if(true, free)
    }

    /// The same; this CPU allocates only if `allocates` is true.
    fn alloc_everything_if(&mut self, allocates: bool, free: u64) -> Option<FrameIndex> {
        let (head, taken) = if allocates { self.alloc_all() } else { (None, 0) };
        if self.rank == 0 {
            self.shared.goes_on.store(!self.platform.has_ended(), Ordering::Release);
        }
        let taken = self.sum_up(taken);
        // An allocator without single frames gets none.
        if self.rank == 0 && taken != free && !self.shared.is_cut() && self.supports(Order::FRAME) {
            self.note(Failure::Stranded { taken, free });
        }
        head
    }

    /// Allocates single frames until that fails, or the workload is overdue. Returns the head of their list, and their number.
    fn alloc_all(&mut self) -> (Option<FrameIndex>, u64) {
        let (mut head, mut taken) = (None, 0);
        for count in 1_usize.. {
            if self.cuts_round(count) {
                break;
            }
            let Some(frame) = self.alloc_sampled(Order::FRAME) else { break };
            // An allocator that returns the same frame again would return it for ever.
            if !self.acquired_linked(frame, head) {
                break;
            }
            head = Some(frame.get());
            taken += 1;
            self.count(1);
        }
        (head, taken)
    }

    /// Returns the sum of the values of all CPUs. Passes one barrier.
    pub(in crate::stress) fn sum_up(&mut self, mine: u64) -> u64 {
        let which = self.phase.next;
        self.phase.next = 1 - which;
        let sum = &self.shared.sums.0[which];
        sum.fetch_add(mine, Ordering::AcqRel);
        self.platform.barrier();
        let now = sum.load(Ordering::Acquire);
        now.wrapping_sub(core::mem::replace(&mut self.phase.found[which], now))
    }

    pub(super) fn free_all(&mut self, mut head: Option<FrameIndex>) {
        while let Some(number) = head {
            let Some(next) = self.unlink(number) else { break };
            self.free(FrameNumber::new(number), Order::FRAME);
            self.count(1);
            head = next;
        }
    }

    /// Frees the frames with odd numbers, and links the others into a list of their own. Returns its head and the number of
    /// freed frames.
    fn free_odd(&mut self, mut head: Option<FrameIndex>) -> (Option<FrameIndex>, u64) {
        let (mut kept, mut freed) = (None, 0);
        while let Some(number) = head {
            let Some(next) = self.unlink(number) else { break };
            if number % 2 == 1 {
                self.free(FrameNumber::new(number), Order::FRAME);
                self.count(1);
                freed += 1;
            } else {
                if self.acquired_linked(FrameNumber::new(number), kept) {
                    kept = Some(number);
                }
            }
            head = next;
        }
        (kept, freed)
    }

    /// Removes a frame from this CPU's list, and returns the next one; `None` if the frame was not in the list.
    fn unlink(&mut self, number: FrameIndex) -> Option<Option<FrameIndex>> {
        match self.shared.owners.release(number, self.id) {
            Ok(next) => Some(next),
            Err(violation) => {
                self.note(Failure::OwnershipViolation(violation));
                None
            }
        }
    }
}
