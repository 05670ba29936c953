//! Where all CPUs wait for each other.
//!
//! They halt meanwhile: under an emulator with fewer cores than CPUs, one that spins takes the time of those that it
//! waits for.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::sync::Deadline;
use crate::{cpu, smp, time};

/// How long a CPU spins that waits for another's next step, and how long it then halts between two looks.
const SPIN_US: u64 = 20;
const HALT_US: u64 = 200;

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

    /// Waits for what another CPU is about to do.
    ///
    /// # Panics
    /// When the deadline has passed.
    pub fn wait_until(&self, condition: impl Fn() -> bool) {
        while Deadline::after_us(SPIN_US).wait_until(&condition).is_err() {
            if self.limit.has_passed() {
                panic!("cpu {} waits in vain for what another is to do", cpu::current());
            }
            // Nobody wakes it, for the other knows of no one who waits; but the other needs a core, perhaps this one's.
            let _ = time::halt_until(&Deadline::after_us(HALT_US), &condition);
        }
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
