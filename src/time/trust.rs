//! Whether the TSC may be the clock, decided when all CPUs are up.
//!
//! It must tell the same time on all CPUs, which the warp test finds out, and run at the rate that was measured or told.
//! That the rate is constant, the processor vouches for by its invariant bit. Emulators and older processors have no such
//! bit, though under QEMU's TCG the TSC is as good as the host's clock; and a rate that was told, not measured, may be wrong
//! all the same, as on an emulator that has taken CPUID over from a processor but not its speed. So without the bit, or
//! without a measurement, the rate is measured over the time since the first reading, and must be the same. What is caught
//! by that are frequencies that change with load, and those that were told wrongly. A TSC that fails is replaced by the HPET
//! or the PM timer.

use core::fmt;

use spin::Once;

use super::calibration::parts_per_million;
use super::parameters::ClockChoice;
use super::reference::ReferenceClock;
use super::warp::{self, Warp};
use super::{Clock, Source, fallback, now, timer};
use crate::config::{CALIBRATION_MS, IPI_CALL_TIMEOUT_MS};
use crate::cpu::Features;
use crate::cpu::registers::read_tsc;
use crate::sync::Deadline;

/// How far the TSC's rate may be from what it was, in parts per million. Frequencies that change do so in steps of
/// several per cent; a host that stops the emulator while two counters are read makes far less than one.
const DRIFT_LIMIT_PPM: u64 = 10_000;

/// The shortest window in which the drift is measured: as long as a calibration.
const DRIFT_WINDOW_MS: u64 = 3 * CALIBRATION_MS;

/// How often a rate is measured until it is the right one.
const ATTEMPTS: u32 = 5;

/// The timer that the TSC was measured against, or could have been.
static REFERENCE: Once<Begun> = Once::new();

struct Begun {
    reference: ReferenceClock,
    pair: Pair,
}

/// Both counters at about one moment.
#[derive(Clone, Copy)]
struct Pair {
    tsc: u64,
    reference: u64,
}

impl Pair {
    /// Of five tries the one that took the least time: in the others something came in between.
    fn take(reference: &ReferenceClock) -> Pair {
        let attempt = || {
            let before = read_tsc();
            let pair = Pair { reference: reference.read(), tsc: read_tsc() };
            (pair.tsc.wrapping_sub(before), pair)
        };
        let first = attempt();
        (1..5).map(|_| attempt()).fold(first, |best, next| if next.0 < best.0 { next } else { best }).1
    }
}

/// What the time is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// `tsc`, `hpet` or `pm_timer`.
    pub name: &'static str,
    /// Why it is not the TSC, or should not be.
    pub distrust: Option<Distrust>,
    /// What the warp test found.
    pub warp: Warp,
    /// That in nanoseconds.
    pub skew_ns: u64,
    /// How far the TSC's rate is from what it was, where there is something to measure it by.
    pub drift_ppm: Option<u64>,
}

/// What speaks against the TSC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// Two CPUs' TSCs tell different times.
    Warped {
        /// By how many cycles, at least.
        cycles: u64,
    },
    /// Its rate has changed, or was told wrongly.
    Drifts {
        /// By how much.
        ppm: u64,
    },
    /// The user asked for another.
    NotChosen,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distrust::Warped { cycles } => write!(f, "the CPUs' TSCs are {cycles} cycles apart"),
            Distrust::Drifts { ppm } => {
                write!(f, "the TSC's rate is {ppm} parts per million from what it should be")
            }
            Distrust::NotChosen => f.write_str("asked for on the command line"),
        }
    }
}

/// Begins the interval over which the rate is compared.
pub(super) fn begin(reference: Option<ReferenceClock>) {
    if let Some(reference) = reference {
        let pair = Pair::take(&reference);
        REFERENCE.call_once(|| Begun { reference, pair });
    }
}

/// Decides what the time is read from. Once, by the boot processor, interrupts on, when it has done
/// [`look_for_warps`](super::look_for_warps) with each online CPU and before any of them depends on the time.
///
/// After a change each CPU must [`timer::restart`].
pub fn decide(features: &Features, clock: &Clock, choice: ClockChoice) -> Counter {
    let warp = warp::found(&Deadline::after_ms(IPI_CALL_TIMEOUT_MS));
    let drift_ppm = REFERENCE.get().map(|begun| drift_ppm(begun, clock.tsc_hz));
    let is_vouched_for = features.invariant_tsc && matches!(clock.source, Source::Measured(_));
    let distrust = if warp.skew_cycles > 0 {
        Some(Distrust::Warped { cycles: warp.skew_cycles })
    } else if let Some(ppm) = drift_ppm.filter(|ppm| *ppm > DRIFT_LIMIT_PPM && !is_vouched_for) {
        Some(Distrust::Drifts { ppm })
    } else {
        [ClockChoice::Hpet, ClockChoice::PmTimer].contains(&choice).then_some(Distrust::NotChosen)
    };
    let skew_ns = (u128::from(warp.skew_cycles) * 1_000_000_000).div_ceil(u128::from(clock.tsc_hz)) as u64;
    let mut counter = Counter { name: "tsc", distrust, warp, skew_ns, drift_ppm };
    let Some(distrust) = distrust.filter(|_| choice != ClockChoice::Tsc) else { return counter };
    match REFERENCE.get() {
        Some(begun) if fallback::switch_to(&begun.reference, now::now_ns()) => {
            counter.name = begun.reference.name();
            timer::give_up_deadline_mode(clock);
            if let Err(error) = fallback::keep_alive() {
                log::warn!("the clock may lose time: {error}");
            }
            log::warn!("the clock is the {}: {distrust}", counter.name);
        }
        _ => log::warn!("{distrust}, but the machine has no {} that counts: keeping the TSC", choice.timer()),
    }
    counter
}

fn drift_ppm(begun: &Begun, tsc_hz: u64) -> u64 {
    let Begun { reference, pair } = begun;
    let clock = reference.clock();
    let mut begin = *pair;
    let mut least = u64::MAX;
    for _ in 0..ATTEMPTS {
        let elapsed_ns =
            |tsc: u64| (u128::from(tsc.wrapping_sub(begin.tsc)) * 1_000_000_000 / u128::from(tsc_hz)) as u64;
        let window_ns = DRIFT_WINDOW_MS * 1_000_000;
        let elapsed = elapsed_ns(read_tsc());
        if elapsed > clock.wrap_ns() / 2 {
            // Who knows how often the reference has wrapped.
            begin = Pair::take(reference);
        }
        if elapsed < window_ns {
            Deadline::after_us(window_ns.div_ceil(1000)).wait();
        }
        let end = Pair::take(reference);
        let cycles = end.tsc.wrapping_sub(begin.tsc);
        if let Some(hz) = clock.frequency_hz(cycles, begin.reference, end.reference) {
            least = least.min(parts_per_million(hz.abs_diff(tsc_hz), tsc_hz));
        }
        if least <= DRIFT_LIMIT_PPM {
            break;
        }
        begin = Pair::take(reference);
    }
    least
}
