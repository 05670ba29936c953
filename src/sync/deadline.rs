//! Deadlines, and waits until a deadline.

use core::fmt;

use crossbeam_utils::Backoff;

use super::hook::Hook;
use crate::cpu::registers::read_tsc;

/// The TSC cycles in a nanosecond that are assumed before the calibration: more than any processor has, so that a wait is
/// too long rather than too short.
const MOST_CYCLES_PER_NS: u64 = 10;

/// The clock, in nanoseconds.
static CLOCK: Hook<fn() -> u64> = Hook::new();

/// Sets the clock, which returns nanoseconds. No deadline may be pending. Only the first call has an effect.
pub(crate) fn set_clock(now_ns: fn() -> u64) {
    CLOCK.set(now_ns);
}

/// Returns the time, in nanoseconds since an arbitrary point. Without a clock it is estimated from the TSC. **Context:**
/// any.
pub(crate) fn now_ns() -> u64 {
    match CLOCK.get() {
        Some(now_ns) => now_ns(),
        None => read_tsc() / MOST_CYCLES_PER_NS,
    }
}

/// A point in time, valid on every CPU.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    ns: u64,
}

/// The condition of a wait did not hold in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what was waited for did not happen in time")
    }
}

/// Spins until `condition` holds or `has_passed` returns true.
#[inline]
pub(super) fn spin_until(
    mut condition: impl FnMut() -> bool,
    mut has_passed: impl FnMut() -> bool,
) -> Result<(), TimedOut> {
    let backoff = Backoff::new();
    while !condition() {
        if has_passed() {
            // The condition may have become true while this CPU did not run.
            return if condition() { Ok(()) } else { Err(TimedOut) };
        }
        backoff.spin();
    }
    Ok(())
}

impl Deadline {
    /// Creates a deadline `ms` milliseconds from now. **Context:** any.
    pub fn after_ms(ms: u64) -> Deadline {
        Deadline::after_us(ms.saturating_mul(1000))
    }

    /// Creates a deadline `us` microseconds from now. **Context:** any.
    pub fn after_us(us: u64) -> Deadline {
        Deadline { ns: now_ns().saturating_add(us.saturating_mul(1000)) }
    }

    /// Returns the time until the deadline, in nanoseconds; 0 if it has passed.
    pub fn remaining_ns(&self) -> u64 {
        self.ns.saturating_sub(now_ns())
    }

    /// Returns whether it has passed.
    pub fn has_passed(&self) -> bool {
        now_ns() >= self.ns
    }

    /// Spins until the condition holds or the deadline has passed. For waits that are short or with interrupts off. Does
    /// not change the interrupt flag. **Context:** any.
    ///
    /// # Errors
    /// [`TimedOut`] if the condition does not hold at the end.
    pub fn wait_until(&self, condition: impl FnMut() -> bool) -> Result<(), TimedOut> {
        spin_until(condition, || self.has_passed())
    }

    /// Spins until the deadline has passed. **Context:** any.
    pub fn wait(&self) {
        while !self.has_passed() {
            core::hint::spin_loop();
        }
    }
}
