//! The frequencies of the TSC and of the APIC timer.

use core::fmt;

use super::calibration::{
    CounterSpec, READINGS_TO_MOVE, Scale, Window, Windows, plausible_tsc_hz, tsc_hz_from_cpuid,
};
use super::frequency::{Clock, FrequencySource};
use super::parameters::ClockChoice;
use super::reference::{ReferenceTimer, quickest};
use super::{clocksource, now, timer};
use crate::acpi::Platform;
use crate::config::CALIBRATION_MS;
use crate::cpu::registers::read_tsc;
use crate::cpu::{Features, IrqGuard};
use crate::{apic, console, sync};

/// By how much two of three windows may differ, in parts per million. The PIT's resolution of 838 ns and the host's jitter at
/// both ends of a window of 2 ms amount to several hundred.
const TOLERANCE_PPM: u64 = 1_000;

/// How often the windows are measured at most, until two of three agree.
const ATTEMPTS: u32 = 5;

/// The longest window is [`CALIBRATION_MS`] shifted left by this. Three of them stay below the 54.9 ms after which the PIT
/// wraps; `config/build.rs` bounds the constant.
const LONGEST_WINDOW_SHIFT: u32 = 2;

const NS_PER_MS: u64 = 1_000_000;

/// Why there is no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockError {
    /// CPUID does not report the TSC's frequency, and no timer of known frequency counts.
    NoReference,
    /// CPUID does not report the TSC's frequency, and the timer selected on the command line does not exist.
    Absent(ClockChoice),
    /// CPUID does not report the TSC's frequency, and the timer selected on the command line does not count.
    Stopped(ClockChoice),
    /// The timer of this name stopped during the calibration.
    ReferenceStopped(&'static str),
    /// The TSC does not count.
    NoTsc,
    /// The APIC timer does not count.
    NoApicTimer,
}

/// The counter that did not count during a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// The reference clock.
    Clock,
    Tsc,
    ApicTimer,
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockError::NoReference => f.write_str(
                "no clock: CPUID does not report the TSC's frequency, and no HPET, PM timer or PIT counts",
            ),
            ClockError::Absent(choice) => {
                write!(f, "clock={}: no {} found", choice.name(), choice.timer())
            }
            ClockError::Stopped(choice) => {
                write!(f, "clock={}: the {} does not count", choice.name(), choice.timer())
            }
            ClockError::ReferenceStopped(name) => {
                write!(f, "no clock: the {name} stopped while the TSC was measured against it")
            }
            ClockError::NoTsc => f.write_str("the TSC does not count"),
            ClockError::NoApicTimer => f.write_str("the local APIC's timer does not count"),
        }
    }
}

/// Determines the frequencies of the TSC and of the APIC timer, and starts the clock. Time 0 is at the TSC value `entry_tsc`.
/// `choice` is the counter selected on the command line.
///
/// **Context:** the BSP, once, interrupts disabled, after its local APIC is enabled. Spins for several milliseconds.
///
/// # Errors
/// [`ClockError`] if a frequency cannot be determined.
pub(crate) fn init(
    guard: &IrqGuard,
    features: &Features,
    platform: &Platform,
    entry_tsc: u64,
    choice: ClockChoice,
) -> Result<Clock, ClockError> {
    let is_named = [ClockChoice::Hpet, ClockChoice::PmTimer].contains(&choice);
    let candidates = ReferenceTimer::candidates(platform).into_iter().flatten();
    let mut is_absent = is_named;
    let reference = candidates
        .filter(|reference| !is_named || reference.name() == choice.name())
        .inspect(|_| is_absent = false)
        .find(is_moving);
    let (source, tsc_hz, apic_timer_hz) = match (reported_tsc_hz(features), &reference) {
        (Some((source, tsc_hz)), _) => {
            let clock = CounterSpec::tsc(tsc_hz).ok_or(ClockError::NoReference)?;
            let measured = measure(guard, clock, read_tsc).map_err(|stopped| match stopped {
                Stopped::Clock | Stopped::Tsc => ClockError::NoTsc,
                Stopped::ApicTimer => ClockError::NoApicTimer,
            });
            let [_, apic_timer_hz] = measured?;
            (source, tsc_hz, apic_timer_hz)
        }
        (None, Some(reference)) => {
            let measured = measure(guard, reference.clock(), || reference.read());
            let measured = measured.map_err(|stopped| match stopped {
                Stopped::Clock => ClockError::ReferenceStopped(reference.name()),
                Stopped::Tsc => ClockError::NoTsc,
                Stopped::ApicTimer => ClockError::NoApicTimer,
            });
            let [tsc_hz, apic_timer_hz] = measured?;
            (FrequencySource::Measured(reference.name()), tsc_hz, apic_timer_hz)
        }
        (None, None) if is_absent => return Err(ClockError::Absent(choice)),
        (None, None) if is_named => return Err(ClockError::Stopped(choice)),
        (None, None) => return Err(ClockError::NoReference),
    };
    #[cfg(feature = "faults")]
    let tsc_hz = super::faults::calibrated(tsc_hz);
    let to_ns = Scale::to_ns(tsc_hz).ok_or(ClockError::NoReference)?;
    // SAFETY: only the BSP runs, once (see **Context**), and `guard` keeps its interrupts disabled.
    unsafe { now::set_tsc(entry_tsc, to_ns) };
    sync::set_clock(now::now_ns);
    console::set_clock(now::now_us);
    clocksource::start_drift_check(reference);
    let clock = Clock { source, tsc_hz, apic_timer_hz };
    if timer::init(guard, features, &clock) { Ok(clock) } else { Err(ClockError::NoApicTimer) }
}

/// The TSC's frequency in hertz as CPUID or the hypervisor reports it. `None` if neither does, or if it is implausible.
pub(super) fn reported_tsc_hz(features: &Features) -> Option<(FrequencySource, u64)> {
    let by_cpuid = features.tsc_ratio.and_then(|(denominator, numerator, crystal_hz)| {
        let hz = tsc_hz_from_cpuid(denominator, numerator, crystal_hz)?;
        Some((FrequencySource::Cpuid, plausible_tsc_hz(hz)?))
    });
    by_cpuid.or_else(|| {
        let hz = u64::from(features.hypervisor_tsc_khz?) * 1000;
        Some((FrequencySource::Hypervisor, plausible_tsc_hz(hz)?))
    })
}

/// Whether the timer counts.
fn is_moving(reference: &ReferenceTimer) -> bool {
    let at_rest = reference.read();
    (0..READINGS_TO_MOVE).any(|_| reference.read() != at_rest)
}

/// Measures the frequencies of the TSC and of the APIC timer, in hertz, against a clock that `read` reads.
///
/// An attempt takes four samples, which bound three adjacent windows. It succeeds if, for both counters, two of the three
/// windows agree within [`TOLERANCE_PPM`]. The next attempt doubles the windows, which halves the weight of a sample's error.
/// After the last attempt the medians are used, with a warning.
///
/// # Errors
/// The clock or counter that does not count.
fn measure(guard: &IrqGuard, clock: CounterSpec, read: impl Fn() -> u64) -> Result<[u64; 2], Stopped> {
    let mut best = [Windows::of([0; 3], 0); 2];
    for attempt in 0..ATTEMPTS {
        let window_ns = (CALIBRATION_MS * NS_PER_MS) << attempt.min(LONGEST_WINDOW_SHIFT);
        let samples = four_samples(guard, &clock, &read, clock.ticks_for_ns(window_ns));
        let samples = samples.ok_or(Stopped::Clock)?;
        let between = |a: &Sample, b: &Sample| {
            let hz = |cycles: u64| clock.frequency_hz(cycles, a.reference, b.reference);
            Ok([
                hz(b.tsc.wrapping_sub(a.tsc)).ok_or(Stopped::Tsc)?,
                hz(a.timer.wrapping_sub(b.timer).into()).ok_or(Stopped::ApicTimer)?,
            ])
        };
        let [s0, s1, s2, s3] = &samples;
        let (windows, whole) = ([between(s0, s1)?, between(s1, s2)?, between(s2, s3)?], between(s0, s3)?);
        best = [0, 1].map(|counter| Windows::of(windows.map(|window| window[counter]), whole[counter]));
        let [tsc, timer] = best.map(|windows| windows.median);
        log::debug!(
            "clock: attempt {attempt}, windows of {window_ns} ns: TSC {} Hz +- {} ppm, APIC timer {} Hz +- {} ppm",
            tsc.hz,
            tsc.spread_ppm,
            timer.hz,
            timer.spread_ppm
        );
        if best.iter().all(|windows| windows.median.agrees(TOLERANCE_PPM)) {
            return Ok(best.map(|windows| windows.hz(TOLERANCE_PPM)));
        }
    }
    let [tsc, timer] = best.map(|windows| windows.median);
    log::warn!(
        "clock: calibration inconsistent: windows differ by {} ppm (TSC) and {} ppm (APIC timer)",
        tsc.spread_ppm,
        timer.spread_ppm
    );
    Ok([tsc.hz, timer.hz])
}

/// Takes four samples, each `window` ticks of the clock after the previous one. `None` if the clock does not count.
fn four_samples(
    guard: &IrqGuard,
    clock: &CounterSpec,
    read: &impl Fn() -> u64,
    window: u64,
) -> Option<[Sample; 4]> {
    apic::start_timer_masked(guard, u32::MAX);
    let mut samples = [Sample::take(read); 4];
    for number in 1..samples.len() {
        let mut wait = Window::new(*clock, samples[number - 1].reference, window);
        while !wait.is_over(read()).ok()? {}
        samples[number] = Sample::take(read);
    }
    apic::start_timer_masked(guard, 0);
    Some(samples)
}

/// The three counters, read at nearly the same time.
#[derive(Clone, Copy)]
struct Sample {
    reference: u64,
    tsc: u64,
    timer: u32,
}

impl Sample {
    /// Reads all three counters.
    fn take(read: &impl Fn() -> u64) -> Sample {
        quickest(|| Sample { reference: read(), tsc: read_tsc(), timer: apic::timer_current() })
    }
}
