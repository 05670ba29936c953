//! Estimates the TSC's frequency at the kernel's entry, for the time stamps of the log lines before [`init`](super::init).

use super::calibration::{CountAndTsc, least_frequency_hz};
use super::clock::reported_tsc_hz;
use super::reference::{ReferenceTimer, quickest};
use crate::cpu::Features;
use crate::cpu::registers::read_tsc;

/// The length of a window of the measurement, in nanoseconds. The PIT's resolution of 838 ns is one percent of it.
const WINDOW_NS: u64 = 84_000;

/// The number of windows, of which the least frequency counts.
const WINDOWS: usize = 3;

/// After this many equal readings there is no PIT. A reading takes three port accesses, so they take longer than a tick of 838 ns
/// hundreds of times.
const READINGS_TO_MOVE: u32 = 1_000;

/// Estimates the TSC's frequency in hertz: as CPUID or the hypervisor reports it, otherwise by [`WINDOWS`] of
/// [`WINDOW_NS`] against the PIT, with an error of up to a few percent. `None` if there is neither. Needs neither ACPI tables nor
/// page tables of the kernel's own.
///
/// **Context:** the BSP, before [`init`](super::init), interrupts disabled. Spins for a quarter of a millisecond.
pub(crate) fn estimate_tsc_hz() -> Option<u64> {
    reported_tsc_hz(&Features::read()).map(|(_, hz)| hz).or_else(measure)
}

/// Measures the TSC against the PIT. `None` if the PIT does not count.
fn measure() -> Option<u64> {
    let pit = ReferenceTimer::pit();
    let at_rest = pit.read();
    if (0..READINGS_TO_MOVE).all(|_| pit.read() == at_rest) {
        return None;
    }
    let clock = pit.clock();
    let sample = || quickest(|| CountAndTsc { count: pit.read(), tsc: read_tsc() });
    least_frequency_hz::<WINDOWS>(clock, clock.ticks_for_ns(WINDOW_NS), || pit.read(), sample)
}
