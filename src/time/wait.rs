//! Waits with interrupts on, in which the CPU halts.

use core::time::Duration;

use x86_64::instructions::interrupts;

use super::timer;
use crate::sync::{Deadline, TimedOut};

/// Halts until the condition holds, at most until the deadline. Whoever makes it true must interrupt this CPU, by
/// `smp::wake_others` or from a handler that runs on it; a timer of this CPU's ends the halt at the deadline. Interrupts
/// are on.
///
/// Should there be no memory for the timer, the CPU looks again and again instead of halting.
pub fn halt_until(deadline: &Deadline, condition: impl Fn() -> bool) -> Result<(), TimedOut> {
    if condition() {
        return Ok(());
    }
    // The interrupt by itself is what ends the halt.
    let alarm = timer::after(Duration::from_nanos(deadline.remaining_ns()), |_| {}, 0);
    let outcome = loop {
        interrupts::disable();
        let (holds, passed) = (condition(), deadline.has_passed());
        if holds || passed {
            interrupts::enable();
            break if holds { Ok(()) } else { Err(TimedOut) };
        }
        if alarm.is_ok() {
            // An interrupt that came since the look above is taken only after `hlt` has begun, and ends it.
            interrupts::enable_and_hlt();
        } else {
            interrupts::enable();
            core::hint::spin_loop();
        }
    };
    if let Ok(alarm) = alarm {
        timer::cancel(alarm);
    }
    outcome
}

/// Halts for so long. Interrupts are on.
pub fn sleep(duration: Duration) {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let _ = halt_until(&Deadline::after_us(us.saturating_add(1)), || false);
}
