//! Selects the clock source when all CPUs are online: the TSC if it is stable, else the HPET or the PM timer.
//!
//! The TSC is stable if (1) the CPUs' TSCs are in step, which [`warp`] checks, and (2) its rate is constant and known. A
//! processor guarantees a constant rate by the invariant-TSC bit. Emulators and older processors lack this bit, and a rate
//! that CPUID or the hypervisor reports may be wrong, for example on an emulator that copies CPUID from another processor.
//! Therefore, without the bit or without a measurement, the rate since the first reading is compared with the calibrated one.
//! This detects frequency scaling and wrong reports.

use core::fmt;
use core::time::Duration;

use spin::Once;

use super::calibration::parts_per_million;
use super::frequency::{Clock, FrequencySource};
use super::parameters::ClockChoice;
use super::reference::{ReferenceTimer, quickest};
use super::timer::{Expiry, TimerError};
use super::warp::{self, Warp};
use super::{fallback, now, timer};
use crate::config::{CALIBRATION_MS, IPI_CALL_TIMEOUT_MS};
use crate::cpu::Features;
use crate::cpu::registers::read_tsc;
use crate::sync::{Deadline, Timeout};

/// By how much the TSC's rate may differ from the calibrated one, in parts per million. Frequency scaling changes it by several
/// per cent; a host that stops the emulator between two readings changes it by far less than one per cent.
const DRIFT_LIMIT_PPM: u64 = 10_000;

/// The shortest window in which the drift is measured, in milliseconds: as long as a calibration.
const DRIFT_WINDOW_MS: u64 = 3 * CALIBRATION_MS;

/// How often the rate is measured at most, until it is within the limit.
const ATTEMPTS: u32 = 5;

/// The timer that the TSC is measured against, and the start of the measurement.
static REFERENCE: Once<DriftCheck> = Once::new();

struct DriftCheck {
    reference: ReferenceTimer,
    pair: CounterPair,
}

/// Both counters, read at nearly the same time.
#[derive(Clone, Copy)]
struct CounterPair {
    tsc: u64,
    reference: u64,
}

impl CounterPair {
    /// Reads both counters.
    fn sample(reference: &ReferenceTimer) -> CounterPair {
        quickest(|| CounterPair { reference: reference.read(), tsc: read_tsc() })
    }
}

/// The selected clock source, and the results of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clocksource {
    /// `tsc`, `hpet` or `pm_timer`.
    pub name: &'static str,
    /// Why the TSC was not selected, or should not have been.
    pub unstable_reason: Option<UnstableReason>,
    /// The result of the TSC sync check.
    pub warp: Warp,
    /// The TSC skew in nanoseconds, rounded up.
    pub skew_ns: u64,
    /// By how much the TSC's rate differs from the calibrated one, in parts per million; `None` without a reference timer.
    pub drift_ppm: Option<u64>,
}

/// Why the TSC is not used as clock source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnstableReason {
    /// The TSCs of two CPUs differ.
    Skew {
        /// The lower bound of the difference, in cycles.
        cycles: u64,
    },
    /// The TSC's rate differs from the calibrated one.
    Drift {
        /// The difference in parts per million.
        ppm: u64,
    },
    /// The command line selects another clock source.
    NotSelected,
}

impl fmt::Display for UnstableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnstableReason::Skew { cycles } => write!(f, "TSC skew of {cycles} cycles between CPUs"),
            UnstableReason::Drift { ppm } => {
                write!(f, "TSC rate differs by {ppm} ppm from its calibration")
            }
            UnstableReason::NotSelected => f.write_str("selected on the command line"),
        }
    }
}

/// Starts the interval over which the TSC's rate is compared with that of `reference`.
///
/// **Context:** the BSP, once.
pub(super) fn start_drift_check(reference: Option<ReferenceTimer>) {
    if let Some(reference) = reference {
        let pair = CounterPair::sample(&reference);
        REFERENCE.call_once(|| DriftCheck { reference, pair });
    }
}

/// Selects the clock source, and switches to it. After a switch each CPU must call [`timer::restart`].
///
/// **Context:** the BSP, once, thread context, interrupts enabled, after [`sample_skew`](super::sample_skew) with each online
/// CPU and before any of these depends on the time. Spins for several milliseconds.
pub(crate) fn select_clocksource(features: &Features, clock: &Clock, choice: ClockChoice) -> Clocksource {
    let warp = warp::result(Timeout::after_ms(IPI_CALL_TIMEOUT_MS));
    let drift_ppm = REFERENCE.get().map(|check| drift_ppm(check, clock.tsc_hz));
    let is_trusted = features.invariant_tsc && matches!(clock.source, FrequencySource::Measured(_));
    let unstable_reason = if warp.skew_cycles > 0 {
        Some(UnstableReason::Skew { cycles: warp.skew_cycles })
    } else if let Some(ppm) = drift_ppm.filter(|ppm| *ppm > DRIFT_LIMIT_PPM && !is_trusted) {
        Some(UnstableReason::Drift { ppm })
    } else {
        [ClockChoice::Hpet, ClockChoice::PmTimer].contains(&choice).then_some(UnstableReason::NotSelected)
    };
    let skew_ns = (u128::from(warp.skew_cycles) * 1_000_000_000).div_ceil(u128::from(clock.tsc_hz)) as u64;
    let mut clocksource = Clocksource { name: "tsc", unstable_reason, warp, skew_ns, drift_ppm };
    let Some(unstable_reason) = unstable_reason.filter(|_| choice != ClockChoice::Tsc) else {
        return clocksource;
    };
    match REFERENCE.get() {
        Some(check) if fallback::switch_to(&check.reference, now::now_ns()) => {
            clocksource.name = check.reference.name();
            timer::disable_deadline_mode(clock);
            if let Err(error) = keep_alive() {
                log::warn!("clocksource {} may miss a wrap: {error}", clocksource.name);
            }
            log::warn!("clocksource: switched to {}: {unstable_reason}", clocksource.name);
        }
        _ => log::warn!("clocksource: keeping tsc, no {} counts: {unstable_reason}", choice.timer()),
    }
    clocksource
}

/// Starts a timer on this CPU that reads the counter four times in each wrap, if the counter wraps within 2^64 ns.
///
/// # Errors
/// [`TimerError`] if the timer cannot be armed.
fn keep_alive() -> Result<(), TimerError> {
    let wrap_ns = fallback::wrap_ns();
    if wrap_ns == u64::MAX {
        return Ok(());
    }
    let read = |_: &Expiry| {
        now::now_ns();
    };
    timer::every(Duration::from_nanos(wrap_ns / 4), read, 0).map(drop)
}

/// Measures by how much the TSC's rate differs from `tsc_hz`, in parts per million.
fn drift_ppm(check: &DriftCheck, tsc_hz: u64) -> u64 {
    let DriftCheck { reference, pair } = check;
    let clock = reference.clock();
    let mut begin = *pair;
    let mut least = u64::MAX;
    for _ in 0..ATTEMPTS {
        let elapsed_ns =
            |tsc: u64| (u128::from(tsc.wrapping_sub(begin.tsc)) * 1_000_000_000 / u128::from(tsc_hz)) as u64;
        let window_ns = DRIFT_WINDOW_MS * 1_000_000;
        let elapsed = elapsed_ns(read_tsc());
        if elapsed > clock.wrap_ns() / 2 {
            // The reference may have wrapped more than once.
            begin = CounterPair::sample(reference);
        }
        if elapsed < window_ns {
            Deadline::after_us(window_ns.div_ceil(1000)).wait();
        }
        let end = CounterPair::sample(reference);
        let cycles = end.tsc.wrapping_sub(begin.tsc);
        if let Some(hz) = clock.frequency_hz(cycles, begin.reference, end.reference) {
            least = least.min(parts_per_million(hz.abs_diff(tsc_hz), tsc_hz));
        }
        if least <= DRIFT_LIMIT_PPM {
            break;
        }
        begin = CounterPair::sample(reference);
    }
    least
}
