//! Where all CPUs wait for each other.
//!
//! They halt meanwhile: under an emulator with fewer cores than CPUs, one that spins takes the time of those that it
//! waits for. A wait goes on as long as any of these comes further.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::progress::OPERATIONS;
use super::stall::{StallDetector, Stalled};
use crate::config::STRESS_GRACE_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::sync::Deadline;
use crate::{cpu, per_cpu, smp, time};

/// How long a CPU spins that waits for another's next step, and how long it then halts between two looks.
const SPIN_US: u64 = 20;
const HALT_US: u64 = 200;

per_cpu! {
    /// Whether this CPU waits here, 1 or 0.
    static WAITS: AtomicU32 = AtomicU32::new(0);
}

/// A meeting point for a number of CPUs, to be used any number of times.
pub struct Barrier<'a> {
    /// Their numbers.
    ids: &'a [u32],
    /// How many of them come.
    parties: AtomicU32,
    waiting: AtomicU32,
    round: AtomicU64,
}

impl<'a> Barrier<'a> {
    /// For the CPUs of these numbers.
    pub fn new(ids: &'a [u32]) -> Barrier<'a> {
        Barrier {
            ids,
            parties: AtomicU32::new(ids.len() as u32),
            waiting: AtomicU32::new(0),
            round: AtomicU64::new(0),
        }
    }

    /// From now on one CPU less comes. The caller comes later itself.
    pub fn remove_one(&self) {
        self.parties.fetch_sub(1, Ordering::AcqRel);
    }

    /// Waits for what another CPU is about to do.
    ///
    /// # Panics
    /// When no CPU has done anything for [`STRESS_GRACE_MS`].
    pub fn wait_until(&self, condition: impl Fn() -> bool) {
        if Deadline::after_us(SPIN_US).wait_until(&condition).is_ok() {
            return;
        }
        let waited = self.wait_for_progress(|ms| {
            let look = Deadline::after_ms(ms);
            // Nobody wakes it, for the other knows of no one who waits; but the other needs a core, perhaps this one's.
            while !look.has_passed() && time::halt_until(&Deadline::after_us(HALT_US), &condition).is_err() {
                if Deadline::after_us(SPIN_US).wait_until(&condition).is_ok() {
                    return true;
                }
            }
            condition()
        });
        if let Err(Stalled { idle_ms }) = waited {
            panic!(
                "cpu {} waits in vain for what another is to do: none did anything for {idle_ms} ms",
                cpu::current()
            );
        }
    }

    /// Waits until all are here. Interrupts are on.
    ///
    /// # Panics
    /// When none of those that are missing has done anything for [`STRESS_GRACE_MS`].
    pub fn wait(&self) {
        let round = self.round.load(Ordering::Acquire);
        WAITS.set(1);
        if self.waiting.fetch_add(1, Ordering::AcqRel) + 1 == self.parties.load(Ordering::Acquire) {
            self.waiting.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
            smp::wake_others_or_warn();
        } else {
            let is_over = || self.round.load(Ordering::Acquire) != round;
            let waited =
                self.wait_for_progress(|ms| time::halt_until(&Deadline::after_ms(ms), is_over).is_ok());
            if let Err(Stalled { idle_ms }) = waited {
                panic!(
                    "cpu {} waits for the others in vain: {} of {} are here, and for {idle_ms} ms nothing was done by cpu {}",
                    cpu::current(),
                    self.waiting.load(Ordering::Relaxed),
                    self.parties.load(Ordering::Relaxed),
                    Missing(self.ids),
                );
            }
        }
        WAITS.set(0);
    }

    /// Waits, from look to look, for what `wait` waits for so many milliseconds; whether it has come.
    fn wait_for_progress(&self, wait: impl Fn(u64) -> bool) -> Result<(), Stalled> {
        let mut patience = StallDetector::new(STRESS_GRACE_MS);
        while !wait(patience.look_ms()) {
            patience.look(self.steps())?;
        }
        Ok(())
    }

    /// What all CPUs have done so far. Those that wait here do nothing.
    fn steps(&self) -> u64 {
        let operations =
            |id: &u32| smp::cpus()[*id as usize].get(OPERATIONS).map(|count| count.load(Ordering::Relaxed));
        let operations = self.ids.iter().filter_map(operations).fold(0, u64::wrapping_add);
        // One that comes here has done something as well.
        let came = self.round.load(Ordering::Relaxed) + u64::from(self.waiting.load(Ordering::Relaxed));
        operations.wrapping_add(came)
    }
}

/// Those of the CPUs of these numbers that wait at no barrier.
struct Missing<'a>(&'a [u32]);

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = |id: u32| {
            smp::cpus()[id as usize].get(WAITS).is_some_and(|waits| waits.load(Ordering::Relaxed) != 0)
        };
        for (place, id) in self.0.iter().filter(|id| !waits(**id)).enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{id}")?;
        }
        Ok(())
    }
}
