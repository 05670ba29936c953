//! Whether all CPUs' TSCs tell the same time.
//!
//! The boot processor and one other CPU at a time read their TSC against the greatest value that any CPU has read so far.
//! One that reads less is behind the CPU that was there before it, by at least the difference: its TSC *warps*. That is
//! found only where readings of the two alternate, so they go on until many have, or [`LIMIT_US`] are over. In pairs, since
//! under an emulator with fewer cores than CPUs many at once would mostly wait for each other's turn. Two that an emulator
//! does not run at once take turns instead, by calls: their readings then alternate, if at longer intervals.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::now::read_counter;
use crate::cpu::IrqGuard;
use crate::sync::Deadline;

/// How often a CPU wants to find another's reading between two of its own, and how often at least. (The first it finds in
/// any case: the boot processor's last.)
const MEETINGS: u32 = 64;
const FEWEST_MEETINGS: u32 = 5;

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
/// How often the last CPU that was done had met another.
static MET_BY_LAST: AtomicU32 = AtomicU32::new(0);
/// CPUs that have met another often enough.
static COMPARED: AtomicU32 = AtomicU32::new(0);

/// What the CPUs have found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warp {
    /// By how many cycles a TSC was behind another, at most; 0 if none was.
    pub skew_cycles: u64,
    /// How often that was seen.
    pub times: u64,
    /// How often the readings of two CPUs alternated.
    pub meetings: u64,
    /// CPUs that were compared with another, often enough.
    pub cpus: u32,
}

/// The boot processor's part, with one other CPU: `ask` is to make that CPU call [`answer_for_warps`](answer), soon, and says
/// whether it will. Gives whether the two have met often enough; else that CPU is one to [take turns](take_turns) with.
pub fn look(ask: impl FnOnce() -> bool) -> bool {
    let _guard = IrqGuard::new();
    let begun = BEGUN.load(Ordering::Relaxed) + 1;
    if !ask() {
        return false;
    }
    BEGUN.store(begun, Ordering::Relaxed);
    let is_done = || DONE.load(Ordering::Acquire) >= begun;
    alternate(LIMIT_OF_BSP_US, |_| is_done());
    let have_met = is_done() && MET_BY_LAST.load(Ordering::Relaxed) >= FEWEST_MEETINGS;
    COMPARED.fetch_add(u32::from(have_met), Ordering::Relaxed);
    have_met
}

/// The boot processor's part with so many CPUs that it does not run at once with: `call` is to make all of them call
/// [`read_for_warps`](read) and wait until they have, and says whether they have. Each finds the reading of one that came
/// before, and this CPU finds the last. Interrupts on, so that `call` may halt.
pub fn take_turns(cpus: u32, call: impl Fn() -> bool) {
    let all_came = (0..FEWEST_MEETINGS).all(|_| {
        read();
        call()
    });
    COMPARED.fetch_add(if all_came { cpus } else { 0 }, Ordering::Relaxed);
}

/// The other CPU's part, as long as both run. Interrupts may be on.
pub fn answer() {
    let _guard = IrqGuard::new();
    let met = alternate(LIMIT_US, |met| met >= MEETINGS);
    MET_BY_LAST.store(met, Ordering::Relaxed);
    DONE.fetch_add(1, Ordering::AcqRel);
}

/// One reading of two CPUs that take turns.
pub fn read() {
    let _guard = IrqGuard::new();
    read_against(0);
    MET.fetch_add(1, Ordering::Relaxed);
}

/// Reads this CPU's TSC against the greatest reading; gives the greatest now, and whether it was another than `own` before.
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

/// Reads until that is so of how often it met another, or that many microseconds are over; gives how often it did.
fn alternate(limit_us: u64, is_done: impl Fn(u32) -> bool) -> u32 {
    let limit = Deadline::after_us(limit_us);
    let (mut own, mut met) = (0, 0);
    loop {
        for _ in 0..READINGS {
            let (greatest, met_another) = read_against(own);
            met += u32::from(met_another);
            own = greatest;
        }
        if is_done(met) || limit.has_passed() {
            break;
        }
    }
    MET.fetch_add(u64::from(met), Ordering::Relaxed);
    met
}

/// What has been found, when all that have been asked are done, at the latest at that deadline.
pub(super) fn found(deadline: &Deadline) -> Warp {
    let is_done = || DONE.load(Ordering::Acquire) >= BEGUN.load(Ordering::Relaxed);
    if deadline.wait_until(is_done).is_err() {
        log::warn!("not all CPUs have shown their TSC");
    }
    // One that is ahead shows only to who reads after it, and the last may have come when this CPU had given up.
    let _guard = IrqGuard::new();
    read_against(0);
    Warp {
        skew_cycles: SKEW.load(Ordering::Relaxed),
        times: WARPS.load(Ordering::Relaxed),
        meetings: MET.load(Ordering::Relaxed),
        cpus: COMPARED.load(Ordering::Relaxed),
    }
}
