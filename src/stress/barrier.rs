//! Where all CPUs wait for each other.
//!
//! They halt meanwhile: under an emulator with fewer cores than CPUs, one that spins takes the time of those that it
//! waits for.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::sync::Deadline;
use crate::{cpu, smp, time};

/// A meeting point for a number of CPUs, to be used any number of times.
pub struct Barrier {
    parties: AtomicU32,
    limit: Deadline,
    waiting: AtomicU32,
    round: AtomicU32,
}

impl Barrier {
    /// For so many CPUs, none of which waits beyond the deadline.
    pub fn new(parties: u32, limit: Deadline) -> Barrier {
        Barrier {
            parties: AtomicU32::new(parties),
            limit,
            waiting: AtomicU32::new(0),
            round: AtomicU32::new(0),
        }
    }

    /// From now on one CPU less comes. The caller comes later itself.
    pub fn leave_out_one(&self) {
        self.parties.fetch_sub(1, Ordering::AcqRel);
    }

    /// Waits until all are here. Interrupts are on.
    ///
    /// # Panics
    /// When the deadline has passed.
    pub fn wait(&self) {
        let round = self.round.load(Ordering::Acquire);
        if self.waiting.fetch_add(1, Ordering::AcqRel) + 1 == self.parties.load(Ordering::Acquire) {
            self.waiting.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
            smp::wake_others();
        } else if time::halt_until(&self.limit, || self.round.load(Ordering::Acquire) != round).is_err() {
            panic!(
                "cpu {} waits for the others in vain: {} of {} are here",
                cpu::current(),
                self.waiting.load(Ordering::Relaxed),
                self.parties.load(Ordering::Relaxed)
            );
        }
    }
}
