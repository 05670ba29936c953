//! Deliberate faults of the TSC.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::now;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::read_tsc;
use crate::per_cpu;

per_cpu! {
    /// How far this CPU's TSC is ahead.
    static SHIFT: Cell<u64> = Cell::new(0);
}

static DRIFTS: AtomicBool = AtomicBool::new(false);

/// How far all TSCs have jumped ahead, in cycles.
static JUMPED: AtomicU64 = AtomicU64::new(0);

#[inline]
pub(super) fn shift() -> u64 {
    SHIFT.get().wrapping_add(JUMPED.load(Ordering::Relaxed))
}

/// Makes the clock jump ahead by `ms` milliseconds on all CPUs at once. A host that stops the whole machine for a time does
/// the same to it: timers armed before the jump expire late, by up to its length.
///
/// **Context:** any, when there is a clock.
pub fn jump(ms: u64) {
    const SOME_CYCLES: u64 = 1 << 32;
    let tsc = read_tsc();
    let ns_of_some = now::ns_at(tsc + SOME_CYCLES) - now::ns_at(tsc);
    let cycles = u128::from(ms) * 1_000_000 * u128::from(SOME_CYCLES) / u128::from(ns_of_some.max(1));
    JUMPED.fetch_add(cycles as u64, Ordering::Relaxed);
}

/// From now on this CPU's TSC is so many cycles ahead of what it is.
pub fn shift_tsc(cycles: u64) {
    SHIFT.set(cycles);
}

/// When it is calibrated, the TSC will seem to run slower than it goes on to, by a twentieth.
pub fn let_tsc_drift() {
    DRIFTS.store(true, Ordering::Relaxed);
}

pub(super) fn calibrated(tsc_hz: u64) -> u64 {
    if DRIFTS.load(Ordering::Relaxed) { tsc_hz - tsc_hz / 20 } else { tsc_hz }
}
