//! The TSC as a clock, and how fast the APIC timer runs.

use core::fmt;

use super::calibration::{Median, Scale, frequency_hz, tsc_hz_from_cpuid};
use super::reference::Reference;
use super::{now, timer, trust};
use crate::acpi::Platform;
use crate::boot::command_line::ClockChoice;
use crate::config::CALIBRATION_MS;
use crate::cpu::registers::read_tsc;
use crate::cpu::{Features, IrqGuard};
use crate::{apic, console, sync};

/// How far two of three measurements may be apart, in parts per million. The PIT's steps of 838 ns and the host's
/// jitter at both ends of 5 ms make a few hundred.
const TOLERANCE_PPM: u64 = 1_000;

/// How often three measurements are taken until two of them agree.
const ATTEMPTS: u32 = 5;

/// A timer that has not moved after so many readings is not there: reading takes at least tens of nanoseconds, and the
/// slowest timer's steps are below a microsecond.
const READINGS_TO_MOVE: u32 = 100_000;

/// Who told the TSC's frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// CPUID leaf 15H.
    Cpuid,
    /// The hypervisor's timing leaf.
    Hypervisor,
    /// A measurement against that timer.
    Measured(&'static str),
}

impl Source {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Cpuid => "cpuid",
            Source::Hypervisor => "hypervisor",
            Source::Measured(reference) => reference,
        }
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Who told.
    pub source: Source,
    /// The TSC's frequency.
    pub tsc_hz: u64,
    /// The APIC timer's frequency.
    pub apic_timer_hz: u64,
}

/// Why there is no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockError {
    /// CPUID is silent, and no timer of known frequency moves.
    NoReference,
    /// The APIC timer does not count.
    NoApicTimer,
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClockError::NoReference => {
                "no clock: CPUID does not tell the TSC's frequency, and there is no HPET, PM timer or PIT that counts"
            }
            ClockError::NoApicTimer => "the local APIC's timer does not count",
        })
    }
}

/// Finds out how fast the TSC and the APIC timer run. Once, by the boot processor, after its APIC is on. `entry_tsc` is
/// where time begins; `choice` is the user's.
pub fn init(
    guard: &IrqGuard,
    features: &Features,
    platform: &Platform,
    entry_tsc: u64,
    choice: ClockChoice,
) -> Result<Clock, ClockError> {
    let reference = Reference::candidates(platform)
        .into_iter()
        .flatten()
        .filter(|reference| {
            ![ClockChoice::Hpet, ClockChoice::PmTimer].contains(&choice) || reference.name() == choice.name()
        })
        .find(is_moving);
    let told = features
        .tsc_ratio
        .and_then(|(denominator, numerator, crystal_hz)| {
            tsc_hz_from_cpuid(denominator, numerator, crystal_hz)
        })
        .map(|hz| (Source::Cpuid, hz))
        .or_else(|| features.hypervisor_tsc_khz.map(|khz| (Source::Hypervisor, u64::from(khz) * 1000)));
    let (source, tsc_hz, apic_timer_hz) = match (told, &reference) {
        (Some((source, tsc_hz)), _) => {
            let apic_timer_hz = settle(|| measure_apic_timer(guard, tsc_hz).map(|hz| [hz, hz]))
                .ok_or(ClockError::NoApicTimer)?[1];
            (source, tsc_hz, apic_timer_hz)
        }
        (None, Some(reference)) => {
            let [tsc_hz, apic_timer_hz] =
                settle(|| measure_both(guard, reference)).ok_or(ClockError::NoReference)?;
            (Source::Measured(reference.name()), tsc_hz, apic_timer_hz)
        }
        (None, None) => return Err(ClockError::NoReference),
    };
    #[cfg(feature = "faults")]
    let tsc_hz = super::faults::calibrated(tsc_hz);
    let to_ns = Scale::to_ns(tsc_hz).ok_or(ClockError::NoReference)?;
    // SAFETY: once, by the boot processor alone, under the guard.
    unsafe { now::set_tsc(entry_tsc, to_ns) };
    sync::set_clock(now::now_ns);
    console::set_clock(now::now_us);
    trust::begin(reference);
    let clock = Clock { source, tsc_hz, apic_timer_hz };
    if timer::init(guard, features, &clock) { Ok(clock) } else { Err(ClockError::NoApicTimer) }
}

/// Whether it counts at all.
fn is_moving(reference: &Reference) -> bool {
    let at_rest = reference.read();
    (0..READINGS_TO_MOVE).any(|_| reference.read() != at_rest)
}

/// Three measurements of two frequencies, taken until two of three agree for each; the medians then. If they never
/// agree, the last medians with a warning: a clock that is somewhat off is better than none.
fn settle(mut measure: impl FnMut() -> Option<[u64; 2]>) -> Option<[u64; 2]> {
    let mut medians = [Median::of([0; 3]); 2];
    for _ in 0..ATTEMPTS {
        let samples = [measure()?, measure()?, measure()?];
        medians = [0, 1].map(|which| Median::of(samples.map(|sample| sample[which])));
        log::debug!(
            "of three measurements the medians are {} and {} Hz; they are {} and {} parts per million apart",
            medians[0].hz,
            medians[1].hz,
            medians[0].spread_ppm,
            medians[1].spread_ppm
        );
        if medians.iter().all(|median| median.agrees(TOLERANCE_PPM)) {
            return Some(medians.map(|median| median.hz));
        }
    }
    log::warn!(
        "the clock's measurements are {} and {} parts per million apart",
        medians[0].spread_ppm,
        medians[1].spread_ppm
    );
    Some(medians.map(|median| median.hz))
}

/// One measurement of the TSC and the APIC timer against a timer of known frequency. `None` if one of them stands.
fn measure_both(guard: &IrqGuard, reference: &Reference) -> Option<[u64; 2]> {
    let clock = reference.clock();
    let window = clock.ticks_for_ns(CALIBRATION_MS * 1_000_000);
    apic::start_timer_masked(guard, u32::MAX);
    let begin = Sample::take(reference);
    let mut now = begin.reference;
    let mut unmoved = 0;
    while clock.ticks_between(begin.reference, now) < window {
        let next = reference.read();
        unmoved = if next == now { unmoved + 1 } else { 0 };
        if unmoved > READINGS_TO_MOVE {
            return None;
        }
        now = next;
    }
    let end = Sample::take(reference);
    apic::start_timer_masked(guard, 0);
    Some([
        clock.frequency_hz(end.tsc.wrapping_sub(begin.tsc), begin.reference, end.reference)?,
        clock.frequency_hz(u64::from(begin.timer - end.timer), begin.reference, end.reference)?,
    ])
}

/// The three counters at about one moment.
struct Sample {
    reference: u64,
    tsc: u64,
    timer: u32,
}

impl Sample {
    /// Of five tries the one that took the least time: in the others something came in between.
    fn take(reference: &Reference) -> Sample {
        let attempt = |_| {
            let before = read_tsc();
            let value = reference.read();
            let tsc = read_tsc();
            let timer = apic::timer_current();
            (read_tsc().wrapping_sub(before), Sample { reference: value, tsc, timer })
        };
        let (mut best_time, mut best) = attempt(0);
        for number in 1..5 {
            let (time, sample) = attempt(number);
            if time < best_time {
                (best_time, best) = (time, sample);
            }
        }
        best
    }
}

/// One measurement of the APIC timer against a TSC of known frequency.
fn measure_apic_timer(guard: &IrqGuard, tsc_hz: u64) -> Option<u64> {
    let window = tsc_hz * CALIBRATION_MS / 1000;
    apic::start_timer_masked(guard, u32::MAX);
    let (begin, begin_timer) = (read_tsc(), apic::timer_current());
    while read_tsc().wrapping_sub(begin) < window {
        core::hint::spin_loop();
    }
    let (end, end_timer) = (read_tsc(), apic::timer_current());
    apic::start_timer_masked(guard, 0);
    frequency_hz(u64::from(begin_timer - end_timer), end.wrapping_sub(begin), tsc_hz)
}
