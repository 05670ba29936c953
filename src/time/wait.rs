//! Waits with interrupts on, in which the CPU halts.

use core::time::Duration;

use super::timer;
use crate::console;
use crate::cpu::{IrqGuard, interrupts_enabled};
use crate::sync::{Deadline, STEP_NS, TimedOut, Timeout};

/// The longest halt before a waiting CPU checks again, in nanoseconds: half of what a [`Timeout`] counts between two checks.
const RECHECK_NS: u64 = STEP_NS / 2;

/// Halts until the condition holds, at most until the deadline. The code that makes it true must interrupt this CPU, by
/// `smp::wake_others` or from a handler that runs on it; a timer on this CPU ends the halt at the deadline. The condition is
/// evaluated with interrupts on and with interrupts off.
///
/// If that interrupt cannot be sent, or is lost, this CPU sees by itself that the condition holds, within [`RECHECK_NS`]. If
/// there is no memory for the timer, the CPU polls instead of halting.
///
/// **Context:** thread, interrupts on, no lock held.
///
/// # Errors
/// [`TimedOut`] if the condition does not hold at the deadline.
///
/// # Panics
/// With interrupts off.
pub fn halt_until(deadline: &Deadline, condition: impl Fn() -> bool) -> Result<(), TimedOut> {
    halt(|| deadline.remaining_ns(), condition, || {})
}

/// As [`halt_until`], with a [`Timeout`], which a stopped host does not use up. `at_recheck` is called with interrupts on when
/// the condition has not held for [`RECHECK_NS`], again and again.
///
/// **Context:** as for [`halt_until`].
///
/// # Errors
/// [`TimedOut`] if the condition does not hold when nothing of the time-out is left.
///
/// # Panics
/// With interrupts off.
pub fn halt_for(
    timeout: &mut Timeout,
    condition: impl Fn() -> bool,
    at_recheck: impl FnMut(),
) -> Result<(), TimedOut> {
    let left_ns = || if timeout.has_passed() { 0 } else { timeout.left_ns() };
    halt(left_ns, condition, at_recheck)
}

fn halt(
    mut left_ns: impl FnMut() -> u64,
    condition: impl Fn() -> bool,
    mut at_recheck: impl FnMut(),
) -> Result<(), TimedOut> {
    assert!(interrupts_enabled(), "a halt with interrupts off would never end");
    if condition() {
        return Ok(());
    }
    loop {
        let left = left_ns();
        let recheck = Deadline::after_us(left.min(RECHECK_NS).div_ceil(1000));
        console::send_late();
        let holds = halt_once(&recheck, &condition);
        if holds || left == 0 {
            return if holds { Ok(()) } else { Err(TimedOut) };
        }
        at_recheck();
    }
}

/// Halts until the condition holds or that time has come; whether it holds.
fn halt_once(until: &Deadline, condition: &impl Fn() -> bool) -> bool {
    // The interrupt by itself is what ends the halt.
    let alarm = timer::after(Duration::from_nanos(until.remaining_ns()), |_| {}, 0);
    let holds = loop {
        let mut guard = IrqGuard::new();
        let (holds, passed) = (condition(), until.has_passed());
        if holds || passed {
            break holds;
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
    holds
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
