//! Whether all CPUs' TSCs tell the same time.
//!
//! The boot processor and one other CPU at a time read their TSC against the greatest value that any CPU has read so far.
//! One that reads less is behind the CPU that was there before it, by at least the difference: its TSC *warps*. That is
//! found only where readings of the two alternate, so they go on until many have, or [`LIMIT_US`] are over. In pairs, since
//! under an emulator with fewer cores than CPUs many at once would mostly wait for each other's turn.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::now::read_counter;
use crate::cpu::IrqGuard;
use crate::sync::Deadline;

/// How often a CPU wants to find another's reading between two of its own.
const MEETINGS: u32 = 64;

/// How long a CPU tries at most, in microseconds, and how long the boot processor tries with it: the other has to be
/// interrupted first.
const LIMIT_US: u64 = 500;
const LIMIT_OF_BSP_US: u64 = 1_000;

/// So many readings a CPU makes in any case, and so many between two looks at the limit: an emulator may spend all that
/// time on translating the first.
const READINGS: u32 = 64;

/// The greatest reading so far.
static GREATEST: AtomicU64 = AtomicU64::new(0);
/// By how much a reading was less, at most.
static SKEW: AtomicU64 = AtomicU64::new(0);
static WARPS: AtomicU64 = AtomicU64::new(0);
static MET: AtomicU64 = AtomicU64::new(0);
/// CPUs that have begun, and those that are done.
static BEGUN: AtomicU32 = AtomicU32::new(0);
static DONE: AtomicU32 = AtomicU32::new(0);

/// What the CPUs have found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warp {
    /// By how many cycles a TSC was behind another, at most; 0 if none was.
    pub skew_cycles: u64,
    /// How often that was seen.
    pub times: u64,
    /// How often the readings of two CPUs alternated.
    pub meetings: u64,
    /// CPUs that were compared with the boot processor.
    pub cpus: u32,
}

/// The boot processor's part, with one other CPU: `ask` is to make that CPU call [`answer_for_warps`](answer), soon, and
/// says whether it will.
pub fn look(ask: impl FnOnce() -> bool) {
    let _guard = IrqGuard::new();
    let begun = BEGUN.load(Ordering::Relaxed) + 1;
    if ask() {
        BEGUN.store(begun, Ordering::Relaxed);
        alternate(LIMIT_OF_BSP_US, |_| DONE.load(Ordering::Acquire) >= begun);
    }
}

/// The other CPU's part. Interrupts may be on.
pub fn answer() {
    let _guard = IrqGuard::new();
    alternate(LIMIT_US, |met| met >= MEETINGS);
    DONE.fetch_add(1, Ordering::AcqRel);
}

fn alternate(limit_us: u64, is_done: impl Fn(u32) -> bool) {
    let limit = Deadline::after_us(limit_us);
    let (mut own, mut met) = (0, 0);
    loop {
        for _ in 0..READINGS {
            let greatest = GREATEST.load(Ordering::Acquire);
            // Ordered: not before the load.
            let tsc = read_counter();
            if tsc < greatest {
                SKEW.fetch_max(greatest - tsc, Ordering::Relaxed);
                WARPS.fetch_add(1, Ordering::Relaxed);
            }
            GREATEST.fetch_max(tsc, Ordering::AcqRel);
            met += u32::from(greatest != own);
            own = greatest.max(tsc);
        }
        if is_done(met) || limit.has_passed() {
            break;
        }
    }
    MET.fetch_add(u64::from(met), Ordering::Relaxed);
}

/// What has been found, when all that have been asked are done, at the latest at that deadline.
pub(super) fn found(deadline: &Deadline) -> Warp {
    let is_done = || DONE.load(Ordering::Acquire) >= BEGUN.load(Ordering::Relaxed);
    if deadline.wait_until(is_done).is_err() {
        log::warn!("not all CPUs have shown their TSC");
    }
    // One that is ahead shows only to who reads after it, and the last may have come when this CPU had given up.
    let _guard = IrqGuard::new();
    alternate(0, |_| true);
    Warp {
        skew_cycles: SKEW.load(Ordering::Relaxed),
        times: WARPS.load(Ordering::Relaxed),
        meetings: MET.load(Ordering::Relaxed),
        cpus: DONE.load(Ordering::Acquire),
    }
}
