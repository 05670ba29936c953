//! Work for all CPUs at once. Its lock-free half, who may still use what the work borrows, is
//! [`work_slot`](crate::sync::work_slot).

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::{Cpu, cpus, hotplug, online, ranks, watchdog};
use crate::apic::{self, ApicError, Batch, Message};
use crate::console;
use crate::cpu::{self, CpuId, CpuSet, IrqGuard, interrupts_enabled};
use crate::interrupts::{TrapFrame, Vector};
use crate::sync::work_slot::Phase;
use crate::sync::{IrqMutex, Timeout};
use crate::time::{halt_for, timer};

/// From one try to wake a CPU for work to the next, where the first has failed.
const WAKE_RETRY: Duration = Duration::from_millis(10);

/// The work under way; `None` while there is none, so that no pointer to a function outlives [`run_on_all`].
static WORK: IrqMutex<Option<Work>> = IrqMutex::new(None);
crate::name_lock!(WORK);

/// A borrowed function without its lifetime, and the CPU that waits for all others to finish it.
#[derive(Clone, Copy)]
struct Work {
    function: *const (dyn Fn(&'static Cpu) + Sync),
    owner: CpuId,
}

// SAFETY: the function is `Sync`, and `Published` outlives every use of it.
unsafe impl Send for Work {}

/// Why work was not run, or not on every CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkError {
    /// The caller's interrupts are off, so it must not wait. The work was not run.
    InterruptsOff,
    /// Other work is under way, which may be what the caller runs. The work was not run.
    Busy {
        /// The CPU that waits for it.
        by: CpuId,
    },
    /// CPUs did not begin the work in time, which was withdrawn from them. On all others it was run.
    NotBegun {
        /// The first of them.
        first: CpuId,
        /// How many.
        count: u32,
        /// How long was waited.
        ms: u64,
        /// Why the first could not be interrupted, if that was the reason.
        error: Option<ApicError>,
    },
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkError::InterruptsOff => f.write_str("no work is given to all CPUs where interrupts are off"),
            WorkError::Busy { by } => write!(f, "cpu {by} waits for other work of all CPUs"),
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

/// Why a CPU's halt was not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeError {
    /// The first CPU that could not be interrupted.
    pub first: CpuId,
    /// How many could not.
    pub count: u32,
    /// Why the first could not.
    pub error: ApicError,
}

impl fmt::Display for WakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WakeError { first, count, error } = self;
        write!(f, "cpu {first} was not woken: {error}")?;
        if *count > 1 { write!(f, "; nor were {} more", count - 1) } else { Ok(()) }
    }
}

/// The work under way, until it is dropped.
struct Published;

impl Published {
    fn new(work: Work) -> Result<Published, WorkError> {
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

/// Runs `work` on every CPU that is online now, this one among them, with interrupts on, and returns when all have finished.
/// A CPU that goes offline out of its work must come back to it; one that comes online meanwhile has no part in it.
///
/// An interrupt that cannot be sent to a CPU is sent again while this CPU waits.
///
/// **Context:** thread, interrupts on, no lock held, not inside other work. Halts.
///
/// # Errors
/// See [`WorkError`].
///
/// # Panics
/// If a CPU that has begun has not finished `limit_ms` after this one: it may still be using what `work` borrows. A stop of
/// the whole machine by its host does not count.
pub fn run_on_all(limit_ms: u64, work: &(dyn Fn(&'static Cpu) + Sync)) -> Result<(), WorkError> {
    if !interrupts_enabled() {
        return Err(WorkError::InterruptsOff);
    }
    let owner = cpu::current();
    // SAFETY: only the lifetime is changed. A CPU uses the function only between `Phase::take` and `Phase::finish` of its
    // work slot. Below, `wait_for` returns for each participant when `WorkSlot::is_over`, or when `Phase::withdraw` has
    // succeeded, after which it cannot take the work any more; or it panics, and this function never returns.
    let function = unsafe {
        core::mem::transmute::<*const (dyn Fn(&'static Cpu) + Sync + '_), *const (dyn Fn(&'static Cpu) + Sync)>(
            work,
        )
    };
    let published = Published::new(Work { function, owner })?;
    let participants = ranks::offer_work();
    let mut others = participants.clone();
    others.remove(owner);
    let woken = wake(others.iter());
    // Also while this CPU does its own part, which may wait for the others'.
    let retry = woken.outcome.err().and_then(|error| {
        log::warn!("{error}; trying again");
        timer::every(WAKE_RETRY, |_| wake_offered(), 0).ok()
    });
    // Until all have finished: a CPU that has taken the work is watched by others at work, and one that has not by this.
    let beating = watchdog::begin();
    run(&cpus()[owner.index()]);
    let mut waiting =
        Waiting { limit_ms, timeout: Timeout::after_ms(limit_ms), woken, not_begun: CpuSet::EMPTY };
    participants.iter().for_each(|cpu| waiting.wait_for(&cpus()[cpu.index()]));
    retry.map(timer::cancel);
    drop(beating);
    drop(published);
    waiting.outcome()
}

/// The owner's wait for its participants.
struct Waiting {
    limit_ms: u64,
    /// For all of them together.
    timeout: Timeout,
    woken: Woken,
    not_begun: CpuSet,
}

impl Waiting {
    /// Returns when the CPU uses nothing of the work any more.
    fn wait_for(&mut self, cpu: &'static Cpu) {
        let is_over = || cpu.work.is_over(&cpu.hotplug);
        if halt_for(&mut self.timeout, is_over, || {}).is_ok() {
            return;
        }
        if cpu.work.apply(Phase::withdraw) {
            self.not_begun.insert(cpu.id());
            return;
        }
        // One that was woken late has begun late.
        let mut more = Timeout::after_ms(self.limit_ms);
        if !self.woken.missed.contains(cpu.id()) || halt_for(&mut more, is_over, || {}).is_err() {
            panic!("cpu {} has not finished its work {} ms after this one", cpu.id(), self.limit_ms);
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

/// What came of waking CPUs.
struct Woken {
    outcome: Result<(), WakeError>,
    /// Those that were not.
    missed: CpuSet,
}

/// Ends the halt of each of these CPUs, as far as they can be interrupted.
fn wake(targets: impl Iterator<Item = CpuId>) -> Woken {
    let mut batch = Batch::new();
    let mut woken = Woken { outcome: Ok(()), missed: CpuSet::EMPTY };
    for cpu in targets {
        let to = cpus()[cpu.index()].entry.apic_id;
        if let Err(error) = batch.send(&IrqGuard::new(), to, Message::Fixed(Vector::WAKE)) {
            woken.missed.insert(cpu);
            match &mut woken.outcome {
                Ok(()) => woken.outcome = Err(WakeError { first: cpu, count: 1, error }),
                Err(first) => first.count += 1,
            }
        }
    }
    woken
}

/// Tries again to end the halt of CPUs that have not taken their work: from a timer, so the next try is soon enough.
fn wake_offered() {
    let mut batch = Batch::without_waiting();
    for cpu in online().filter(|cpu| cpu.work.phase() == Phase::Offered) {
        let _ = batch.send(&IrqGuard::new(), cpu.entry.apic_id, Message::Fixed(Vector::WAKE));
    }
}

/// Ends the halt of every other online CPU, so that each checks again what it waits for.
///
/// **Context:** any but NMI.
///
/// # Errors
/// Some could not be interrupted; all others were. A CPU that waits by [`halt_until`](crate::time::halt_until) sees by itself
/// what it waits for, only later, so it is enough to report the error.
pub fn wake_others() -> Result<(), WakeError> {
    let me = cpu::current();
    wake(online().map(Cpu::id).filter(|cpu| *cpu != me)).outcome
}

/// As [`wake_others`], where nothing more can be done about an error than to report it.
pub fn wake_others_or_warn() {
    if let Err(error) = wake_others() {
        log::warn!("{error}");
    }
}

/// Ends the halt of one CPU. **Context:** any but NMI.
pub(super) fn wake_one(cpu: &Cpu) -> Result<(), ApicError> {
    apic::send(&IrqGuard::new(), cpu.entry.apic_id, Message::Fixed(Vector::WAKE))
}

/// Ends the halt of a CPU that waits by [`halt_for`], and so sees by itself if it could not be interrupted.
#[inline]
pub(super) fn wake_waiting(cpu: &Cpu) {
    let message = Message::Fixed(Vector::WAKE);
    if let Err(error) = Batch::brief().send(&IrqGuard::new(), cpu.entry.apic_id, message) {
        not_woken(cpu, error);
    }
}

/// Reports it once: a machine that cannot send interrupts has more to report.
#[cold]
fn not_woken(cpu: &Cpu, error: ApicError) {
    static IS_REPORTED: AtomicBool = AtomicBool::new(false);
    if !IS_REPORTED.swap(true, Ordering::Relaxed) {
        log::warn!("cpu {} was not woken and goes on later: {error}", cpu.id());
    }
}

/// Whether a CPU has work that it has not finished.
pub(super) fn is_due(cpu: &Cpu) -> bool {
    cpu.work.phase() != Phase::Idle
}

/// Runs the work that this CPU is offered, unless it is withdrawn.
fn run(me: &'static Cpu) {
    if !me.work.apply(Phase::take) {
        return;
    }
    let work = *WORK.lock();
    let Some(Work { function, owner }) = work else {
        unreachable!("the owner of work waits for all that have taken it");
    };
    let beating = watchdog::begin();
    // SAFETY: this CPU has taken the work and not finished it, so `run_on_all` still borrows the function.
    unsafe { (*function)(me) };
    drop(beating);
    me.work.apply(Phase::finish);
    if owner != me.id() {
        wake_waiting(&cpus()[owner.index()]);
    }
}

/// The interrupt only ends a halt.
pub(super) fn wake_interrupt(_: &mut TrapFrame) {
    apic::end_of_interrupt();
}

/// Waits for work, and runs it, permanently.
pub fn idle() -> ! {
    let me = &cpus()[cpu::current().index()];
    loop {
        console::send_late();
        let mut guard = IrqGuard::new();
        if is_due(me) {
            drop(guard);
            run(me);
        } else if hotplug::is_asked(me) {
            drop(guard);
            hotplug::leave_idle(me);
        } else {
            // An interrupt that has arrived since the checks above ends the halt.
            guard.halt();
        }
    }
}
