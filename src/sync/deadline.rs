//! Waits that end.

use core::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::Backoff;

use crate::cpu::registers::read_tsc;

/// TSC cycles in a nanosecond, as long as nobody knows: more than any processor has, so that a wait is too long rather
/// than too short.
const MOST_CYCLES_PER_NS: u64 = 10;

/// The clock, a `fn() -> u64`; 0 while there is none.
static CLOCK: AtomicUsize = AtomicUsize::new(0);

/// Lets deadlines know what time it is, in nanoseconds. None may be pending.
pub fn set_clock(now_ns: fn() -> u64) {
    CLOCK.store(now_ns as usize, Ordering::Release);
}

/// The time, in nanoseconds since some point in time; without a clock, by the TSC. Any context.
pub fn now_ns() -> u64 {
    let clock = CLOCK.load(Ordering::Acquire);
    // SAFETY: nothing but such functions and 0 is ever stored, and 0 is `None`.
    match unsafe { core::mem::transmute::<usize, Option<fn() -> u64>>(clock) } {
        Some(now_ns) => now_ns(),
        None => read_tsc() / MOST_CYCLES_PER_NS,
    }
}

/// A point in time, the same on every CPU.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    ns: u64,
}

/// A wait was in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

/// Spins until `condition` holds or `has_passed` returns true.
#[inline]
pub(super) fn spin_until(
    mut condition: impl FnMut() -> bool,
    mut has_passed: impl FnMut() -> bool,
) -> Result<(), TimedOut> {
    let backoff = Backoff::new();
    while !condition() {
        if has_passed() {
            // What became true while this CPU was not running still counts.
            return if condition() { Ok(()) } else { Err(TimedOut) };
        }
        backoff.spin();
    }
    Ok(())
}

impl Deadline {
    /// That many milliseconds from now.
    pub fn after_ms(ms: u64) -> Deadline {
        Deadline::after_us(ms.saturating_mul(1000))
    }

    /// That many microseconds from now.
    pub fn after_us(us: u64) -> Deadline {
        Deadline { ns: now_ns().saturating_add(us.saturating_mul(1000)) }
    }

    /// How long it is until then, in nanoseconds; 0 when it has passed.
    pub fn remaining_ns(&self) -> u64 {
        self.ns.saturating_sub(now_ns())
    }

    /// Whether it has passed.
    pub fn has_passed(&self) -> bool {
        now_ns() >= self.ns
    }

    /// Spins until the condition holds, at most until the deadline. For waits that are short, or with interrupts off;
    /// interrupts stay as they are. **Context:** any.
    ///
    /// # Errors
    /// [`TimedOut`] if the condition does not hold in the end.
    pub fn wait_until(&self, condition: impl FnMut() -> bool) -> Result<(), TimedOut> {
        spin_until(condition, || self.has_passed())
    }

    /// Waits it out.
    pub fn wait(&self) {
        while !self.has_passed() {
            core::hint::spin_loop();
        }
    }
}
