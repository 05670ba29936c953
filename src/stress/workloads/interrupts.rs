//! A CPU, and a timer interrupt of its own that comes between any two of its instructions, draw on one allocator.

use core::sync::atomic::{AtomicU64, Ordering};

use super::mixed::Held;
use super::{Fault, Platform, Worker};
use crate::memory::frames::Order;

/// How many steps of `random` the core does, and then hands something to its handler.
const STEPS: usize = 32;

/// The most steps of `random` that the handler does each time it comes.
const HANDLER_STEPS: usize = 8;

/// Once in so many rounds, the first of them included, the first CPU takes all there is.
const FAMINE_ROUNDS: u64 = 4096;

impl<P: Platform> Worker<'_, P> {
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
                if !handler.take_or_return(&mut handlers) {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            came.fetch_add(1, Ordering::Relaxed);
        };
        platform.interrupted(&mut strike, &mut |between| {
            for round in 0.. {
                // However slow the host is, the handler has come.
                if !self.goes_on() && came.load(Ordering::Relaxed) > 0 {
                    break;
                }
                for _ in 0..STEPS {
                    self.take_or_return(&mut held);
                    self.let_in(between);
                }
                self.hand_to_handler(&mut held);
                if self.rank == 0 && round % FAMINE_ROUNDS == 0 {
                    self.famine(&refused, between);
                }
            }
            self.put_all(&mut held);
        });
        handler.receive_all(ring, core);
        handler.put_all(&mut handlers);
        shared.came.fetch_add(came.into_inner(), Ordering::Relaxed);
        shared.refused.fetch_add(refused.into_inner(), Ordering::Relaxed);
    }

    /// Where the platform cannot interrupt, its handler comes in between two operations.
    fn let_in(&mut self, between: &mut dyn FnMut()) {
        if self.rng.u8(..4) == 0 {
            between();
        }
    }

    fn hand_to_handler(&mut self, held: &mut Held) {
        if let Some((frame, order)) = held.take(0)
            && (order != Order::FRAME || !self.shared.rings[self.rank].send(frame.get() as u64))
        {
            self.put(frame, order);
        }
    }

    /// Takes all there is, again and again, until the handler was refused.
    fn famine(&mut self, refused: &AtomicU64, between: &mut dyn FnMut()) {
        let (mut all, before) = (None, refused.load(Ordering::Relaxed));
        while refused.load(Ordering::Relaxed) == before {
            if let Some(frame) = self.alloc_sampled(Order::FRAME) {
                match self.shared.owners.hand_out_linked(frame.get(), self.id, all) {
                    Ok(()) => all = Some(frame.get()),
                    Err(doubled) => self.note(Fault::Doubled(doubled)),
                }
                self.count(1);
            }
            self.let_in(between);
        }
        self.return_all(all);
    }
}
