//! The record of a CPU that waits for a lock, which other CPUs and NMI handlers can read at any time. It compiles on any
//! host, where tests and models run it.
//!
//! Only the waiting CPU writes its record, with a sequence number around each change; a reader discards a record that
//! changed while it was read (a *seqlock* in Linux). All fields are atomic. A reader follows no pointer into the lock,
//! which may not exist any more: the waiting CPU copies the lock's holder into its record from time to time.

use core::panic::Location;

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(loom)]
use loom::sync::atomic::fence;

use super::heartbeat::BEATS_PER_TIMEOUT;
#[cfg(loom)]
use super::model_atomics::{AtomicU64, AtomicUsize, Ordering};
use crate::config::WATCHDOG_MS;
use crate::cpu::CpuId;

/// A call site, as a number that fits into an atomic: the address of a [`Location`], or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site(usize);

impl Site {
    /// Creates a site.
    #[inline(always)]
    pub fn of(location: &'static Location<'static>) -> Site {
        Site(core::ptr::from_ref(location).expose_provenance())
    }

    /// Creates a site from [`Site::bits`].
    ///
    /// # Safety
    /// `bits` are those of a site, or 0.
    pub(crate) unsafe fn from_bits(bits: usize) -> Site {
        Site(bits)
    }

    /// Returns its number, which is 0 for no site.
    #[inline(always)]
    pub(crate) fn bits(self) -> usize {
        self.0
    }

    /// Returns its location, if there is one.
    pub fn location(self) -> Option<&'static Location<'static>> {
        let location = core::ptr::with_exposed_provenance::<Location<'static>>(self.0);
        // SAFETY: the number is 0 or the address of a `&'static Location`, as `of` stores it and `from_bits` requires it.
        unsafe { location.as_ref() }
    }

    /// Returns ` at FILE:LINE` for a sentence, or nothing if there is no location.
    #[cfg(all(target_os = "none", feature = "checked"))]
    pub(crate) fn at(self) -> impl core::fmt::Display {
        core::fmt::from_fn(move |f| match self.location() {
            Some(at) => write!(f, " at {}:{}", at.file(), at.line()),
            None => Ok(()),
        })
    }
}

/// A snapshot of a CPU's wait for a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WaitRecord {
    /// The address of the lock.
    pub lock: usize,
    /// The call site that waits.
    pub site: Site,
    /// The begin of the wait, in nanoseconds of the clock; 0 if the CPU has not read the clock yet.
    pub since_ns: u64,
    /// The CPU that held the lock when the waiting CPU last checked.
    pub holder: Option<CpuId>,
    /// The call site at which that CPU took it.
    pub held_at: Site,
}

/// The record of one CPU.
pub(crate) struct WaitSlot {
    /// Odd while the record is being changed.
    sequence: AtomicU64,
    /// 0 while the CPU does not wait.
    lock: AtomicUsize,
    site: AtomicUsize,
    since_ns: AtomicU64,
    /// One more than its number, or 0.
    holder: AtomicU64,
    held_at: AtomicUsize,
}

impl WaitSlot {
    /// Creates the record of a CPU that does not wait.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> WaitSlot {
        WaitSlot {
            sequence: AtomicU64::new(0),
            lock: AtomicUsize::new(0),
            site: AtomicUsize::new(0),
            since_ns: AtomicU64::new(0),
            holder: AtomicU64::new(0),
            held_at: AtomicUsize::new(0),
        }
    }

    /// Creates the record of a CPU that does not wait.
    #[cfg(loom)]
    pub fn new() -> WaitSlot {
        WaitSlot {
            sequence: AtomicU64::new(0),
            lock: AtomicUsize::new(0),
            site: AtomicUsize::new(0),
            since_ns: AtomicU64::new(0),
            holder: AtomicU64::new(0),
            held_at: AtomicUsize::new(0),
        }
    }

    /// Replaces the record. **Context:** on its own CPU, interrupts off; not NMI.
    pub(crate) fn set(&self, wait: Option<WaitRecord>) {
        let wait = wait.unwrap_or_default();
        let sequence = self.sequence.load(Ordering::Relaxed).wrapping_add(1);
        self.sequence.store(sequence, Ordering::Relaxed);
        // A reader that sees a new field also sees the odd number.
        fence(Ordering::Release);
        self.lock.store(wait.lock, Ordering::Relaxed);
        self.site.store(wait.site.bits(), Ordering::Relaxed);
        self.since_ns.store(wait.since_ns, Ordering::Relaxed);
        self.holder.store(wait.holder.map_or(0, |cpu| u64::from(cpu.0) + 1), Ordering::Relaxed);
        self.held_at.store(wait.held_at.bits(), Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Release);
    }

    /// Returns the record. `None` if the CPU does not wait, or changes the record at this moment. **Context:** any, on
    /// any CPU.
    pub(crate) fn get(&self) -> Option<WaitRecord> {
        let before = self.sequence.load(Ordering::Acquire);
        let lock = self.lock.load(Ordering::Relaxed);
        let (site, held_at) = (self.site.load(Ordering::Relaxed), self.held_at.load(Ordering::Relaxed));
        let since_ns = self.since_ns.load(Ordering::Relaxed);
        let holder = self.holder.load(Ordering::Relaxed);
        // Orders the reads of the fields before the second read of the number.
        fence(Ordering::Acquire);
        if lock == 0 || !before.is_multiple_of(2) || self.sequence.load(Ordering::Relaxed) != before {
            return None;
        }
        // SAFETY: only `set` stores into the field, and it stores a site's bits.
        let site = unsafe { Site::from_bits(site) };
        // SAFETY: only `set` stores into the field, and it stores a site's bits.
        let held_at = unsafe { Site::from_bits(held_at) };
        let holder = (holder as u32).checked_sub(1).map(CpuId);
        Some(WaitRecord { lock, site, since_ns, holder, held_at })
    }
}

impl Default for WaitSlot {
    fn default() -> Self {
        WaitSlot::new()
    }
}

/// Measures a wait, as the waiting CPU sees it, in periods of an eighth of the watchdog's time-out. If the host stops the
/// machine, the clock jumps, which counts as one period.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StallTimer {
    last_ns: u64,
    periods: u32,
}

/// The result of [`StallTimer::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitStage {
    /// The wait continues.
    Waiting,
    /// The wait has just exceeded the watchdog's time-out.
    Stalled,
    /// The wait has exceeded the limit.
    Expired,
}

/// A period, in nanoseconds.
const PERIOD_NS: u64 = WATCHDOG_MS * 1_000_000 / BEATS_PER_TIMEOUT as u64;

impl StallTimer {
    /// Begins a wait.
    pub(crate) fn new(now_ns: u64) -> StallTimer {
        StallTimer { last_ns: now_ns, periods: 0 }
    }

    /// Updates the wait by the time `now_ns`. Returns [`WaitStage::Stalled`] once, and [`WaitStage::Expired`] after
    /// `limit_ms`.
    pub(crate) fn check(&mut self, now_ns: u64, limit_ms: u64) -> WaitStage {
        if now_ns.saturating_sub(self.last_ns) < PERIOD_NS {
            return WaitStage::Waiting;
        }
        self.last_ns = now_ns;
        self.periods = self.periods.saturating_add(1);
        match u64::from(self.periods) * PERIOD_NS {
            waited if waited >= limit_ms * 1_000_000 => WaitStage::Expired,
            _ if self.periods == BEATS_PER_TIMEOUT => WaitStage::Stalled,
            _ => WaitStage::Waiting,
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    //! A reader never sees parts of two records, by loom.

    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::sync::model_atomics::{Accesses, explore};

    #[test]
    fn a_wait_is_read_whole_or_not_at_all() {
        explore(Some(2), &[Accesses::Exchanges, Accesses::Plain], || {
            let slot = Arc::new(WaitSlot::new());
            let wait = |number: u64| WaitRecord {
                lock: number as usize,
                since_ns: number,
                holder: Some(CpuId(number as u32)),
                ..WaitRecord::default()
            };
            let writer = thread::spawn({
                let slot = slot.clone();
                move || {
                    slot.set(Some(wait(1)));
                    slot.set(Some(wait(2)));
                    slot.set(None);
                }
            });
            if let Some(seen) = slot.get() {
                assert!(seen == wait(1) || seen == wait(2), "{seen:?}");
            }
            writer.join().unwrap();
            assert_eq!(slot.get(), None);
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_was_entered_until_the_wait_ends() {
        let slot = WaitSlot::new();
        assert_eq!(slot.get(), None);
        let site = Site::of(Location::caller());
        let wait =
            WaitRecord { lock: 64, site, since_ns: 5, holder: Some(CpuId(0)), held_at: Site::default() };
        slot.set(Some(wait));
        assert_eq!(slot.get(), Some(wait));
        assert!(slot.get().unwrap().site.location().unwrap().file().ends_with("wait.rs"));
        assert_eq!(slot.get().unwrap().held_at.location(), None);
        slot.set(None);
        assert_eq!(slot.get(), None);
    }

    /// Returns the stages of a wait whose CPU reads the clock each `step_ns`, until it expires.
    fn stages(step_ns: u64, limit_ms: u64) -> Vec<(u64, WaitStage)> {
        let mut stall = StallTimer::new(7);
        let checks = (1..).map(|check| (check, stall.check(7 + check * step_ns, limit_ms)));
        let mut seen = Vec::new();
        for (check, stage) in checks.filter(|(_, stage)| *stage != WaitStage::Waiting) {
            seen.push((check, stage));
            if stage == WaitStage::Expired {
                break;
            }
        }
        seen
    }

    #[test]
    fn a_wait_is_stalled_once_and_expires_in_the_end() {
        let beats = u64::from(BEATS_PER_TIMEOUT);
        let limit_ms = 3 * WATCHDOG_MS;
        assert_eq!(
            stages(PERIOD_NS, limit_ms),
            [(beats, WaitStage::Stalled), (3 * beats, WaitStage::Expired)]
        );
        let tenth = stages(PERIOD_NS / 10, limit_ms);
        assert_eq!(tenth, [(10 * beats, WaitStage::Stalled), (30 * beats, WaitStage::Expired)]);
    }

    #[test]
    fn a_clock_that_jumps_counts_once() {
        // The host stops the machine before each check, for longer than the limit.
        let beats = u64::from(BEATS_PER_TIMEOUT);
        let limit_ms = 2 * WATCHDOG_MS;
        let jumping = stages(100 * limit_ms * 1_000_000, limit_ms);
        assert_eq!(jumping, [(beats, WaitStage::Stalled), (2 * beats, WaitStage::Expired)]);
    }
}
