//! The TSC sync check: are the TSCs of all CPUs in step?
//!
//! The BSP and one AP at a time compare their TSCs with the greatest value that any CPU has read so far. A CPU that reads
//! less is behind the CPU that read the greatest value, by at least the difference: a TSC *warp*. This is detected only where
//! readings of the two CPUs alternate, so both continue until many have alternated, or for [`LIMIT_US`]. The check runs in
//! pairs: under an emulator with fewer cores than CPUs, many CPUs at once would mostly wait for each other. Two CPUs that an
//! emulator does not run in parallel alternate by calls instead ([`ping_pong`]), at longer intervals.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::now::read_counter;
use crate::cpu::IrqGuard;
use crate::sync::{Deadline, Timeout};

/// How many samples a CPU takes, and how many suffice. A sample is a reading of another CPU between two readings of this CPU.
/// (An AP always gets one: the BSP's last reading.)
const SKEW_SAMPLES: u32 = 64;
const MIN_SKEW_SAMPLES: u32 = 5;

/// How long an AP samples at most, in microseconds, and how long the BSP does: the AP must be interrupted first.
const LIMIT_US: u64 = 500;
const LIMIT_OF_BSP_US: u64 = 1_000;

/// The readings between two checks of the time limit. Also the least number of readings: an emulator may spend the whole time
/// limit on translating the first one.
const READINGS: u32 = 64;

/// The greatest reading so far.
static GREATEST: AtomicU64 = AtomicU64::new(0);
/// The largest difference by which a reading was less than [`GREATEST`].
static SKEW: AtomicU64 = AtomicU64::new(0);
/// How many readings were less than [`GREATEST`].
static WARPS: AtomicU64 = AtomicU64::new(0);
/// Samples so far.
static SAMPLES: AtomicU64 = AtomicU64::new(0);
/// How many APs have been asked to sample, and how many have finished.
static REQUESTED: AtomicU32 = AtomicU32::new(0);
static FINISHED: AtomicU32 = AtomicU32::new(0);
/// Samples of the AP that finished last.
static LAST_SAMPLES: AtomicU32 = AtomicU32::new(0);
/// APs with enough samples.
static COMPARED: AtomicU32 = AtomicU32::new(0);

/// The result of the TSC sync check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Warp {
    /// The largest skew seen between two TSCs, in cycles; 0 if there was none.
    pub skew_cycles: u64,
    /// How often a TSC was behind another.
    pub times: u64,
    /// How often readings of two CPUs alternated.
    pub samples: u64,
    /// The number of APs with enough samples.
    pub cpus: u32,
}

/// Compares the TSCs of the BSP and one AP. `ask` makes the AP call [`answer_skew_sample`](answer) and returns whether it will.
/// Returns whether there were enough samples; if not, the AP is one for [`ping_pong`].
///
/// **Context:** the BSP, interrupts enabled. Disables interrupts for up to 1 ms.
pub(crate) fn sample(ask: impl FnOnce() -> bool) -> bool {
    let _guard = IrqGuard::new();
    let asked = REQUESTED.load(Ordering::Relaxed) + 1;
    if !ask() {
        return false;
    }
    REQUESTED.store(asked, Ordering::Relaxed);
    let is_done = || FINISHED.load(Ordering::Acquire) >= asked;
    alternate(LIMIT_OF_BSP_US, |_| is_done());
    let is_enough = is_done() && LAST_SAMPLES.load(Ordering::Relaxed) >= MIN_SKEW_SAMPLES;
    COMPARED.fetch_add(u32::from(is_enough), Ordering::Relaxed);
    is_enough
}

/// Compares the TSCs of the BSP and of `cpus` APs that do not run in parallel with it. `call` makes all of them call
/// [`read_for_skew`](read), waits for them, and returns whether all have done so. Each AP compares its reading with an earlier
/// one, and the BSP with the last one.
///
/// **Context:** the BSP, interrupts enabled, so that `call` may halt.
pub(crate) fn ping_pong(cpus: u32, call: impl Fn() -> bool) {
    let all_answered = (0..MIN_SKEW_SAMPLES).all(|_| {
        read();
        call()
    });
    COMPARED.fetch_add(if all_answered { cpus } else { 0 }, Ordering::Relaxed);
}

/// The AP's part of [`sample`].
///
/// **Context:** thread or interrupt.
pub(crate) fn answer() {
    let _guard = IrqGuard::new();
    let samples = alternate(LIMIT_US, |samples| samples >= SKEW_SAMPLES);
    LAST_SAMPLES.store(samples, Ordering::Relaxed);
    FINISHED.fetch_add(1, Ordering::AcqRel);
}

/// Takes one reading for [`ping_pong`].
///
/// **Context:** thread or interrupt.
pub(crate) fn read() {
    let _guard = IrqGuard::new();
    read_against(0);
    SAMPLES.fetch_add(1, Ordering::Relaxed);
}

/// Compares this CPU's TSC with the greatest reading. Returns the greatest reading now, and whether it differed from `own`
/// before.
fn read_against(own: u64) -> (u64, bool) {
    let greatest = GREATEST.load(Ordering::Acquire);
    // Ordered: not before the load.
    let tsc = read_counter();
    if tsc < greatest {
        SKEW.fetch_max(greatest - tsc, Ordering::Relaxed);
        WARPS.fetch_add(1, Ordering::Relaxed);
    }
    GREATEST.fetch_max(tsc, Ordering::AcqRel);
    (greatest.max(tsc), greatest != own)
}

/// Takes readings until `is_done` of the number of samples is true, or for `limit_us` microseconds. Returns the number of
/// samples.
fn alternate(limit_us: u64, is_done: impl Fn(u32) -> bool) -> u32 {
    let limit = Deadline::after_us(limit_us);
    let (mut own, mut samples) = (0, 0);
    loop {
        for _ in 0..READINGS {
            let (greatest, has_alternated) = read_against(own);
            samples += u32::from(has_alternated);
            own = greatest;
        }
        if is_done(samples) || limit.has_passed() {
            break;
        }
    }
    SAMPLES.fetch_add(u64::from(samples), Ordering::Relaxed);
    samples
}

/// Waits until all APs have finished, at most for that time, and returns the result.
///
/// **Context:** the BSP.
pub(super) fn result(mut timeout: Timeout) -> Warp {
    let is_done = || FINISHED.load(Ordering::Acquire) >= REQUESTED.load(Ordering::Relaxed);
    if timeout.wait_until(is_done).is_err() {
        log::warn!("TSC sync check incomplete: not all CPUs have sampled their TSC");
    }
    // A TSC that is ahead is detected only by a later reading of another CPU, and the last AP may have finished after
    // `sample` timed out.
    let _guard = IrqGuard::new();
    read_against(0);
    Warp {
        skew_cycles: SKEW.load(Ordering::Relaxed),
        times: WARPS.load(Ordering::Relaxed),
        samples: SAMPLES.load(Ordering::Relaxed),
        cpus: COMPARED.load(Ordering::Relaxed),
    }
}
