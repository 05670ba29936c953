//! Waits with interrupts on, in which the CPU halts.

use core::time::Duration;

use super::timer;
use crate::cpu::{IrqGuard, interrupts_enabled};
use crate::sync::{Deadline, TimedOut};

/// Halts until the condition holds, at most until the deadline. The code that makes it true must interrupt this CPU, by
/// `smp::wake_others` or from a handler that runs on it; a timer on this CPU ends the halt at the deadline. The condition is
/// evaluated with interrupts on and with interrupts off.
///
/// If there is no memory for the timer, the CPU polls instead of halting.
///
/// **Context:** thread, interrupts on, no lock held.
///
/// # Panics
/// With interrupts off.
pub fn halt_until(deadline: &Deadline, condition: impl Fn() -> bool) -> Result<(), TimedOut> {
    assert!(interrupts_enabled(), "a halt with interrupts off would never end");
    if condition() {
        return Ok(());
    }
    // The interrupt by itself is what ends the halt.
    let alarm = timer::after(Duration::from_nanos(deadline.remaining_ns()), |_| {}, 0);
    let outcome = loop {
        let mut guard = IrqGuard::new();
        let (holds, passed) = (condition(), deadline.has_passed());
        if holds || passed {
            break if holds { Ok(()) } else { Err(TimedOut) };
        }
        if alarm.is_ok() {
            // An interrupt that has arrived since the condition was evaluated ends the halt.
            guard.halt();
        } else {
            guard.window(core::hint::spin_loop);
        }
    };
    if let Ok(alarm) = alarm {
        timer::cancel(alarm);
    }
    outcome
}

/// Halts for so long.
///
/// **Context:** thread, interrupts on, no lock held.
///
/// # Panics
/// With interrupts off.
pub fn sleep(duration: Duration) {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let _ = halt_until(&Deadline::after_us(us.saturating_add(1)), || false);
}
