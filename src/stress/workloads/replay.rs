//! A recorded trace, each CPU its own part of it.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Worker, Workload};
use crate::memory::frames::{FrameNumber, Order};
use crate::stress::replay::{AllocTrace, Event};

/// What became of a run, in a word that is 0 before it is allocated: there was no memory for it, or its first frame, and
/// above that the rank of the CPU that took it and its order.
const REFUSED: u64 = u64::MAX;
const RANK_AT: u32 = 40;
const ORDER_AT: u32 = 56;

fn pack(frame: FrameNumber, order: Order, rank: usize) -> u64 {
    (frame.get() as u64 + 1) | (rank as u64) << RANK_AT | u64::from(order.get()) << ORDER_AT
}

fn unpack(word: u64) -> Option<(FrameNumber, Order, usize)> {
    let field = |low: u32, high: u32| (word & ((1 << high) - 1)) >> low;
    let frame = FrameNumber::new((field(0, RANK_AT) as usize).checked_sub(1)?);
    Some((frame, Order::new((word >> ORDER_AT) as u8)?, field(RANK_AT, ORDER_AT) as usize))
}

/// The workload `replay`.
pub static REPLAY: Workload = Workload {
    name: "replay",
    summary: "Each CPU allocates and frees as a recorded trace says.",
    is_default: false,
    run: |worker| worker.replay(),
    details: Some(|shared, f| {
        let (rounds, refused) = (shared.came.load(Ordering::Relaxed), shared.refused.load(Ordering::Relaxed));
        write!(f, "{rounds} rounds, {refused} allocations failed")
    }),
};

impl Worker<'_> {
    /// All of the trace, again and again: each CPU keeps to its own order, and frees nothing before it is allocated. No CPU
    /// waits for ever, since whatever comes first in the file waits for nothing.
    pub(super) fn replay(&mut self) {
        let Some(trace) = self.shared.trace else { return };
        loop {
            trace.of(self.rank).for_each(|event| self.play(trace, event));
            self.platform.barrier();
            self.free_leftovers(trace);
            if self.rank == 0 {
                self.shared.came.fetch_add(1, Ordering::Relaxed);
                self.shared.goes_on.store(!self.platform.has_ended(), Ordering::Release);
            }
            self.platform.barrier();
            if !self.shared.goes_on.load(Ordering::Acquire) {
                return;
            }
        }
    }

    fn play(&mut self, trace: &AllocTrace, event: Event) {
        match event {
            Event::Alloc { id, order } => {
                let word = match self.alloc_sampled(order) {
                    Some(frame) => {
                        if self.acquired(frame, order) {
                            pack(frame, order, self.rank)
                        } else {
                            REFUSED
                        }
                    }
                    None => {
                        self.shared.refused.fetch_add(1, Ordering::Relaxed);
                        REFUSED
                    }
                };
                trace.runs[id as usize].store(word, Ordering::Release);
            }
            Event::Free { id } => {
                let run = &trace.runs[id as usize];
                self.platform.wait_until(&|| run.load(Ordering::Acquire) != 0);
                self.give_back(run);
            }
        }
        self.count(1);
    }

    /// What this CPU has allocated and nobody freed.
    fn free_leftovers(&mut self, trace: &AllocTrace) {
        for event in trace.of(self.rank) {
            if let Event::Alloc { id, .. } = event {
                self.give_back(&trace.runs[id as usize]);
            }
        }
    }

    fn give_back(&mut self, run: &AtomicU64) {
        if let Some((frame, order, rank)) = unpack(run.swap(0, Ordering::AcqRel))
            && self.disown(frame, order, self.shared.ids[rank])
        {
            self.free(frame, order);
        }
    }
}
