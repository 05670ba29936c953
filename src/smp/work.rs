//! Work for all online CPUs. The lock-free part, which decides how long a CPU may use what the work borrows, is
//! [`work_slot`](crate::sync::work_slot).

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::wake::{Woken, interrupt_each, is_due, wake_waiter};
use super::{Cpu, cpus, hotplug, online, online_set, scheduler, watchdog};
use crate::apic::{ApicError, Batch, Message};
use crate::console;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard, interrupts_enabled};
use crate::interrupts::{PreemptGuard, Vector};
use crate::per_cpu;
use crate::sync::work_slot::Phase;
use crate::sync::{SpinLockIrq, Timeout};
use crate::time::{halt_for, now_ns, timer};
use crate::trace;

/// The interval at which a wake-up IPI that could not be sent is sent again.
const WAKE_RETRY: Duration = Duration::from_millis(10);

/// The current work. `None` while there is none, so that no pointer to a function outlives [`on_each_cpu`].
static WORK: SpinLockIrq<Option<BorrowedWork>> = SpinLockIrq::new(None);
crate::name_lock!(WORK);

/// A borrowed function without its lifetime, and the CPU that waits until all others have finished it.
#[derive(Clone, Copy)]
struct BorrowedWork {
    function: *const (dyn Fn(&'static Cpu) + Sync),
    owner: CpuId,
}

// SAFETY: the function is `Sync`, and `on_each_cpu` keeps `Published`, and with it the borrow, until every use has ended.
unsafe impl Send for BorrowedWork {}

/// Why [`on_each_cpu`] did not run the work, or not on every CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkError {
    /// The caller's interrupts are off, so it must not halt. The work was not run.
    InterruptsOff,
    /// Other work is running, which may be that of the caller. The work was not run.
    Busy {
        /// The CPU that waits for the other work.
        by: CpuId,
    },
    /// The work was withdrawn from CPUs that did not begin it in time. All others have run it.
    NotBegun {
        /// The first of them.
        first: CpuId,
        /// Their number.
        count: u32,
        /// The time-out, in milliseconds.
        ms: u64,
        /// Why no IPI could be sent to the first, if that was the reason.
        error: Option<ApicError>,
    },
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkError::InterruptsOff => {
                f.write_str("work for all CPUs cannot be started with interrupts off")
            }
            WorkError::Busy { by } => write!(f, "cpu {by} already runs work on all CPUs"),
            WorkError::NotBegun { first, count, ms, error } => {
                write!(f, "cpu {first} ")?;
                if *count > 1 {
                    write!(f, "and {} more ", count - 1)?;
                }
                write!(f, "did not begin work in {ms} ms")?;
                match error {
                    Some(error) => write!(f, ": {error}"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// The published work, until this is dropped.
struct Published;

impl Published {
    fn new(work: BorrowedWork) -> Result<Published, WorkError> {
        let mut published = WORK.lock();
        match &*published {
            Some(other) => Err(WorkError::Busy { by: other.owner }),
            None => {
                *published = Some(work);
                Ok(Published)
            }
        }
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        *WORK.lock() = None;
    }
}

/// Runs `work` on every CPU that is online now, this one included, with interrupts on. Returns when all have finished. A
/// CPU that goes offline at an offline point of its work takes part until it has come back and finished. A CPU that comes
/// online meanwhile takes no part.
///
/// An IPI that cannot be sent is sent again while this CPU waits.
///
/// **Context:** thread, interrupts on, no lock held, not inside other work. Halts, up to twice `limit_ms` milliseconds
/// longer than this CPU's own part takes.
///
/// # Errors
/// See [`WorkError`].
///
/// # Panics
/// If a CPU that has begun the work has not finished it `limit_ms` after this one: it may still use what `work` borrows.
/// Time in which the host stopped the machine does not count.
pub fn on_each_cpu(limit_ms: u64, work: &(dyn Fn(&'static Cpu) + Sync)) -> Result<(), WorkError> {
    if !interrupts_enabled() {
        return Err(WorkError::InterruptsOff);
    }
    // The owner runs its own part, so it stays on its CPU.
    let _stays = PreemptGuard::new();
    let owner = cpu::current();
    // SAFETY: only the lifetime changes. A CPU uses the function only between `Phase::take` and `Phase::finish` of its
    // work slot (`run`). Below, `OwnerWait::wait_for` returns for each participant when `WorkSlot::is_over` holds, or when
    // `Phase::withdraw` has succeeded, after which the CPU cannot take the work; otherwise it panics, and this function
    // never returns.
    let function = unsafe {
        core::mem::transmute::<*const (dyn Fn(&'static Cpu) + Sync + '_), *const (dyn Fn(&'static Cpu) + Sync)>(
            work,
        )
    };
    let published = Published::new(BorrowedWork { function, owner })?;
    let participants = online_set::offer_work();
    let mut others = participants.clone();
    others.remove(owner);
    let woken = interrupt_each(others.iter(), Vector::RESCHEDULE);
    // By a timer, since this CPU's own part may wait for those of other CPUs.
    let retry = woken.outcome.err().and_then(|error| {
        log::warn!("{error}; retrying");
        timer::every(WAKE_RETRY, |_| wake_offered(), 0).ok()
    });
    // Until all have finished: CPUs at work watch each other, and this one watches a CPU that has not begun.
    let beating = watchdog::begin();
    run(&cpus()[owner.index()]);
    let mut waiting =
        OwnerWait { limit_ms, timeout: Timeout::after_ms(limit_ms), woken, not_begun: CpuSet::EMPTY };
    participants.iter().for_each(|cpu| waiting.wait_for(&cpus()[cpu.index()]));
    retry.map(timer::cancel);
    drop(beating);
    drop(published);
    waiting.outcome()
}

/// The owner's wait for the participants.
struct OwnerWait {
    limit_ms: u64,
    /// For all participants together.
    timeout: Timeout,
    woken: Woken,
    not_begun: CpuSet,
}

impl OwnerWait {
    /// Waits until the CPU no longer uses the work.
    fn wait_for(&mut self, cpu: &'static Cpu) {
        let is_over = || cpu.work.is_over(&cpu.hotplug);
        if halt_for(&mut self.timeout, is_over, || {}).is_ok() {
            return;
        }
        if cpu.work.apply(Phase::withdraw) {
            self.not_begun.insert(cpu.id());
            return;
        }
        // A CPU that was woken late has begun late.
        let mut more = Timeout::after_ms(self.limit_ms);
        if !self.woken.missed.contains(cpu.id()) || halt_for(&mut more, is_over, || {}).is_err() {
            panic!("cpu {} has not finished its work {} ms after the owner", cpu.id(), self.limit_ms);
        }
    }

    fn outcome(&self) -> Result<(), WorkError> {
        let Some(first) = self.not_begun.iter().next() else { return Ok(()) };
        let error = self.woken.outcome.err().filter(|_| self.woken.missed.contains(first));
        Err(WorkError::NotBegun {
            first,
            count: self.not_begun.len() as u32,
            ms: self.limit_ms,
            error: error.map(|error| error.error),
        })
    }
}

/// Sends the wake-up IPI again to CPUs that have not taken their work. A timer callback, which does not wait for a busy
/// ICR: it expires again soon.
fn wake_offered() {
    let mut batch = Batch::without_waiting();
    for cpu in online().filter(|cpu| cpu.work.phase() == Phase::Offered) {
        let _ = batch.send(&IrqGuard::new(), cpu.entry.apic_id, Message::Fixed(Vector::RESCHEDULE));
    }
}

per_cpu! {
    /// How long this CPU's own thread has run work for all CPUs, in nanoseconds, while all events are recorded.
    static WORK_NS: AtomicU64 = AtomicU64::new(0);
}

/// Returns how long a CPU's own thread has run work for all CPUs, while all events are recorded. **Context:** any; work under way is not
/// counted yet.
pub(crate) fn work_ns(cpu: &Cpu) -> u64 {
    cpu.get(WORK_NS).map_or(0, |ns| ns.load(Ordering::Relaxed))
}

/// Runs the work that this CPU is offered, unless it was withdrawn.
fn run(me: &'static Cpu) {
    if !me.work.apply(Phase::take) {
        return;
    }
    let work = *WORK.lock();
    let Some(BorrowedWork { function, owner }) = work else {
        unreachable!("the owner of work waits for all that have taken it");
    };
    let beating = watchdog::begin();
    let began_ns = trace::records_hot_events().then(now_ns);
    // SAFETY: this CPU has taken the work (`Phase::take` above) and not finished it. Until then `OwnerWait::wait_for` in
    // `on_each_cpu` does not return for this CPU, so the borrow lives.
    unsafe { (*function)(me) };
    drop(beating);
    if let Some(began_ns) = began_ns {
        WORK_NS
            .with(&IrqGuard::new(), |ns| ns.fetch_add(now_ns().saturating_sub(began_ns), Ordering::Relaxed));
    }
    me.work.apply(Phase::finish);
    if owner != me.id() {
        wake_waiter(&cpus()[owner.index()]);
    }
}

/// Returns whether this CPU's own thread has work for all CPUs to run, or a request to go offline. It runs before all others
/// then.
///
/// **Context:** interrupts off.
#[inline(always)]
pub(crate) fn is_own_thread_due() -> bool {
    let me = &cpus()[cpu::current().index()];
    is_due(me) || hotplug::is_offline_requested(me)
}

/// The idle loop, which each CPU's own thread runs: runs work, goes offline on request, runs the scheduler's threads, and
/// halts otherwise.
pub(crate) fn idle() -> ! {
    let me = &cpus()[cpu::current().index()];
    loop {
        console::send_overdue();
        let mut guard = IrqGuard::new();
        if is_due(me) {
            drop(guard);
            run(me);
        } else if hotplug::is_offline_requested(me) {
            drop(guard);
            hotplug::offline_from_idle(me);
        } else {
            // An interrupt that arrives after the checks above ends the halt.
            scheduler::halt_or_run(&mut guard);
        }
    }
}
