//! The executors: a thread of each CPU, which polls the tasks of its queue, or of another.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_task::ScheduleInfo;

use super::queue::{Runnable, TaskList};
use crate::cpu::per_cpu::{self, PerCpu};
use crate::cpu::{CpuId, IrqGuard, THREAD_NAME_BYTES};
use crate::per_cpu;
use crate::sched::mechanism;
use crate::sched::state::Wait;
use crate::sched::sync::executing::{IdleCount, Idleness};
use crate::sched::sync::{Mutex, OnceLock};
use crate::sched::tcb::ThreadRef;
use crate::sched::thread::{self, Builder, SpawnError};
use crate::smp;
use crate::sync::SpinLock;

/// A CPU's part.
struct Executor {
    tasks: SpinLock<TaskList>,
    /// The number of tasks, changed with the list locked.
    waiting: AtomicUsize,
    idleness: Idleness,
    thread: OnceLock<ThreadRef>,
}

per_cpu! {
    static EXECUTOR: Executor = Executor {
        tasks: SpinLock::new(TaskList::new()),
        waiting: AtomicUsize::new(0),
        idleness: Idleness::new(),
        thread: OnceLock::new(),
    };
}
crate::name_lock!(EXECUTOR, |gs_base, is_so| {
    // SAFETY: `gs_base` belongs to an area that is never freed: `held` and `name_of` pass no other.
    is_so(unsafe { PerCpu::of(&EXECUTOR, gs_base) }.tasks.owner())
});

/// The executors that are idle.
static IDLE: IdleCount = IdleCount::new();

/// Whether executors were made.
static HAS_STARTED: AtomicBool = AtomicBool::new(false);

/// Locked while executors are made.
static MAKING: Mutex<()> = Mutex::new(());

/// Why tasks cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The executor of this CPU was not made.
    Executor {
        /// The CPU.
        cpu: CpuId,
        /// The reason.
        error: SpawnError,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StartError::Executor { cpu, error } = self;
        write!(f, "cpu {cpu}: {error}")
    }
}

impl core::error::Error for StartError {}

/// Makes the executors of all CPUs that are online and have none. The first [`spawn`](super::spawn) does so; this is for CPUs that come
/// online afterwards, and for programs that check the error.
///
/// **Context:** a thread, interrupts on, no guard or spin lock held: it may block.
///
/// # Errors
/// [`StartError`]. Those of the CPUs before are there.
///
/// # Panics
/// In any other context.
#[track_caller]
pub fn start() -> Result<(), StartError> {
    let _making = MAKING.lock();
    for cpu in smp::online() {
        let Some(executor) = cpu.get(EXECUTOR) else { continue };
        if executor.thread.get().is_none() {
            let id = cpu.id();
            let mut name = heapless::String::<THREAD_NAME_BYTES>::new();
            let _ = fmt::write(&mut name, format_args!("tasks/{id}"));
            let spawned =
                Builder::new().name(&name).pinned(id).may_leave().spawn(move || serve(executor, id));
            let handle = spawned.map_err(|error| StartError::Executor { cpu: id, error })?;
            executor.thread.get_or_init(|| handle.thread().clone().into());
        }
    }
    HAS_STARTED.store(true, Ordering::Release);
    Ok(())
}

/// Returns whether no task runs or waits to run, and the memory of those that have ended is free. **Context:** any but NMI.
pub(crate) fn are_idle() -> bool {
    let executors = || smp::cpus().iter().filter_map(|cpu| cpu.get(EXECUTOR));
    let mut made = executors().filter(|executor| executor.thread.get().is_some());
    made.all(|executor| executor.idleness.is_idle())
        && executors().all(|executor| executor.waiting.load(Ordering::SeqCst) == 0)
}

/// Makes the executors, unless this CPU has one.
#[inline]
#[track_caller]
pub(super) fn ensure() -> Result<(), StartError> {
    let has_one = own(&IrqGuard::new()).thread.get().is_some();
    if has_one { Ok(()) } else { ensure_slow() }
}

#[cold]
#[inline(never)]
#[track_caller]
fn ensure_slow() -> Result<(), StartError> {
    // A CPU that came online after the start has none: the others take its tasks.
    if HAS_STARTED.load(Ordering::Acquire) { Ok(()) } else { start() }
}

#[inline(always)]
fn own(_: &IrqGuard) -> &'static Executor {
    // SAFETY: `gs_base` is that of this CPU's area; areas are never freed.
    unsafe { EXECUTOR.of(per_cpu::gs_base()) }
}

/// Puts a task on this CPU's queue: wakers call it.
///
/// **Context:** thread or interrupt; not NMI.
pub(super) fn schedule(task: Runnable, how: ScheduleInfo) {
    let guard = IrqGuard::new();
    let here = own(&guard);
    let mut tasks = here.tasks.lock(&guard);
    tasks.push(task);
    let before = here.waiting.load(Ordering::Relaxed);
    here.waiting.store(before + 1, Ordering::SeqCst);
    drop(tasks);
    // An executor that has just polled the only task polls it again, so that it moves to no other CPU.
    let is_taken_next = how.woken_while_running && before == 0;
    if !is_taken_next && IDLE.is_any() {
        wake_idle(&guard, here);
    }
    mechanism::switch_after(guard);
}

/// Wakes an idle executor: that of this CPU, or else the next one.
#[cold]
#[inline(never)]
fn wake_idle(guard: &IrqGuard, here: &Executor) {
    let others = smp::cpus().iter().filter_map(|cpu| cpu.get(EXECUTOR));
    for executor in core::iter::once(here).chain(others) {
        if executor.idleness.claim(&IDLE) {
            // One that was idle has waited until it was known (`serve`).
            if let Some(thread) = executor.thread.get() {
                mechanism::wake_under(guard, thread, Wait::Unpark);
            }
            return;
        }
    }
}

impl Executor {
    fn take(&self) -> Option<Runnable> {
        if self.waiting.load(Ordering::SeqCst) == 0 { None } else { self.pop() }
    }

    /// As [`take`](Self::take), for a queue that probably has a task.
    #[inline]
    fn pop(&self) -> Option<Runnable> {
        let guard = IrqGuard::new();
        let mut tasks = self.tasks.lock(&guard);
        let task = tasks.pop()?;
        self.waiting.store(self.waiting.load(Ordering::Relaxed) - 1, Ordering::SeqCst);
        Some(task)
    }
}

/// Takes a task of this CPU's queue, or of the next one that has any.
#[cold]
#[inline(never)]
fn steal(first: usize) -> Option<Runnable> {
    let (before, after) = smp::cpus().split_at(first);
    after.iter().chain(before).filter_map(|cpu| cpu.get(EXECUTOR)).find_map(Executor::take)
}

/// How often an executor looks at its own queue first until it looks at the others first.
const OWN_LOOKS: u32 = 64;

/// Runs tasks until there are none. `first`: the queue at which the next look at others begins.
///
/// A queue that is never empty must not keep its executor from tasks of a CPU without one. So from time to time the executor looks at the
/// others first, each time beginning at another.
fn run_tasks(own: &Executor, home: CpuId, first: &mut usize) {
    loop {
        for _ in 0..OWN_LOOKS {
            let Some(task) = own.pop().or_else(|| steal(home.index())) else { return };
            task.run();
        }
        *first = (*first + 1) % smp::cpus().len();
        if let Some(task) = steal(*first) {
            task.run();
        }
    }
}

/// What an executor does.
fn serve(own: &Executor, home: CpuId) {
    // `start` stores it after it has spawned it, and a caller that claims an idle executor must find it.
    own.thread.wait();
    let mut first = home.index();
    loop {
        run_tasks(own, home, &mut first);
        own.idleness.begin(&IDLE);
        match steal(home.index()) {
            Some(task) => {
                if own.idleness.end(&IDLE) {
                    let guard = IrqGuard::new();
                    wake_idle(&guard, own);
                    mechanism::switch_after(guard);
                }
                task.run();
            }
            None => {
                while own.idleness.is_idle() {
                    thread::park();
                }
                thread::return_to(home);
            }
        }
    }
}
