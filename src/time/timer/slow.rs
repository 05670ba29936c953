//! A timer interrupt whose callbacks keep interrupts off for too long is reported at its end.
//!
//! It is measured by two readings of the clock that the interrupt needs anyway: the one that decides what is due, and the one by
//! which the APIC timer is set. From inside, a host that stops the CPU meanwhile looks the same; the limit leaves room for a
//! busy one. A callback that never returns is found by the watchdog, while CPUs are at work.

use super::Callback;
use crate::config::TIMER_CALLBACK_MS;
use crate::console::{self, LineBuffer, Warning};
use crate::{boot, cpu};

/// The longest time that is not reported, in nanoseconds.
pub const LIMIT_NS: u64 = TIMER_CALLBACK_MS * 1_000_000;

/// Reports callbacks that together took `ns`, which is more than [`LIMIT_NS`]; `last` names one of them. There are no more
/// reports than one for each time of that length.
///
/// **Context:** the timer interrupt, no lock held.
#[cold]
#[inline(never)]
pub fn report(last: Option<Callback>, ns: u64) {
    console::warn(Warning {
        cpu: cpu::current().0,
        kind: "timer",
        message: LineBuffer::format(format_args!(
            "timer callbacks kept interrupts off for {} ms, the limit is {TIMER_CALLBACK_MS} ms",
            ns / 1_000_000
        )),
        wait: None,
        rip: last.map(|callback| callback as usize as u64),
        slide: boot::handoff().slide,
        frames: heapless::Vec::new(),
    });
}

/// Reports a callback if it took longer than [`LIMIT_NS`].
///
/// **Context:** as [`report`].
pub fn check(callback: Callback, ns: u64) {
    if ns > LIMIT_NS {
        report(Some(callback), ns);
    }
}
