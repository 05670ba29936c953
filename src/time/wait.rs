//! Waits in which the CPU halts, with interrupts enabled.

use core::time::Duration;

use super::timer;
use crate::console;
use crate::cpu::{IrqGuard, interrupts_enabled};
use crate::memory;
use crate::sync::{Deadline, STEP_NS, TimedOut, Timeout};

/// The longest halt before a waiting CPU checks again, in nanoseconds: half of what a [`Timeout`] counts between two checks.
const RECHECK_NS: u64 = STEP_NS / 2;

/// Halts until the condition holds, at most until the deadline. The code that makes it true must interrupt this CPU, by
/// `smp::wake_others` or from a handler that runs on it. A timer on this CPU ends the halt at the deadline. The condition is
/// evaluated with interrupts enabled and with interrupts disabled.
///
/// If that interrupt is lost, this CPU detects within [`RECHECK_NS`] that the condition holds. Without memory for the timer the
/// CPU polls instead of halting.
///
/// **Context:** thread, interrupts on, no lock held.
///
/// # Errors
/// [`TimedOut`] if the condition does not hold at the deadline.
///
/// # Panics
/// If interrupts are disabled.
#[track_caller]
pub fn halt_until(deadline: &Deadline, condition: impl Fn() -> bool) -> Result<(), TimedOut> {
    halt(|| deadline.remaining_ns(), condition, || {})
}

/// [`halt_until`] with a [`Timeout`], which does not count time in which the host has stopped the machine. `at_recheck` is
/// called with interrupts enabled each time that the condition has not held for [`RECHECK_NS`].
///
/// **Context:** thread, interrupts on, no lock held.
///
/// # Errors
/// [`TimedOut`] if the condition does not hold when the time-out has passed.
///
/// # Panics
/// If interrupts are disabled.
#[track_caller]
pub fn halt_for(
    timeout: &mut Timeout,
    condition: impl Fn() -> bool,
    at_recheck: impl FnMut(),
) -> Result<(), TimedOut> {
    let left_ns = || if timeout.has_passed() { 0 } else { timeout.left_ns() };
    halt(left_ns, condition, at_recheck)
}

#[track_caller]
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
        console::send_overdue();
        let holds = halt_once(&recheck, &condition);
        if holds || left == 0 {
            return if holds { Ok(()) } else { Err(TimedOut) };
        }
        at_recheck();
    }
}

/// Halts until the condition holds, the deadline has passed, or the thread has moved to another CPU. Returns whether the condition holds.
fn halt_once(until: &Deadline, condition: &impl Fn() -> bool) -> bool {
    // The timer's interrupt ends the halt; its callback does nothing.
    let alarm = timer::after(Duration::from_nanos(until.remaining_ns()), |_| {}, 0);
    let holds = loop {
        let mut guard = IrqGuard::new();
        let (holds, passed) = (condition(), until.has_passed());
        if holds || passed {
            break holds;
        }
        match &alarm {
            // An interrupt that has arrived since the condition was evaluated ends the halt.
            Ok(alarm) if alarm.is_of_this_cpu(&guard) => memory::halt(&mut guard),
            // The thread has moved: the alarm would end a halt of the CPU that it has left. The caller arms another.
            Ok(_) => break false,
            Err(_) => guard.window(core::hint::spin_loop),
        }
    };
    if let Ok(alarm) = alarm {
        timer::cancel(alarm);
    }
    holds
}

/// Halts for at least `duration`.
///
/// **Context:** thread, interrupts on, no lock held.
///
/// # Panics
/// If interrupts are disabled.
#[track_caller]
pub fn sleep(duration: Duration) {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let _ = halt_until(&Deadline::after_us(us.saturating_add(1)), || false);
}
