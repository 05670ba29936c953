//! A CPU, and a timer interrupt of its own that comes between any two of its instructions, draw on one allocator.

use core::sync::atomic::{AtomicU64, Ordering};

use super::mixed::Held;
use super::{Failure, Worker, Workload};
use crate::memory::frames::Order;

/// How many steps of `random` the core does, and then hands something to its handler.
const STEPS: usize = 32;

/// The most steps of `random` that the handler does each time it comes.
const HANDLER_STEPS: usize = 8;

/// Once in so many rounds, the first of them included, the first CPU takes all there is.
const EXHAUST_EVERY: u64 = 4096;

/// The workload `interrupts`.
pub static INTERRUPTS: Workload = Workload {
    name: "interrupts",
    summary: "Each CPU works as in `random`, and so does its timer interrupt, 10,000 times a second; one CPU exhausts all memory now and then.",
    is_default: true,
    run: |worker| worker.interrupts(),
    details: Some(|shared, f| {
        let (came, refused) = (shared.came.load(Ordering::Relaxed), shared.refused.load(Ordering::Relaxed));
        write!(f, "{came} interrupts during allocation, {refused} allocations failed")
    }),
};

impl Worker<'_> {
    /// Core and handler both work as in `random`, the handler a few steps at a time. The core sends frames to its handler,
    /// which frees them. From time to time one CPU takes all memory and keeps it until its handler has come and was refused,
    /// which must not wait for anybody.
    pub(super) fn interrupts(&mut self) {
        let handler = &mut self.handler();
        let (mut held, mut handlers) = (Held::new(), Held::new());
        let (came, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        let (platform, shared) = (self.platform, self.shared);
        let (ring, core) = (&shared.rings[self.rank], self.id);
        let mut strike = || {
            handler.receive_all(ring, core);
            for _ in 0..handler.rng.usize(1..=HANDLER_STEPS) {
                if !handler.alloc_or_free(&mut handlers) {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            came.fetch_add(1, Ordering::Relaxed);
        };
        platform.with_interrupts(&mut strike, &mut |between| {
            for round in 0.. {
                // However slow the host is, the handler has come.
                if !self.goes_on() && came.load(Ordering::Relaxed) > 0 {
                    break;
                }
                for _ in 0..STEPS {
                    self.alloc_or_free(&mut held);
                    self.irq_window(between);
                }
                self.pass_to_handler(&mut held);
                if self.rank == 0 && round % EXHAUST_EVERY == 0 {
                    self.exhaust_memory(&refused, between);
                }
            }
            self.release_all(&mut held);
        });
        handler.receive_all(ring, core);
        handler.release_all(&mut handlers);
        shared.came.fetch_add(came.into_inner(), Ordering::Relaxed);
        shared.refused.fetch_add(refused.into_inner(), Ordering::Relaxed);
    }

    /// Where the platform cannot interrupt, its handler comes in between two operations.
    fn irq_window(&mut self, between: &mut dyn FnMut()) {
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

    /// Takes all there is, again and again, until the handler was refused.
    fn exhaust_memory(&mut self, refused: &AtomicU64, between: &mut dyn FnMut()) {
        let (mut all, before) = (None, refused.load(Ordering::Relaxed));
        while refused.load(Ordering::Relaxed) == before {
            if let Some(frame) = self.alloc_sampled(Order::FRAME) {
                match self.shared.owners.acquire_linked(frame.get(), self.id, all) {
                    Ok(()) => all = Some(frame.get()),
                    Err(doubled) => self.note(Failure::OwnershipViolation(doubled)),
                }
                self.count(1);
            }
            self.irq_window(between);
        }
        self.free_all(all);
    }
}
