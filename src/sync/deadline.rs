//! Waits that end.

use core::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::Backoff;

use crate::cpu::registers::read_tsc;

/// TSC cycles in a millisecond. Until the clock is calibrated: more than any processor has, so that a wait is too
/// long rather than too short.
static CYCLES_PER_MS: AtomicU64 = AtomicU64::new(10_000_000);

/// Lets deadlines know how fast the TSC runs.
pub fn set_tsc_khz(khz: u64) {
    CYCLES_PER_MS.store(khz, Ordering::Relaxed);
}

/// A point in time, by the TSC.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    began: u64,
    cycles: u64,
}

/// A wait was in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl Deadline {
    /// That many milliseconds from now.
    pub fn after_ms(ms: u64) -> Deadline {
        Deadline::after_us(ms * 1000)
    }

    /// That many microseconds from now.
    pub fn after_us(us: u64) -> Deadline {
        let cycles = us.saturating_mul(CYCLES_PER_MS.load(Ordering::Relaxed)) / 1000;
        Deadline { began: read_tsc(), cycles }
    }

    /// Whether it has passed.
    pub fn has_passed(&self) -> bool {
        read_tsc().wrapping_sub(self.began) >= self.cycles
    }

    /// Waits until the condition holds, at most until the deadline. Interrupts stay as they are.
    pub fn wait_until(&self, mut condition: impl FnMut() -> bool) -> Result<(), TimedOut> {
        let backoff = Backoff::new();
        while !condition() {
            if self.has_passed() {
                // What came true while this CPU was not running still counts.
                return if condition() { Ok(()) } else { Err(TimedOut) };
            }
            backoff.spin();
        }
        Ok(())
    }

    /// Waits it out.
    pub fn wait(&self) {
        while !self.has_passed() {
            core::hint::spin_loop();
        }
    }
}
