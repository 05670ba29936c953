//! Replays a recorded trace. Each CPU executes its own events.

use core::sync::atomic::{AtomicU64, Ordering};

use super::run_word::{pack, unpack};
use super::worker::{Body, Timed, Worker, Workload};
use crate::memory::frames::Order;
use crate::stress::replay::{AllocEvent, AllocTrace};

/// The state of a failed allocation. It is 0 before the allocation, and the run's word after it.
const FAILED: u64 = u64::MAX;

/// The workload `replay`.
pub static REPLAY: Workload = Workload {
    name: "replay",
    summary: "Each CPU allocates and frees as a recorded trace says.",
    is_default: false,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Frames(|worker| worker.replay()),
    details: Some(|shared, f| {
        let (rounds, failed) = (shared.rounds.load(Ordering::Relaxed), shared.failed.load(Ordering::Relaxed));
        write!(f, "{rounds} rounds, {failed} allocations failed")
    }),
};

impl Worker<'_> {
    /// Replays the whole trace repeatedly. Each CPU executes its events in order, and waits before it frees what is not
    /// allocated yet. There is no deadlock: the first event of the file that is not executed yet waits for nothing.
    pub(super) fn replay(&mut self) {
        let Some(trace) = self.shared.trace else { return };
        loop {
            trace.of(self.rank).for_each(|event| self.play(trace, event));
            self.platform.barrier();
            self.free_leftovers(trace);
            if self.rank == 0 {
                self.shared.rounds.fetch_add(1, Ordering::Relaxed);
                self.shared.goes_on.store(!self.platform.has_ended(), Ordering::Release);
            }
            self.platform.barrier();
            if !self.shared.goes_on.load(Ordering::Acquire) {
                return;
            }
        }
    }

    fn play(&mut self, trace: &AllocTrace, event: AllocEvent) {
        match event {
            AllocEvent::Alloc { id, order } => {
                let word = match self.alloc_sampled(order) {
                    Some(frame) => {
                        self.count(1);
                        if self.acquired(frame, order) { pack(frame, order, self.rank) } else { FAILED }
                    }
                    None => {
                        self.shared.failed.fetch_add(1, Ordering::Relaxed);
                        FAILED
                    }
                };
                trace.runs[id as usize].store(word, Ordering::Release);
            }
            AllocEvent::Split { id, order, count, first } => {
                let run = &trace.runs[id as usize];
                self.platform.wait_until(&|| run.load(Ordering::Acquire) != 0);
                let parts = &trace.runs[first as usize..][..count as usize];
                self.split(run.swap(0, Ordering::AcqRel), order, parts);
            }
            AllocEvent::Free { id } => {
                let run = &trace.runs[id as usize];
                self.platform.wait_until(&|| run.load(Ordering::Acquire) != 0);
                if self.free_run(run) {
                    self.count(1);
                }
            }
        }
    }

    /// Makes a run's parts of this order runs of this CPU. If the run was not allocated, neither are its parts.
    fn split(&mut self, run: u64, order: Order, parts: &[AtomicU64]) {
        let whole =
            unpack(run).filter(|(frame, order, rank)| self.disown(*frame, *order, self.shared.ids[*rank]));
        for (index, part) in parts.iter().enumerate() {
            let word = whole.and_then(|(first, ..)| {
                let frame = first + index * order.frames();
                self.acquired(frame, order).then(|| pack(frame, order, self.rank))
            });
            part.store(word.unwrap_or(FAILED), Ordering::Release);
        }
    }

    /// Frees what this CPU has allocated or split off and the trace does not free.
    fn free_leftovers(&mut self, trace: &AllocTrace) {
        for event in trace.of(self.rank) {
            let (first, count) = match event {
                AllocEvent::Alloc { id, .. } => (id, 1),
                AllocEvent::Split { first, count, .. } => (first, count),
                AllocEvent::Free { .. } => continue,
            };
            for run in &trace.runs[first as usize..][..count as usize] {
                self.free_run(run);
            }
        }
    }

    /// Returns whether there was a run, which the CPU with its rank owned.
    fn free_run(&mut self, run: &AtomicU64) -> bool {
        let owned = unpack(run.swap(0, Ordering::AcqRel))
            .filter(|(frame, order, rank)| self.disown(*frame, *order, self.shared.ids[*rank]));
        if let Some((frame, order, _)) = owned {
            self.free(frame, order);
        }
        owned.is_some()
    }
}
