//! Deferred work: functions that an interrupt handler leaves to a thread.
//!
//! Each CPU has a queue and a worker, a thread that runs what is deferred on that CPU, in order. So the functions may block and
//! allocate, which handlers must not. An item is a static: to defer it allocates nothing.
//!
//! ```ignore
//! static REFILL: Work = Work::new(|_| refill(), 0);
//!
//! fn handler(_: ProgramVector) {
//!     let _ = work::defer(&REFILL);
//! }
//! ```
//!
//! The first call on a CPU makes its worker; [`start`] makes all of them beforehand. If the CPU goes offline, its worker runs what is left
//! on another CPU.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use super::mechanism;
use super::state::Wait;
use super::sync::OnceLock;
use super::sync::work_item::{Defer, WorkItem, WorkList};
use super::tcb::{Tcb, ThreadRef};
use super::thread::{self, Builder, SpawnError, sync::TimedOut};
use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::cpu::per_cpu::{self, PerCpu};
use crate::cpu::{self, CpuId, IrqGuard, THREAD_NAME_BYTES};
use crate::per_cpu;
use crate::smp::{self, WorkError};
use crate::time::timer::{self, Expiry, TimerError, TimerId};

/// What a CPU has for deferred work.
struct Queue {
    list: WorkList,
    /// The worker, which this CPU sets.
    worker: OnceLock<ThreadRef>,
}

per_cpu! {
    static QUEUE: Queue = Queue { list: WorkList::new(), worker: OnceLock::new() };
}

/// A function to be deferred, with a number that it is called with.
///
/// It runs at least once after each call that defers it, with all that the caller did before, and never twice at the same time. Calls
/// that defer it while it waits already are one.
pub struct Work {
    item: WorkItem,
    /// The CPU on whose queue the timer of [`delayed`] puts it.
    home: AtomicU32,
}

impl Work {
    /// An item that calls `function` with `data`. The function runs in a thread with interrupts on. It may block; other items of the CPU
    /// wait meanwhile.
    pub const fn new(function: fn(usize), data: usize) -> Work {
        Work { item: WorkItem::new(function, data), home: AtomicU32::new(0) }
    }

    /// Returns whether the function waits for a worker or runs. **Context:** any; the result may be old.
    pub fn is_pending(&self) -> bool {
        self.item.is_pending()
    }

    /// Waits until the function neither waits for a worker nor runs.
    ///
    /// **Context:** a thread, interrupts on, no guard or spin lock held: it blocks.
    ///
    /// # Panics
    /// In any other context, in the function itself, and in the function of other work if this work waits for the same worker, which would
    /// never run it. Two functions of different CPUs that flush each other's work wait for ever.
    #[track_caller]
    pub fn flush(&self) {
        // Without a time-out it ends with the function.
        let _ = self.item.flush("Work::flush", None);
    }

    /// As [`flush`](Self::flush), at most for `timeout`.
    ///
    /// **Context:** as for [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`TimedOut`]: it waits or runs still, or again.
    ///
    /// # Panics
    /// As for [`flush`](Self::flush).
    #[track_caller]
    pub fn flush_timeout(&self, timeout: Duration) -> Result<(), TimedOut> {
        self.item.flush("Work::flush_timeout", Some(timeout))
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("is_pending", &self.is_pending()).finish_non_exhaustive()
    }
}

/// Why work was not deferred by a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelayError {
    /// The CPU has no worker, and none was made.
    Worker(SpawnError),
    /// No timer was armed.
    Timer(TimerError),
}

impl fmt::Display for DelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DelayError::Worker(error) => error.fmt(f),
            DelayError::Timer(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for DelayError {}

/// Why a CPU has no worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// This CPU's worker was not made.
    Worker {
        /// The CPU.
        cpu: CpuId,
        /// The reason.
        error: SpawnError,
    },
    /// A CPU has not made one.
    Cpus(WorkError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Worker { cpu, error } => write!(f, "cpu {cpu}: {error}"),
            StartError::Cpus(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StartError {}

/// Defers an item: the worker of this CPU calls its function soon. Returns false if the item waits already.
///
/// **Context:** thread or interrupt; not NMI. Allocates nothing, except for the CPU's worker in the first call on a CPU; [`start`] does that
/// beforehand. May switch to the worker.
///
/// # Errors
/// [`SpawnError`]: the CPU has no worker, and none was made.
#[inline]
pub fn defer(work: &'static Work) -> Result<bool, SpawnError> {
    let guard = IrqGuard::new();
    let queue = own(&guard);
    let worker = worker(&guard, queue)?;
    let is_new = request(&guard, queue, worker, work);
    mechanism::switch_after(guard);
    Ok(is_new)
}

/// Defers an item when `delay` has passed, not earlier, on this CPU. [`timer::cancel`] with the result cancels that.
///
/// **Context:** as for [`defer`] and [`timer::after`].
///
/// # Errors
/// [`DelayError`]
pub fn delayed(work: &'static Work, delay: Duration) -> Result<TimerId, DelayError> {
    let guard = IrqGuard::new();
    worker(&guard, own(&guard)).map_err(DelayError::Worker)?;
    work.home.store(cpu::current().0, Ordering::Relaxed);
    drop(guard);
    timer::after(delay, expired, core::ptr::from_ref(work).expose_provenance()).map_err(DelayError::Timer)
}

/// The callback of the timer of [`delayed`].
fn expired(expiry: &Expiry) {
    // SAFETY: the address must be that of a `Work` that is never freed. `delayed`, which alone names this function, takes a `'static` one.
    let work: &'static Work = unsafe { &*core::ptr::with_exposed_provenance(expiry.data) };
    let home = smp::cpus().get(work.home.load(Ordering::Relaxed) as usize).and_then(|cpu| cpu.get(QUEUE));
    // `delayed` has made the worker, which never ends.
    if let Some(queue) = home
        && let Some(worker) = queue.worker.get()
    {
        request(&IrqGuard::new(), queue, worker, work);
    }
}

/// Makes the workers of all CPUs that are online and have none.
///
/// **Context:** as for [`smp::on_each_cpu`].
///
/// # Errors
/// [`StartError`]. The other CPUs have their workers.
pub fn start() -> Result<(), StartError> {
    let failed = crate::sync::SpinLockIrq::new(None);
    let started = smp::on_each_cpu(IPI_CALL_TIMEOUT_MS, &|cpu| {
        let guard = IrqGuard::new();
        if let Err(error) = worker(&guard, own(&guard)) {
            *failed.lock() = Some(StartError::Worker { cpu: cpu.id(), error });
        }
    });
    started.map_err(StartError::Cpus)?;
    failed.lock().map_or(Ok(()), Err)
}

fn own(_: &IrqGuard) -> &'static Queue {
    // SAFETY: `gs_base` is that of this CPU's area; areas are never freed.
    unsafe { QUEUE.of(per_cpu::gs_base()) }
}

/// Puts an item on a queue, unless it waits already, and wakes the worker. Returns whether it did not wait.
#[inline]
fn request(guard: &IrqGuard, queue: &Queue, worker: &Tcb, work: &'static Work) -> bool {
    // SAFETY: the item must live until it has run, and the list while the item is used. The item is a static; the list is in a CPU's area,
    // which is never freed.
    match unsafe { queue.list.defer(&work.item) } {
        Defer::IsPending => return false,
        Defer::Added { was_empty: true } => mechanism::wake_under(guard, worker, Wait::Unpark),
        // The worker is awake, or about to be.
        Defer::Added { was_empty: false } | Defer::RunsAgain => {}
    }
    true
}

/// Returns this CPU's worker, which the first call makes.
#[inline(always)]
fn worker(guard: &IrqGuard, queue: &'static Queue) -> Result<&'static Tcb, SpawnError> {
    match queue.worker.get() {
        Some(worker) => Ok(worker),
        None => make_worker(guard, queue),
    }
}

#[cold]
#[inline(never)]
fn make_worker(_: &IrqGuard, queue: &'static Queue) -> Result<&'static Tcb, SpawnError> {
    let here = cpu::current();
    let mut name = heapless::String::<THREAD_NAME_BYTES>::new();
    let _ = fmt::write(&mut name, format_args!("work/{here}"));
    let spawned = Builder::new().name(&name).pinned(here).may_leave().spawn(move || serve(queue, here))?;
    // It has not run yet: interrupts are off.
    Ok(queue.worker.get_or_init(|| spawned.thread().clone().into()))
}

/// What a worker does.
fn serve(queue: &Queue, home: CpuId) {
    queue.list.set_worker();
    loop {
        thread::return_to(home);
        queue.list.run_all();
        if queue.list.is_empty() {
            thread::park();
        }
    }
}
