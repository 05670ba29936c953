//! The list of threads, with how deeply each has used its stack.

use alloc::vec::Vec;
use core::fmt;

use crate::console::LineBuffer;
use crate::cpu::{CpuId, ThreadName};
use crate::sched::entity::{Affinity, ThreadId};
use crate::sched::mechanism;
use crate::sched::stack::{self, EndedThread, StackUse};
use crate::sched::state::Phase;
use crate::sched::sync;
use crate::sched::tcb::Tcb;
use crate::sched::thread_list;
use crate::smp;
use crate::wire::{CALLS_IN_THREAD, MAX_PANIC_THREADS, PanicThread};

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    /// A CPU runs it.
    Running,
    /// It is on a run queue.
    Ready,
    /// It waits for an [`unpark`](super::Thread::unpark).
    Parked,
    /// It waits for an event: a lock, a time, the end of a thread.
    Blocked,
    /// It has ended.
    Ended,
}

impl ThreadState {
    /// Returns its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            ThreadState::Running => "running",
            ThreadState::Ready => "ready",
            ThreadState::Parked => "parked",
            ThreadState::Blocked => "blocked",
            ThreadState::Ended => "ended",
        }
    }

    const fn of(phase: Phase) -> ThreadState {
        match phase {
            Phase::Running => ThreadState::Running,
            Phase::Queued => ThreadState::Ready,
            Phase::Parking | Phase::Parked => ThreadState::Parked,
            Phase::Blocking | Phase::Blocked => ThreadState::Blocked,
            Phase::Exited => ThreadState::Ended,
        }
    }
}

impl fmt::Display for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A thread as it was when it was listed.
#[derive(Clone, Copy)]
pub struct ThreadInfo {
    /// Its number.
    pub id: ThreadId,
    /// Where it was.
    pub state: ThreadState,
    /// The CPU that ran it, or had run it last.
    pub cpu: CpuId,
    /// The CPUs on which it may run.
    pub affinity: Affinity,
    /// How much of its stack was used; `None` for the thread that the boot has begun with.
    pub stack: Option<StackUse>,
    /// How long CPUs had run it, in nanoseconds; `None` unless all events are recorded.
    pub ran_ns: Option<u64>,
    name: ThreadName,
}

/// Returns the CPU that runs a thread or has run it last; of one that has not run yet, the CPU that has spawned it, on whose list it is.
pub(in crate::sched) fn cpu_of(thread: &Tcb) -> CpuId {
    let gs_base = thread.gs_base();
    let ran_on = smp::cpus().iter().find(|cpu| cpu.gs_base() == Some(gs_base));
    ran_on.map_or(thread.links().cpu(), smp::Cpu::id)
}

impl ThreadInfo {
    /// Returns its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    pub(super) fn of(thread: &Tcb) -> ThreadInfo {
        ThreadInfo {
            id: thread.id(),
            state: ThreadState::of(thread.state.phase()),
            cpu: cpu_of(thread),
            affinity: thread.affinity(),
            stack: thread.stack_use(),
            ran_ns: thread.notes().ran_ns(),
            name: thread.thread_name(),
        }
    }

    fn of_ended(thread: EndedThread) -> ThreadInfo {
        let EndedThread { id, name, cpu, affinity, stack, ran_ns } = thread;
        ThreadInfo { id, state: ThreadState::Ended, cpu, affinity, stack: Some(stack), ran_ns, name }
    }

    /// Adds the time since its CPU has switched to it, if it runs. It may have left the CPU meanwhile, and the time is then that of another
    /// thread.
    ///
    /// **Context:** any.
    pub(super) fn add_current_run(&mut self) {
        if let (ThreadState::Running, Some(ran_ns)) = (self.state, &mut self.ran_ns) {
            let cpu = smp::cpus().get(self.cpu.index());
            *ran_ns += cpu.map_or(0, mechanism::current_run_ns);
        }
    }

    fn used_bytes(&self) -> usize {
        self.stack.map_or(0, |stack| stack.used_bytes)
    }
}

impl fmt::Debug for ThreadInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thread({} {:?} {} on cpu {})", self.id, self.name(), self.state, self.cpu)
    }
}

/// The thread and how much of its stack was used, as `thread 7 "name", N of M KiB`.
impl fmt::Display for ThreadInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "thread {} {:?}", self.id, self.name())?;
        match self.stack {
            Some(StackUse { bytes, used_bytes, .. }) => {
                write!(f, ", {} of {} KiB", used_bytes.div_ceil(1024), bytes / 1024)
            }
            None => Ok(()),
        }
    }
}

/// Returns the threads that have not ended, by their numbers. A thread that is spawned meanwhile may be missing.
///
/// **Context:** thread; it allocates. The threads of each CPU are listed with interrupts off.
pub fn list() -> Vec<ThreadInfo> {
    let mut count = 0;
    thread_list::for_each(|_| count += 1);
    // With room for some that are spawned before they are listed: nothing is allocated under a list's lock.
    let mut threads = Vec::with_capacity(count + ROOM);
    thread_list::for_each(|thread| {
        if threads.len() < threads.capacity() {
            threads.push(ThreadInfo::of(thread));
        }
    });
    threads.iter_mut().for_each(ThreadInfo::add_current_run);
    threads.sort_unstable_by_key(|thread| thread.id);
    threads
}

/// How many threads may be spawned between the count and the list.
const ROOM: usize = 64;

/// Returns the first threads of [`list`], at most `most`, and the thread that has used its stack most deeply if that has ended.
pub(crate) fn list_all(most: usize) -> Vec<ThreadInfo> {
    let mut threads = list();
    let ended = deepest().filter(|thread| thread.state == ThreadState::Ended);
    threads.truncate(most - usize::from(ended.is_some()));
    threads.extend(ended);
    threads
}

/// Returns the thread that has used its stack most deeply. Does not wait: threads of a list that another CPU has locked are left out.
///
/// **Context:** any.
pub(crate) fn deepest() -> Option<ThreadInfo> {
    let mut deepest = stack::deepest_ended().map(ThreadInfo::of_ended);
    thread_list::try_for_each(|thread| {
        // What an earlier thread of the stack has used, that one was counted for.
        let Some(stack) = thread.stack_use().filter(|stack| stack.is_own) else { return };
        if deepest.is_none_or(|deepest| stack.used_bytes > deepest.used_bytes()) {
            deepest = Some(ThreadInfo { stack: Some(stack), ..ThreadInfo::of(thread) });
        }
    });
    deepest
}

/// Calls `visit` with each of the newest threads, the newest first: at most [`MAX_PANIC_THREADS`]. Does not wait: threads of a list that
/// another CPU has locked are left out.
///
/// **Context:** the CPU that reports a panic; the others have stopped.
pub(crate) fn newest_for_panic(visit: &mut dyn FnMut(&PanicThread<&str>)) {
    let mut last = None;
    for _ in 0..MAX_PANIC_THREADS {
        let mut next: Option<ThreadId> = None;
        thread_list::try_for_each(|thread| {
            let is_next =
                last.is_none_or(|last| thread.id() < last) && next.is_none_or(|next| thread.id() > next);
            next = if is_next { Some(thread.id()) } else { next };
        });
        let Some(id) = next else { return };
        thread_list::try_for_each(|thread| {
            if thread.id() == id {
                show(thread, visit);
            }
        });
        last = next;
    }
}

/// Calls `visit` with a thread.
fn show(thread: &Tcb, visit: &mut dyn FnMut(&PanicThread<&str>)) {
    let waits_for = sync::waits_for(thread);
    visit(&PanicThread {
        id: thread.id().0,
        name: thread.name(),
        state: ThreadState::of(thread.state.phase()).name(),
        cpu: cpu_of(thread).0,
        waits_for: waits_for.as_ref().map(LineBuffer::as_str),
        frames: thread.backtrace().take(CALLS_IN_THREAD).collect(),
    });
}

crate::panic_context! {
    // One line: what the panic is about must stay on a screen of 25.
    "threads" => |out| {
        let (mut count, mut running) = (0, 0);
        let locked = thread_list::try_for_each(|thread| {
            count += 1;
            running += u32::from(thread.state.phase() == Phase::Running);
        });
        if count <= 1 && locked == 0 {
            // The boot's own, of which the report tells already.
            return Ok(());
        }
        write!(out, "{count} threads, {running} of them run")?;
        if locked > 0 {
            write!(out, ", without those of {locked} locked lists")?;
        }
        match deepest() {
            Some(thread) => write!(out, "; deepest stack: {thread}"),
            None => Ok(()),
        }
    }
}
