//! The clock if the TSC is unstable: an HPET or the PM timer, extended to 64 bits.
//!
//! All CPUs read the same counter, but it wraps. [`TICKS`] holds the 64-bit count of the last reading. A CPU loads it before it
//! reads the counter, so the difference is never negative, and the result is never less than an earlier result of any CPU. The
//! counter must be read at least once in each wrap; a timer does that (`clocksource::keep_alive`).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spin::Once;

use super::calibration::Scale;
use super::reference::ReferenceTimer;

/// Whether this counter is the clock.
pub(super) static IS_USED: AtomicBool = AtomicBool::new(false);

/// Ticks from the switch to the last reading.
static TICKS: AtomicU64 = AtomicU64::new(0);

static FALLBACK: Once<Fallback> = Once::new();

struct Fallback {
    reference: &'static ReferenceTimer,
    to_ns: Scale,
    /// The counter and the time at the switch.
    began: u64,
    began_ns: u64,
}

/// Makes a timer the clock, which continues from `now_ns`. Returns `false` if the timer cannot be the clock
/// ([`ReferenceTimer::is_clock`]).
///
/// **Context:** the BSP, once, before other CPUs depend on the time.
pub(super) fn switch_to(reference: &'static ReferenceTimer, now_ns: u64) -> bool {
    let Some(to_ns) = reference.clock().scale_to_ns().filter(|_| reference.is_clock()) else { return false };
    FALLBACK.call_once(|| Fallback { reference, to_ns, began: reference.read(), began_ns: now_ns });
    IS_USED.store(true, Ordering::Release);
    true
}

/// Returns the time in which the counter wraps, in nanoseconds; `u64::MAX` if it does not wrap within 2^64 ns or is not used.
pub(super) fn wrap_ns() -> u64 {
    FALLBACK.get().map_or(u64::MAX, |fallback| fallback.reference.clock().wrap_ns())
}

/// Reads the time in nanoseconds; 0 before [`switch_to`].
///
/// **Context:** any.
#[cold]
pub(super) fn now_ns() -> u64 {
    let Some(Fallback { reference, to_ns, began, began_ns }) = FALLBACK.get() else { return 0 };
    let before = TICKS.load(Ordering::Acquire);
    // The counter is read after the load: reads of device registers are ordered (SDM Vol. 3A, 8.2.2 and 19.3).
    let since = reference.clock().ticks_between(*began, reference.read());
    let ticks = reference.clock().extend(before, since);
    let ticks = TICKS.fetch_max(ticks, Ordering::AcqRel).max(ticks);
    began_ns + to_ns.convert(ticks)
}
