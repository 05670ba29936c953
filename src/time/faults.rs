//! Deliberate faults of the TSC.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::cpu::per_cpu::PerCpu;
use crate::per_cpu;

per_cpu! {
    /// How far this CPU's TSC is ahead.
    static SHIFT: Cell<u64> = Cell::new(0);
}

static DRIFTS: AtomicBool = AtomicBool::new(false);

#[inline]
pub(super) fn shift() -> u64 {
    SHIFT.get()
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
