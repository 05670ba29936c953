//! Each CPU and its timer interrupt, which may occur between any two instructions, use the same allocator.

use core::sync::atomic::{AtomicU64, Ordering};

use super::mixed::Held;
use super::worker::{Body, Timed, Worker, Workload};
use crate::memory::frames::Order;

/// Steps of `random` of the thread before it passes a frame to its handler.
const STEPS: usize = 32;

/// The most steps of `random` of the handler for each interrupt.
const HANDLER_STEPS: usize = 8;

/// The first CPU exhausts memory once in this many rounds, beginning with the first.
const EXHAUST_EVERY: u64 = 4096;

/// The workload `interrupts`.
pub(crate) static INTERRUPTS: Workload = Workload {
    name: "interrupts",
    summary: "Each CPU works as in `random`, and so does its timer interrupt, 100 us after its last one; one CPU exhausts all memory now and then.",
    is_default: true,
    on_host: true,
    timed: Timed::Allocation,
    holds_runs: false,
    run: Body::Frames(|worker| worker.interrupts()),
    details: Some(|shared, f| {
        let (interrupts, failed) =
            (shared.rounds.load(Ordering::Relaxed), shared.failed.load(Ordering::Relaxed));
        write!(f, "{interrupts} interrupts during allocation, {failed} allocations failed")
    }),
};

impl Worker<'_> {
    /// Thread and handler both work as in `random`, the handler a few steps at a time. The thread sends frames to its handler,
    /// which frees them. From time to time one CPU exhausts memory until an allocation of its handler has failed, which must
    /// not wait for other CPUs.
    pub(super) fn interrupts(&mut self) {
        let handler = &mut self.handler();
        let (mut held, mut handlers) = (Held::new(), Held::new());
        let (interrupts, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        let (platform, shared) = (self.platform, self.shared);
        let (ring, thread) = (&shared.rings[self.rank], self.id);
        let mut on_interrupt = || {
            handler.receive_all(ring, thread);
            for _ in 0..handler.rng.usize(1..=HANDLER_STEPS) {
                if !handler.alloc_or_free(&mut handlers) {
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
                    self.alloc_or_free(&mut held);
                    self.irq_window(between);
                }
                self.pass_to_handler(&mut held);
                if self.rank == 0 && round % EXHAUST_EVERY == 0 {
                    self.exhaust_memory(&failed, between);
                }
            }
            self.release_all(&mut held);
        });
        handler.receive_all(ring, thread);
        handler.release_all(&mut handlers);
        handler.add_up();
        shared.rounds.fetch_add(interrupts.into_inner(), Ordering::Relaxed);
        shared.failed.fetch_add(failed.into_inner(), Ordering::Relaxed);
    }

    /// Calls the handler now and then, on a platform without interrupts.
    pub(in crate::stress) fn irq_window(&mut self, between: &mut dyn FnMut()) {
        if self.rng.u8(..4) == 0 {
            between();
        }
    }

    fn pass_to_handler(&mut self, held: &mut Held) {
        if let Some((frame, order)) = held.take(0)
            && (order != Order::FRAME || !self.shared.rings[self.rank].send(frame.get() as u64))
        {
            self.release(frame, order);
        }
    }

    /// Allocates all memory, repeatedly, until an allocation of the handler has failed.
    fn exhaust_memory(&mut self, failed: &AtomicU64, between: &mut dyn FnMut()) {
        // Without single frames it cannot.
        if !self.supports(Order::FRAME) {
            return;
        }
        let (mut all, before) = (None, failed.load(Ordering::Relaxed));
        for count in 1_usize.. {
            if failed.load(Ordering::Relaxed) != before || self.cuts_round(count) {
                break;
            }
            if let Some(frame) = self.alloc_sampled(Order::FRAME) {
                // An allocator that returns the same frame again would return it for ever.
                if !self.acquired_linked(frame, all) {
                    break;
                }
                all = Some(frame.get());
                self.count(1);
            }
            self.irq_window(between);
        }
        self.free_all(all);
    }
}
