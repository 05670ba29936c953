//! A CPU's wait for a lock: the CPU leaves a record of it ([`WaitSlot`]), and reports a wait that is too long.
//!
//! The waiting CPU has its interrupts off, so it cannot rely on a timer and reads the clock itself. After
//! [`WATCHDOG_MS`](crate::config::WATCHDOG_MS) it reports the wait by the [reporter](set_wait_reporter), and continues to
//! wait. Of several CPUs that wait for the same lock, one reports and the others are counted ([`StallReports`]). After
//! [`LOCK_TIMEOUT_MS`] a waiting CPU panics, so every wait ends. A CPU that waits for a lock that it holds panics at
//! once.

use core::fmt;
use core::panic::Location;

use super::deadline::now_ns;
use super::hook::Hook;
use super::lock_owner::LockOwner;
use super::named;
use super::queued::{Observer, QueuedLock};
use super::stall_reports::{ReportRole, StallReports};
use super::wait::{Site, StallTimer, WaitRecord, WaitSlot, WaitStage};
use crate::config::LOCK_TIMEOUT_MS;
use crate::cpu::CpuId;
use crate::cpu::per_cpu::PerCpu;
use crate::{patchable, per_cpu};

per_cpu! {
    static WAIT: WaitSlot = WaitSlot::new();
}

/// The polls of the lock between two reads of the clock. Under TCG, CPUs that read the clock wait for each other.
const POLLS_PER_CLOCK_READ: u32 = 1024;

patchable! {
    /// Returns the time, in milliseconds, after which a CPU that waits for a lock panics.
    ///
    /// **Context:** any.
    pub(crate) fn lock_timeout_ms() -> u64 {
        LOCK_TIMEOUT_MS
    }
}

/// Reports waits that are too long. Both functions run on the waiting CPU, with interrupts off, and take locks only by
/// `try_lock`: the stalled lock is held, by another CPU or by this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitReporter {
    /// Called when a wait has exceeded the watchdog's time-out. The role tells whether this CPU reports.
    pub stalled: fn(&LockWait, ReportRole),
    /// Called when the reporting CPU has acquired the lock, with the number of other CPUs whose waits were too long.
    pub over: fn(&LockWait, u32),
}

static REPORTER: Hook<WaitReporter> = Hook::new();

/// The locks whose stall is being reported.
static REPORTS: StallReports<16> = StallReports::new();

/// Sets the reporter. Only the first call has an effect.
pub(crate) fn set_wait_reporter(reporter: WaitReporter) {
    REPORTER.set(reporter);
}

/// A CPU's wait for a lock, for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockWait {
    /// The CPU that waits.
    pub cpu: CpuId,
    /// The lock's name, if it has one.
    pub lock: &'static str,
    /// The call site that waits.
    pub at: Site,
    /// The begin of the wait, in nanoseconds of the clock; 0 if the CPU has not read the clock yet.
    pub since_ns: u64,
    /// The length of the wait, in nanoseconds.
    pub waited_ns: u64,
    /// The lock's holder, as the waiting CPU has last seen it.
    pub holder: Option<CpuId>,
    /// The call site at which the holder took it.
    pub held_at: Site,
}

impl LockWait {
    fn of(cpu: CpuId, wait: &WaitRecord) -> LockWait {
        let waited_ns = match wait.since_ns {
            0 => 0,
            since_ns => now_ns().saturating_sub(since_ns),
        };
        let WaitRecord { lock, site, since_ns, holder, held_at } = *wait;
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

/// Returns whether this CPU waits for a spin lock: whether the caller is called inside a wait. **Context:** any.
pub(crate) fn is_waiting() -> bool {
    // SAFETY: this CPU's own copy, in an area that is never freed. `WaitSlot` is `Sync`, so shared borrows by other CPUs
    // are allowed.
    unsafe { &*WAIT.as_ptr() }.get().is_some()
}

/// The call site of the lock, if this CPU panics because of its wait; `panicked_at` is where the panic was raised. **Context:** any.
pub(crate) fn misused_at(panicked_at: Option<&Location<'_>>) -> Option<&'static Location<'static>> {
    if panicked_at?.file() != file!() {
        return None;
    }
    // SAFETY: this CPU's own copy, in an area that is never freed. `WaitSlot` is `Sync`, so shared borrows by other CPUs
    // are allowed.
    unsafe { &*WAIT.as_ptr() }.get()?.site.location()
}

/// Returns the wait of the CPU with that GS base, if it waits. **Context:** any.
///
/// # Safety
/// As for [`PerCpu::of`].
pub(crate) unsafe fn wait_of(cpu: CpuId, gs_base: usize) -> Option<LockWait> {
    // SAFETY: the GS base is that of a CPU whose area lives, guaranteed by the caller (see # Safety).
    let wait = unsafe { WAIT.of(gs_base) }.get()?;
    Some(LockWait::of(cpu, &wait))
}

/// Waits for a lock that is held, and takes it.
///
/// # Panics
/// If this CPU holds the lock, or if the wait exceeds [`LOCK_TIMEOUT_MS`].
#[cold]
#[inline(never)]
pub(super) fn acquire(owner: &LockOwner, lock: &QueuedLock, me: u64, location: &'static Location<'static>) {
    // SAFETY: this CPU's own copy, in an area that is never freed. `WaitSlot` is `Sync`, so shared borrows by other CPUs
    // are allowed.
    let slot = unsafe { &*WAIT.as_ptr() };
    // An exception handler may wait inside another wait.
    let outer = slot.get();
    let cpu = CpuId(me as u32 - 1);
    let wait = WaitRecord {
        lock: core::ptr::from_ref(owner).addr(),
        site: Site::of(location),
        ..WaitRecord::default()
    };
    let mut waiting = ContendedWait { cpu, owner, slot, wait, stall: None, has_claim: false, polls: 0 };
    waiting.enter();
    if waiting.wait.holder == Some(cpu) {
        let wait = LockWait::of(cpu, &waiting.wait);
        panic!("cpu {cpu} {wait}");
    }
    lock.acquire_contended(me, &mut waiting);
    // Before the record is cleared: while `is_waiting` holds, the called code waits for no lock.
    waiting.end_report();
    slot.set(outer);
}

struct ContendedWait<'a> {
    cpu: CpuId,
    owner: &'a LockOwner,
    slot: &'static WaitSlot,
    wait: WaitRecord,
    /// `None` before the first read of the clock.
    stall: Option<StallTimer>,
    /// Whether this CPU is the one that reports the lock's stall.
    has_claim: bool,
    polls: u32,
}

impl ContendedWait<'_> {
    /// Copies the lock's current holder into the record.
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
    fn check_clock(&mut self) {
        let now_ns = now_ns();
        let Some(stall) = &mut self.stall else {
            self.stall = Some(StallTimer::new(now_ns));
            self.wait.since_ns = now_ns;
            return self.enter();
        };
        let stage = stall.check(now_ns, lock_timeout_ms());
        self.enter();
        match (stage, REPORTER.get()) {
            (WaitStage::Stalled, Some(reporter)) => {
                let role = REPORTS.claim(self.wait.lock);
                self.has_claim = role == ReportRole::Reporter;
                (reporter.stalled)(&LockWait::of(self.cpu, &self.wait), role);
            }
            (WaitStage::Waiting | WaitStage::Stalled, _) => {}
            (WaitStage::Expired, _) => {
                let wait = LockWait::of(self.cpu, &self.wait);
                panic!("cpu {} {wait}", self.cpu)
            }
        }
    }
}

// SAFETY: `waiting` does not unwind: the kernel's panics do not unwind (the panic handler in `panic` never returns).
unsafe impl Observer for ContendedWait<'_> {
    #[inline]
    fn waiting(&mut self) {
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(POLLS_PER_CLOCK_READ) {
            self.check_clock();
        }
    }
}
