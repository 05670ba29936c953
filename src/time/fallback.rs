//! The clock where the TSC will not do: an HPET or the PM timer, counted beyond its width.
//!
//! The counter is the same for all CPUs, but wraps. [`TICKS`] holds how far it has come in 64 bits, as of the last
//! reading. A CPU loads that first and reads the counter afterwards, so the difference is never negative, and what it
//! makes of it is never less than what any CPU has made before. Somebody must read within each wrap: a timer does.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use spin::Once;

use super::calibration::Scale;
use super::reference::ReferenceClock;
use super::timer::{self, Expiry, TimerError};

/// Whether this is the clock.
pub(super) static IS_USED: AtomicBool = AtomicBool::new(false);

/// Ticks since the switch, as of the last reading.
static TICKS: AtomicU64 = AtomicU64::new(0);

static FALLBACK: Once<Fallback> = Once::new();

struct Fallback {
    reference: &'static ReferenceClock,
    to_ns: Scale,
    /// What the counter showed at the switch, and what time it was.
    began: u64,
    began_ns: u64,
}

/// Makes that counter the clock, which goes on from `now_ns`. Once, by the boot processor, before other CPUs depend on
/// the time; `false` for a counter that wraps too soon.
pub(super) fn switch_to(reference: &'static ReferenceClock, now_ns: u64) -> bool {
    let Some(to_ns) = reference.clock().scale_to_ns().filter(|_| reference.is_clock()) else { return false };
    FALLBACK.call_once(|| Fallback { reference, to_ns, began: reference.read(), began_ns: now_ns });
    IS_USED.store(true, Ordering::Release);
    true
}

/// Makes this CPU read the counter within each wrap for good, if it does wrap within anybody's lifetime.
pub(super) fn keep_alive() -> Result<(), TimerError> {
    let wrap_ns = FALLBACK.get().map_or(u64::MAX, |fallback| fallback.reference.clock().wrap_ns());
    if wrap_ns == u64::MAX {
        return Ok(());
    }
    let read = |_: &Expiry| {
        now_ns();
    };
    timer::every(Duration::from_nanos(wrap_ns / 4), read, 0).map(drop)
}

#[cold]
pub(super) fn now_ns() -> u64 {
    let Some(Fallback { reference, to_ns, began, began_ns }) = FALLBACK.get() else { return 0 };
    let before = TICKS.load(Ordering::Acquire);
    // Not before the load: a device's register is read in order (SDM Vol. 3A, 8.2.2 and 19.3).
    let since = reference.clock().ticks_between(*began, reference.read());
    let ticks = reference.clock().extend(before, since);
    let ticks = TICKS.fetch_max(ticks, Ordering::AcqRel).max(ticks);
    began_ns + to_ns.convert(ticks)
}
