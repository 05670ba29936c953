//! Reports timer interrupts whose callbacks keep interrupts off for too long.
//!
//! The time is measured by two readings of the clock that the interrupt needs anyway: the one that decides which timers are
//! due, and the one that sets the APIC timer. A host that stops the CPU in between looks the same; the limit allows for a
//! busy host. The watchdog detects a callback that never returns, while CPUs have work.

use super::callback::Callback;
use crate::config::TIMER_CALLBACK_MS;
use crate::console::{self, LineBuffer, Warning};
use crate::{boot, cpu};

/// The longest time that is not reported, in nanoseconds.
pub(crate) const LIMIT_NS: u64 = TIMER_CALLBACK_MS * 1_000_000;

/// Reports callbacks that together took `ns` nanoseconds, more than [`LIMIT_NS`]. `last` is the last of them. There is at most
/// one report in each period of that length.
///
/// **Context:** the timer interrupt, no lock held.
#[cold]
#[inline(never)]
pub(crate) fn report(last: Option<Callback>, ns: u64) {
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
pub(crate) fn check(callback: Callback, ns: u64) {
    if ns > LIMIT_NS {
        report(Some(callback), ns);
    }
}
