//! The TSC as a clock, and how fast the APIC timer runs.

use core::fmt;

use super::calibration::{
    CounterSpec, READINGS_TO_MOVE, Scale, Window, Windows, plausible_tsc_hz, tsc_hz_from_cpuid,
};
use super::parameters::ClockChoice;
use super::reference::ReferenceClock;
use super::{now, timer, trust};
use crate::acpi::Platform;
use crate::config::CALIBRATION_MS;
use crate::cpu::registers::read_tsc;
use crate::cpu::{Features, IrqGuard};
use crate::{apic, console, sync};

/// How far two of three windows may differ, in parts per million. The PIT's steps of 838 ns and the jitter of a host at
/// both ends of a window of 2 ms make several hundred.
const TOLERANCE_PPM: u64 = 1_000;

/// How many times the windows are measured until two of three agree.
const ATTEMPTS: u32 = 5;

/// The longest window is [`CALIBRATION_MS`] shifted left by this. Three of them stay below the 54.9 ms after which the PIT
/// wraps; `config/build.rs` bounds the constant.
const LONGEST_WINDOW_SHIFT: u32 = 2;

const NS_PER_MS: u64 = 1_000_000;

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
    /// CPUID is silent, and the machine does not have the timer that the command line asks for.
    Absent(ClockChoice),
    /// CPUID is silent, and the timer that the command line asks for does not count.
    Stopped(ClockChoice),
    /// The timer stopped while others were measured against it.
    ReferenceStopped(&'static str),
    /// The TSC does not count.
    NoTsc,
    /// The APIC timer does not count.
    NoApicTimer,
}

/// What did not move during a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// What the others were measured against.
    Clock,
    Tsc,
    ApicTimer,
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockError::NoReference => f.write_str(
                "no clock: CPUID does not tell the TSC's frequency, and there is no HPET, PM timer or PIT that counts",
            ),
            ClockError::Absent(choice) => {
                write!(f, "no {}, which clock={} asks for", choice.timer(), choice.name())
            }
            ClockError::Stopped(choice) => {
                write!(f, "the {}, which clock={} asks for, does not count", choice.timer(), choice.name())
            }
            ClockError::ReferenceStopped(name) => {
                write!(f, "no clock: the {name} stopped while the TSC was measured against it")
            }
            ClockError::NoTsc => f.write_str("the TSC does not count"),
            ClockError::NoApicTimer => f.write_str("the local APIC's timer does not count"),
        }
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
    let is_named = [ClockChoice::Hpet, ClockChoice::PmTimer].contains(&choice);
    let candidates = ReferenceClock::candidates(platform).into_iter().flatten();
    let mut is_absent = is_named;
    let reference = candidates
        .filter(|reference| !is_named || reference.name() == choice.name())
        .inspect(|_| is_absent = false)
        .find(is_moving);
    let told = features
        .tsc_ratio
        .and_then(|(denominator, numerator, crystal_hz)| {
            tsc_hz_from_cpuid(denominator, numerator, crystal_hz)
        })
        .and_then(plausible_tsc_hz)
        .map(|hz| (Source::Cpuid, hz))
        .or_else(|| {
            let khz = features.hypervisor_tsc_khz?;
            plausible_tsc_hz(u64::from(khz) * 1000).map(|hz| (Source::Hypervisor, hz))
        });
    let (source, tsc_hz, apic_timer_hz) = match (told, &reference) {
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
            (Source::Measured(reference.name()), tsc_hz, apic_timer_hz)
        }
        (None, None) if is_absent => return Err(ClockError::Absent(choice)),
        (None, None) if is_named => return Err(ClockError::Stopped(choice)),
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
fn is_moving(reference: &ReferenceClock) -> bool {
    let at_rest = reference.read();
    (0..READINGS_TO_MOVE).any(|_| reference.read() != at_rest)
}

/// Measures the frequencies of the TSC and of the APIC timer, in hertz, against a clock that `read` reads.
///
/// # Errors
/// What does not move: the clock, or one of the counters.
///
/// One attempt takes four samples, which bound three adjacent windows. It ends the measurement if two of the three windows
/// agree within [`TOLERANCE_PPM`], for either counter. The next attempt has windows of twice the length: the error of a
/// sample weighs half as much there. After the last attempt the medians are used, with a warning.
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
        "clock: measurements differ by {} ppm (TSC) and {} ppm (APIC timer)",
        tsc.spread_ppm,
        timer.spread_ppm
    );
    Ok([tsc.hz, timer.hz])
}

/// Four samples, each `window` ticks of the clock after the one before. `None` if the clock stands still.
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

/// The three counters, read at one moment.
#[derive(Clone, Copy)]
struct Sample {
    reference: u64,
    tsc: u64,
    timer: u32,
}

impl Sample {
    /// Reads all three, five times, and keeps the reading that took the fewest cycles: an interruption lengthens a reading.
    fn take(read: &impl Fn() -> u64) -> Sample {
        let attempt = || {
            let before = read_tsc();
            let sample = Sample { reference: read(), tsc: read_tsc(), timer: apic::timer_current() };
            (read_tsc().wrapping_sub(before), sample)
        };
        let (mut best_time, mut best) = attempt();
        for _ in 1..5 {
            let (time, sample) = attempt();
            if time < best_time {
                (best_time, best) = (time, sample);
            }
        }
        best
    }
}
