//! Whether all CPUs' TSCs tell the same time.
//!
//! All CPUs at once read their TSC against the greatest value that any has read so far. One that reads less is behind the
//! CPU that was there before it, by at least the difference: its TSC *warps*. That is found only where readings of two
//! CPUs alternate, so each goes on until it has seen many of others' between its own, at most for [`LIMIT_US`]; the boot
//! processor goes on until the others are done, so that the last one meets somebody too.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::now::read_counter;
use crate::cpu::{self, CpuId, IrqGuard};
use crate::sync::Deadline;

/// How often a CPU wants to find another's reading between two of its own.
const MEETINGS: u32 = 64;

/// How long a CPU tries at most, in microseconds, and how long the boot processor waits for the others.
const LIMIT_US: u64 = 2_000;
const LIMIT_OF_BSP_US: u64 = 100_000;
/// So many readings a CPU makes in any case: an emulator may spend all that time on translating the first.
const LEAST_READINGS: u32 = 1_000;

/// The greatest reading so far.
static GREATEST: AtomicU64 = AtomicU64::new(0);
/// By how much a reading was less, at most.
static SKEW: AtomicU64 = AtomicU64::new(0);
static WARPS: AtomicU64 = AtomicU64::new(0);
static MET: AtomicU64 = AtomicU64::new(0);
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
}

/// Takes part in the test, with so many others: once, on each of `cpus` CPUs at about the same time. Interrupts may be on.
pub fn look(cpus: u32) {
    let _guard = IrqGuard::new();
    let is_bsp = cpu::current() == CpuId::BSP;
    let limit = Deadline::after_us(if is_bsp { LIMIT_OF_BSP_US } else { LIMIT_US });
    let (mut own, mut met, mut readings) = (0, 0, 0);
    while cpus > 1 && (readings < LEAST_READINGS || !limit.has_passed()) {
        readings += 1;
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
        let is_done = if is_bsp { DONE.load(Ordering::Acquire) + 1 >= cpus } else { met >= MEETINGS };
        if is_done {
            break;
        }
    }
    MET.fetch_add(u64::from(met), Ordering::Relaxed);
    DONE.fetch_add(1, Ordering::AcqRel);
}

/// What has been found.
pub(super) fn found() -> Warp {
    Warp {
        skew_cycles: SKEW.load(Ordering::Relaxed),
        times: WARPS.load(Ordering::Relaxed),
        meetings: MET.load(Ordering::Relaxed),
    }
}
