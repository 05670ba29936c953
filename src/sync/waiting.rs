//! A CPU that waits for a lock: it leaves a record of that ([`WaitSlot`]), and reports a wait that does not end.
//!
//! Such a CPU has its interrupts off, so it cannot rely on a timer: it looks at the clock itself. After
//! [`WATCHDOG_MS`](crate::config::WATCHDOG_MS) it reports itself by the [reporter](set_wait_reporter), which may not wait
//! for any lock, and waits on. Of the CPUs that wait for the same lock meanwhile one reports, and the others are counted
//! ([`StallReports`]). After [`LOCK_TIMEOUT_MS`] a CPU panics: every wait ends. A CPU that waits for itself panics at once.

use core::fmt;
use core::panic::Location;

use spin::Once;

use super::deadline::now_ns;
use super::named;
use super::queued::{Observer, QueuedLock};
use super::spin_lock::LockOwner;
use super::stall_reports::{StallReports, Turn};
use super::wait::{Site, Stage, Stall, Wait, WaitSlot};
use crate::config::LOCK_TIMEOUT_MS;
use crate::cpu::CpuId;
use crate::cpu::per_cpu::PerCpu;
use crate::per_cpu;

per_cpu! {
    static WAIT: WaitSlot = WaitSlot::new();
}

/// So many looks at the lock come between two at the clock. Under TCG, CPUs that read the clock wait for each other.
const LOOKS_PER_CLOCK: u32 = 1024;

/// Reports waits that have become too long. Both functions run on the waiting CPU, with interrupts off, and take no lock but
/// by `try_lock`: the lock that was waited for is held, by another CPU or by this one.
#[derive(Clone, Copy, Debug)]
pub struct WaitReporter {
    /// A wait has become too long. Of the CPUs that wait for the same lock one is to report.
    pub stalled: fn(&LockWait, Turn),
    /// A CPU that has reported has got the lock. So many other CPUs have waited too long meanwhile.
    pub over: fn(&LockWait, u32),
}

static REPORTER: Once<WaitReporter> = Once::new();

/// The locks whose stall is being reported.
static REPORTS: StallReports<16> = StallReports::new();

/// From now on waits that are too long are reported by these functions. Only the first call counts.
pub fn set_wait_reporter(reporter: WaitReporter) {
    REPORTER.call_once(|| reporter);
}

/// A wait for a lock, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockWait {
    /// The CPU that waits.
    pub cpu: CpuId,
    /// The lock's name, if it has one.
    pub lock: &'static str,
    /// Where the CPU waits.
    pub at: Site,
    /// Since when, in nanoseconds of the clock; 0 if it has only just begun.
    pub since_ns: u64,
    /// How long that has been, in nanoseconds.
    pub waited_ns: u64,
    /// Who holds the lock, as far as the waiting CPU has seen.
    pub holder: Option<CpuId>,
    /// Where the holder took it.
    pub held_at: Site,
}

impl LockWait {
    fn of(cpu: CpuId, wait: &Wait) -> LockWait {
        let waited_ns = match wait.since_ns {
            0 => 0,
            since_ns => now_ns().saturating_sub(since_ns),
        };
        let Wait { lock, site, since_ns, holder, held_at } = *wait;
        LockWait {
            cpu,
            lock: named::name_of(lock).unwrap_or("a lock without a name"),
            at: site,
            since_ns,
            waited_ns,
            holder,
            held_at,
        }
    }
}

impl fmt::Display for LockWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waits for {}", self.lock)?;
        if let Some(at) = self.at.location() {
            write!(f, " at {}:{}", at.file(), at.line())?;
        }
        if self.waited_ns > 0 {
            write!(f, " for {} ms", self.waited_ns / 1_000_000)?;
        }
        match self.holder {
            Some(holder) if holder == self.cpu => f.write_str(", which it holds itself")?,
            Some(holder) => write!(f, ", held by cpu {holder}")?,
            None => f.write_str(", which is free")?,
        }
        match self.held_at.location().filter(|_| self.holder.is_some()) {
            Some(at) => write!(f, ", taken at {}:{}", at.file(), at.line()),
            None => Ok(()),
        }
    }
}

/// Whether this CPU waits for a spin lock: where code runs that it calls meanwhile. Any context.
pub fn is_waiting() -> bool {
    // SAFETY: this CPU's own copy, which lives as long as the kernel; all of it is atomic.
    unsafe { &*WAIT.as_ptr() }.get().is_some()
}

/// What the CPU with that GS base waits for. Any context.
///
/// # Safety
/// As for [`PerCpu::of`].
pub unsafe fn wait_of(cpu: CpuId, gs_base: usize) -> Option<LockWait> {
    // SAFETY: the caller's obligations are the same.
    let wait = unsafe { WAIT.of(gs_base) }.get()?;
    Some(LockWait::of(cpu, &wait))
}

/// Waits for a lock that is held, and takes it.
#[cold]
#[inline(never)]
pub(super) fn acquire(owner: &LockOwner, lock: &QueuedLock, me: u64, location: &'static Location<'static>) {
    // SAFETY: this CPU's own copy, which lives as long as the kernel; all of it is atomic.
    let slot = unsafe { &*WAIT.as_ptr() };
    // A wait inside a wait: an exception handler's.
    let outer = slot.get();
    let cpu = CpuId(me as u32 - 1);
    let wait = Wait { lock: core::ptr::from_ref(owner).addr(), site: Site::of(location), ..Wait::default() };
    let mut waiting = Waiting { cpu, owner, slot, wait, stall: None, has_claim: false, looks: 0 };
    waiting.enter();
    if waiting.wait.holder == Some(cpu) {
        let wait = LockWait::of(cpu, &waiting.wait);
        panic!("cpu {cpu} {wait}");
    }
    lock.acquire_contended(me, &mut waiting);
    // Before the record of the wait is cleared: as long as it is there, nothing that is called waits for a lock.
    waiting.end_report();
    slot.set(outer);
}

struct Waiting<'a> {
    cpu: CpuId,
    owner: &'a LockOwner,
    slot: &'static WaitSlot,
    wait: Wait,
    /// `None` before the first look at the clock.
    stall: Option<Stall>,
    /// Whether this CPU is the one that reports the lock's stall.
    has_claim: bool,
    looks: u32,
}

impl Waiting<'_> {
    /// Enters who holds the lock now.
    fn enter(&mut self) {
        (self.wait.holder, self.wait.held_at) = (self.owner.get(), self.owner.site());
        self.slot.set(Some(self.wait));
    }

    fn end_report(&mut self) {
        if !core::mem::take(&mut self.has_claim) {
            return;
        }
        let others = REPORTS.end(self.wait.lock);
        if let Some(reporter) = REPORTER.get() {
            (reporter.over)(&LockWait::of(self.cpu, &self.wait), others);
        }
    }

    #[cold]
    fn look_at_clock(&mut self) {
        let now_ns = now_ns();
        let Some(stall) = &mut self.stall else {
            self.stall = Some(Stall::new(now_ns));
            self.wait.since_ns = now_ns;
            return self.enter();
        };
        let stage = stall.look(now_ns, LOCK_TIMEOUT_MS);
        self.enter();
        match (stage, REPORTER.get()) {
            (Stage::Stalled, Some(reporter)) => {
                let turn = REPORTS.claim(self.wait.lock);
                self.has_claim = turn == Turn::First;
                (reporter.stalled)(&LockWait::of(self.cpu, &self.wait), turn);
            }
            (Stage::Waiting | Stage::Stalled, _) => {}
            (Stage::Hopeless, _) => {
                let wait = LockWait::of(self.cpu, &self.wait);
                panic!("cpu {} {wait}", self.cpu)
            }
        }
    }
}

// SAFETY: the kernel's panics do not unwind (`panic::die` does not return).
unsafe impl Observer for Waiting<'_> {
    #[inline]
    fn waiting(&mut self) {
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(LOOKS_PER_CLOCK) {
            self.look_at_clock();
        }
    }
}
