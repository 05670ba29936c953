//! Reports timer interrupts whose callbacks keep interrupts off for too long.
//!
//! The time is measured by two readings of the clock that the interrupt needs anyway: the one that decides which timers are
//! due, and the one that sets the APIC timer. A host that stops the machine in between, or a clock that jumps, looks the same to
//! this CPU. [`MACHINE_HAS_STOPPED`] tells it from the other CPUs' heartbeats; where no other CPU has any, the callbacks are
//! reported. A host that stops this CPU alone looks like a slow callback; the limit allows for a busy host. The watchdog detects a
//! callback that never returns, while CPUs have work.

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

use super::callback::Callback;
use crate::config::TIMER_CALLBACK_MS;
use crate::console::{self, LineBuffer, Warning};
use crate::sync::Hook;
use crate::{boot, cpu};

/// The longest time that is not reported, in nanoseconds.
pub(crate) const LIMIT_NS: u64 = TIMER_CALLBACK_MS * 1_000_000;

/// Returns whether the host has stopped the machine since that time, in nanoseconds, as far as other CPUs show it.
static MACHINE_HAS_STOPPED: Hook<fn(u64) -> bool> = Hook::new();

/// Sets the function that tells a stop of the machine from a slow callback. **Context:** the BSP, once.
pub(crate) fn set_machine_has_stopped(has_stopped: fn(u64) -> bool) {
    MACHINE_HAS_STOPPED.set(has_stopped);
}

/// Before this time, in nanoseconds, there is no further report.
static QUIET_UNTIL_NS: AtomicU64 = AtomicU64::new(0);

/// The number of CPUs whose callbacks were not reported since the last report.
static UNREPORTED: AtomicU64 = AtomicU64::new(0);

/// Reports callbacks that together took from `began_ns` to `ended_ns`, more than [`LIMIT_NS`], unless the machine did not run
/// meanwhile. `last` is the last of them. There is at most one report in each period of that length, whatever the number of CPUs: on
/// a host with far fewer processors the callbacks of many CPUs appear slow at once, and their reports would block the console.
///
/// **Context:** the timer interrupt, no lock held.
#[cold]
#[inline(never)]
pub(crate) fn report(last: Option<Callback>, began_ns: u64, ended_ns: u64) {
    if MACHINE_HAS_STOPPED.get().is_some_and(|has_stopped| has_stopped(began_ns)) {
        return;
    }
    let quiet_until = QUIET_UNTIL_NS.load(Ordering::Relaxed);
    let is_first = ended_ns >= quiet_until
        && QUIET_UNTIL_NS
            .compare_exchange(quiet_until, ended_ns + LIMIT_NS, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
    if !is_first {
        UNREPORTED.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let mut message = LineBuffer::format(format_args!(
        "timer callbacks kept interrupts off for {} ms, the limit is {TIMER_CALLBACK_MS} ms",
        (ended_ns - began_ns) / 1_000_000
    ));
    let unreported = UNREPORTED.swap(0, Ordering::Relaxed);
    if unreported > 0 {
        // What does not fit is cut.
        let _ = write!(message, "; {unreported} more before");
    }
    console::warn(Warning {
        cpu: cpu::current().0,
        kind: "timer",
        message,
        wait: None,
        rip: last.map(|callback| callback as usize as u64),
        slide: boot::handoff().slide,
        frames: heapless::Vec::new(),
    });
}

/// Reports a callback if it took longer than [`LIMIT_NS`].
///
/// **Context:** as [`report`].
pub(crate) fn check(callback: Callback, began_ns: u64, ended_ns: u64) {
    if ended_ns > began_ns + LIMIT_NS {
        report(Some(callback), began_ns, ended_ns);
    }
}
