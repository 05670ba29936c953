//! Fault injection for the TSC.

use core::sync::atomic::{AtomicBool, Ordering};

use super::now;
use super::tsc_offset::{JUMPED, SHIFT};
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::read_tsc;

static DRIFTS: AtomicBool = AtomicBool::new(false);

/// Advances the clock by `ms` milliseconds on all CPUs at once, like a host that stops the machine for that time. Timers armed
/// before the jump expire late, by up to its length.
///
/// **Context:** any, after the clock is calibrated.
pub(crate) fn jump(ms: u64) {
    const CYCLES: u64 = 1 << 32;
    let tsc = read_tsc();
    let ns = now::ns_at(tsc + CYCLES) - now::ns_at(tsc);
    let cycles = u128::from(ms) * 1_000_000 * u128::from(CYCLES) / u128::from(ns.max(1));
    JUMPED.fetch_add(cycles as u64, Ordering::Relaxed);
}

/// Sets the offset of this CPU's TSC, in cycles.
pub(crate) fn inject_tsc_offset(cycles: u64) {
    SHIFT.set(cycles);
}

/// Makes the calibration report a TSC frequency that is 5 % too low.
pub(crate) fn inject_tsc_drift() {
    DRIFTS.store(true, Ordering::Relaxed);
}

/// The frequency to report for a calibrated one, in hertz.
pub(super) fn calibrated(tsc_hz: u64) -> u64 {
    if DRIFTS.load(Ordering::Relaxed) { tsc_hz - tsc_hz / 20 } else { tsc_hz }
}
