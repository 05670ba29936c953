//! What is known of a CPU that waits for a lock: it leaves a record where other CPUs, and an NMI, can read it at any time.
//! Pure: tests and models run it on any host.
//!
//! The waiting CPU alone writes its record, and a sequence number around each change; whoever reads takes what was not
//! changed meanwhile (a *seqlock*, as Linux calls it). All of it is atomic, and a reader follows no pointer into the lock,
//! which may be gone by then: the waiting CPU enters the lock's holder itself, anew from time to time.

use core::panic::Location;

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(loom)]
use loom::sync::atomic::fence;

#[cfg(loom)]
use super::loomed::{AtomicU64, AtomicUsize, Ordering};
use super::watch::BEATS;
use crate::config::WATCHDOG_MS;
use crate::cpu::CpuId;

/// A place in the source, as a number that fits into an atomic: the address of a [`Location`], or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site(usize);

impl Site {
    /// That place.
    #[inline(always)]
    pub fn of(location: &'static Location<'static>) -> Site {
        Site(core::ptr::from_ref(location).expose_provenance())
    }

    /// What was stored by [`Site::bits`].
    ///
    /// # Safety
    /// `bits` are those of a site, or 0.
    pub(super) unsafe fn from_bits(bits: usize) -> Site {
        Site(bits)
    }

    /// For an atomic; 0 for no place.
    #[inline(always)]
    pub(super) fn bits(self) -> usize {
        self.0
    }

    /// The place, if there is one.
    pub fn location(self) -> Option<&'static Location<'static>> {
        let location = core::ptr::with_exposed_provenance::<Location<'static>>(self.0);
        // SAFETY: by `from_bits`'s contract and `of`, 0 or the address of a `&'static Location`.
        unsafe { location.as_ref() }
    }
}

/// A CPU's wait for a lock, as it was at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// The address of the lock, by which its name is found.
    pub lock: usize,
    /// Where the CPU waits.
    pub site: Site,
    /// Since when, in nanoseconds of the clock; 0 as long as it has not looked at the clock.
    pub since_ns: u64,
    /// The CPU that held the lock when this one last looked.
    pub holder: Option<CpuId>,
    /// Where that CPU took it.
    pub held_at: Site,
}

/// A CPU's record.
pub struct WaitSlot {
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
    /// Of a CPU that does not wait.
    #[cfg(not(loom))]
    pub const fn new() -> WaitSlot {
        WaitSlot {
            sequence: AtomicU64::new(0),
            lock: AtomicUsize::new(0),
            site: AtomicUsize::new(0),
            since_ns: AtomicU64::new(0),
            holder: AtomicU64::new(0),
            held_at: AtomicUsize::new(0),
        }
    }

    /// Of a CPU that does not wait.
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

    /// Replaces the record. Its own CPU alone calls this, and no NMI handler.
    pub fn set(&self, wait: Option<Wait>) {
        let wait = wait.unwrap_or_default();
        let sequence = self.sequence.load(Ordering::Relaxed).wrapping_add(1);
        self.sequence.store(sequence, Ordering::Relaxed);
        // Whoever sees one of the new fields sees the odd number too.
        fence(Ordering::Release);
        self.lock.store(wait.lock, Ordering::Relaxed);
        self.site.store(wait.site.bits(), Ordering::Relaxed);
        self.since_ns.store(wait.since_ns, Ordering::Relaxed);
        self.holder.store(wait.holder.map_or(0, |cpu| u64::from(cpu.0) + 1), Ordering::Relaxed);
        self.held_at.store(wait.held_at.bits(), Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Release);
    }

    /// The record. `None` if the CPU does not wait, or changes the record at this moment. Any CPU, any context.
    pub fn get(&self) -> Option<Wait> {
        let before = self.sequence.load(Ordering::Acquire);
        let lock = self.lock.load(Ordering::Relaxed);
        let (site, held_at) = (self.site.load(Ordering::Relaxed), self.held_at.load(Ordering::Relaxed));
        let since_ns = self.since_ns.load(Ordering::Relaxed);
        let holder = self.holder.load(Ordering::Relaxed);
        // The number below is not read before the fields above.
        fence(Ordering::Acquire);
        if lock == 0 || !before.is_multiple_of(2) || self.sequence.load(Ordering::Relaxed) != before {
            return None;
        }
        // SAFETY: nothing but a site's bits is ever stored in either, by `set`.
        let (site, held_at) = unsafe { (Site::from_bits(site), Site::from_bits(held_at)) };
        let holder = (holder as u32).checked_sub(1).map(CpuId);
        Some(Wait { lock, site, since_ns, holder, held_at })
    }
}

impl Default for WaitSlot {
    fn default() -> Self {
        WaitSlot::new()
    }
}

/// The rule when a wait has taken too long, as the waiting CPU itself sees it: by periods of an eighth of the watchdog's
/// time. When the host stops the whole machine, the clock goes on by one long step, which counts as one period.
#[derive(Clone, Copy, Debug)]
pub struct Stall {
    last_ns: u64,
    periods: u32,
}

/// What a look at the clock has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The wait goes on.
    Waiting,
    /// It has just become longer than the watchdog's time.
    Stalled,
    /// It has become so long that it will not end.
    Hopeless,
}

/// A period, in nanoseconds.
const PERIOD_NS: u64 = WATCHDOG_MS * 1_000_000 / BEATS as u64;

impl Stall {
    /// A wait that begins.
    pub fn new(now_ns: u64) -> Stall {
        Stall { last_ns: now_ns, periods: 0 }
    }

    /// Looks at the clock. [`Stage::Stalled`] is returned once; a wait is hopeless after `limit_ms` of such periods.
    pub fn look(&mut self, now_ns: u64, limit_ms: u64) -> Stage {
        if now_ns.saturating_sub(self.last_ns) < PERIOD_NS {
            return Stage::Waiting;
        }
        self.last_ns = now_ns;
        self.periods = self.periods.saturating_add(1);
        match u64::from(self.periods) * PERIOD_NS {
            waited if waited >= limit_ms * 1_000_000 => Stage::Hopeless,
            _ if self.periods == BEATS => Stage::Stalled,
            _ => Stage::Waiting,
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    //! A reader never sees parts of two records, by loom.

    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::sync::loomed::{Accesses, explore};

    #[test]
    fn a_wait_is_read_whole_or_not_at_all() {
        explore(Some(2), &[Accesses::Exchanges, Accesses::Plain], || {
            let slot = Arc::new(WaitSlot::new());
            let wait = |number: u64| Wait {
                lock: number as usize,
                since_ns: number,
                holder: Some(CpuId(number as u32)),
                ..Wait::default()
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
        let wait = Wait { lock: 64, site, since_ns: 5, holder: Some(CpuId(0)), held_at: Site::default() };
        slot.set(Some(wait));
        assert_eq!(slot.get(), Some(wait));
        assert!(slot.get().unwrap().site.location().unwrap().file().ends_with("wait.rs"));
        assert_eq!(slot.get().unwrap().held_at.location(), None);
        slot.set(None);
        assert_eq!(slot.get(), None);
    }

    /// The stages of a wait whose CPU looks at the clock each so many periods, until it is hopeless.
    fn stages(step_ns: u64, limit_ms: u64) -> Vec<(u64, Stage)> {
        let mut stall = Stall::new(7);
        let looks = (1..).map(|look| (look, stall.look(7 + look * step_ns, limit_ms)));
        let mut seen = Vec::new();
        for (look, stage) in looks.filter(|(_, stage)| *stage != Stage::Waiting) {
            seen.push((look, stage));
            if stage == Stage::Hopeless {
                break;
            }
        }
        seen
    }

    #[test]
    fn a_wait_is_stalled_once_and_hopeless_in_the_end() {
        let beats = u64::from(BEATS);
        let limit_ms = 3 * WATCHDOG_MS;
        assert_eq!(stages(PERIOD_NS, limit_ms), [(beats, Stage::Stalled), (3 * beats, Stage::Hopeless)]);
        let tenth = stages(PERIOD_NS / 10, limit_ms);
        assert_eq!(tenth, [(10 * beats, Stage::Stalled), (30 * beats, Stage::Hopeless)]);
    }

    #[test]
    fn a_clock_that_jumps_counts_once() {
        // Each look comes after a pause of the host's that is longer than the whole limit.
        let beats = u64::from(BEATS);
        let limit_ms = 2 * WATCHDOG_MS;
        let jumping = stages(100 * limit_ms * 1_000_000, limit_ms);
        assert_eq!(jumping, [(beats, Stage::Stalled), (2 * beats, Stage::Hopeless)]);
    }
}
