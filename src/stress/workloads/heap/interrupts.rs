//! Each CPU and its timer interrupt, which may occur between any two instructions, use the same heap.

use core::sync::atomic::{AtomicU64, Ordering};

use super::random::{HANDLER, THREAD};
use crate::stress::workloads::objects::Slots;
use crate::stress::workloads::worker::{Body, HeapWorker, Timed, Workload};

/// Steps of the thread before it passes an object to its handler.
const STEPS: usize = 32;

/// The most steps of the handler for each interrupt.
const HANDLER_STEPS: usize = 8;

/// The first CPU exhausts memory once in this many rounds, beginning with the first.
const EXHAUST_EVERY: u64 = 4096;

/// The workload `heap_interrupts`.
pub(in crate::stress) static HEAP_INTERRUPTS: Workload = Workload {
    name: "heap_interrupts",
    summary: "Each CPU works as in `heap_random`, and so does its timer interrupt, 100 us after its last one; one CPU exhausts all memory now and then.",
    is_default: false,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Heap(|worker| worker.heap_interrupts()),
    details: Some(|shared, f| {
        let (interrupts, failed) =
            (shared.rounds.load(Ordering::Relaxed), shared.failed.load(Ordering::Relaxed));
        write!(f, "{interrupts} interrupts during allocation, {failed} allocations failed")
    }),
};

impl HeapWorker<'_> {
    /// The thread sends objects to its handler, which frees them. From time to time one CPU exhausts memory until an allocation of
    /// its handler has failed, which must not wait for other CPUs.
    fn heap_interrupts(&mut self) {
        let handler = &mut self.handler();
        let (mine, its) = (self.slots_of(self.rank), self.handler_slots());
        let (interrupts, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        let (platform, shared) = (self.platform, self.shared);
        let (ring, thread) = (&shared.rings[self.rank], self.id);
        let mut on_interrupt = || {
            handler.receive_all(ring, thread);
            for _ in 0..handler.rng.usize(1..=HANDLER_STEPS) {
                if !handler.replace_one(its, &HANDLER) {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            interrupts.fetch_add(1, Ordering::Relaxed);
        };
        platform.with_interrupts(&mut on_interrupt, &mut |between| {
            for round in 0.. {
                // At least one interrupt is handled, however slow the host is.
                if !self.goes_on() && interrupts.load(Ordering::Relaxed) > 0 {
                    break;
                }
                for _ in 0..STEPS {
                    self.replace_one(mine, &THREAD);
                    self.irq_window(between);
                }
                self.pass_to_handler(mine);
                if self.rank == 0 && round % EXHAUST_EVERY == 0 {
                    let before = failed.load(Ordering::Relaxed);
                    let has_failed = || failed.load(Ordering::Relaxed) != before;
                    self.exhaust_memory(&has_failed, &mut |worker| worker.irq_window(between));
                }
            }
            self.release_all(mine);
        });
        handler.receive_all(ring, thread);
        handler.release_all(its);
        handler.add_up();
        shared.rounds.fetch_add(interrupts.into_inner(), Ordering::Relaxed);
        shared.failed.fetch_add(failed.into_inner(), Ordering::Relaxed);
    }

    fn pass_to_handler(&mut self, slots: Slots<'_>) {
        let slot = self.rng.usize(..slots.len());
        if let Some(object) = slots.replace(slot, None)
            && !self.shared.rings[self.rank].send(object.pack())
        {
            self.release(object);
        }
    }
}
