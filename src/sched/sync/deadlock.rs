//! The report of threads that wait for each other's mutexes, in a kernel with the feature `checked`: `locks.checked=waits`.
//!
//! It costs each thread that blocks for a mutex a lock that all share, so other kernels do not have it. No thread's control block is read, since
//! a thread that has ended may still be named as the owner of a mutex: the graph has the names of the threads that wait.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use heapless::Vec;
use spin::Once;

use super::wait_graph::{MAX_CYCLE, Wait, WaitGraph};
use crate::console::LineBuffer;
use crate::cpu::{IrqGuard, ThreadName};
use crate::sched::entity::ThreadId;
use crate::sched::tcb::Tcb;
use crate::sync::{Site, SpinLock};

/// The most threads that wait at a time.
const MOST_WAITS: usize = 128;

/// The bits of a mutex's word that are no part of its owner's address.
const FLAGS: usize = 3;

static IS_ON: AtomicBool = AtomicBool::new(false);
static WAITS: SpinLock<WaitGraph<Waited, MOST_WAITS>> = SpinLock::new(WaitGraph::new());
crate::name_lock!(WAITS);
static FOUND: Once<Deadlock> = Once::new();

/// A mutex that a thread is about to wait for.
pub(super) struct MutexWait<'a> {
    /// The word, which names the owner.
    pub(super) word: &'a AtomicUsize,
    /// The place that has locked it.
    pub(super) locked_at: &'a AtomicUsize,
    /// The place at which it was constructed.
    pub(super) made_at: Site,
    /// The place that waits.
    pub(super) at: Site,
    pub(super) is_timed: bool,
}

/// A mutex that a thread of the graph waits for. It is there until the thread is removed from the graph.
struct Waited {
    word: NonNull<AtomicUsize>,
    locked_at: NonNull<AtomicUsize>,
    made_at: Site,
    at: Site,
    thread: ThreadId,
    name: ThreadName,
}

// SAFETY: the pointers are those of atomics, which any CPU may read.
unsafe impl Send for Waited {}

impl Waited {
    fn owner(&self) -> usize {
        // SAFETY: the mutex must be there: its waiter is in the graph, which is locked, and returns from its wait after it is removed.
        unsafe { self.word.as_ref() }.load(Ordering::Acquire) & !FLAGS
    }

    fn locked_at(&self) -> Site {
        // SAFETY: the mutex must be there: its waiter is in the graph, which is locked, and returns from its wait after it is removed.
        let bits = unsafe { self.locked_at.as_ref() }.load(Ordering::Relaxed);
        // SAFETY: the bits must be 0 or those of a site: `RawMutex::record_site` alone stores them.
        unsafe { Site::from_bits(bits) }
    }
}

/// A thread of a deadlock.
struct Blocked {
    thread: ThreadId,
    name: ThreadName,
    at: Site,
    made_at: Site,
    /// The place at which the next thread has locked the mutex.
    locked_at: Site,
}

/// Threads that wait for each other: each for a mutex of the next, and the last for one of the first.
struct Deadlock {
    /// The first threads.
    threads: Vec<Blocked, MAX_CYCLE>,
    length: usize,
}

impl Deadlock {
    fn write(&self, f: &mut dyn fmt::Write) -> fmt::Result {
        let next = self.threads.iter().skip(1).chain(self.threads.first());
        for (blocked, owner) in self.threads.iter().zip(next) {
            let Blocked { thread, name, at, made_at, locked_at } = blocked;
            writeln!(f, "thread {thread} {:?} waits{}", name.as_str(), at.at())?;
            writeln!(f, "  for the mutex made{}", made_at.at())?;
            writeln!(f, "  locked by thread {}{}", owner.thread, locked_at.at())?;
        }
        Ok(())
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deadlock: {} threads wait for each other's mutexes:", self.length)?;
        for (index, blocked) in self.threads.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} {} {:?}{}", blocked.thread, blocked.name.as_str(), blocked.at.at())?;
        }
        Ok(())
    }
}

/// Turns the check on or off. **Context:** before threads wait.
pub(crate) fn check(is_on: bool) {
    IS_ON.store(is_on, Ordering::Relaxed);
}

/// Notes that the thread is about to block for a mutex.
///
/// **Context:** the thread; `guard` alone keeps interrupts off, and no lock is held. [`end_wait`] follows.
///
/// # Panics
/// The wait closes a cycle of threads that wait for each other.
pub(super) fn begin_wait(guard: &IrqGuard, me: &Tcb, mutex: &MutexWait<'_>) {
    if !IS_ON.load(Ordering::Relaxed) {
        return;
    }
    let waiter = number_of(me);
    let MutexWait { word, locked_at, made_at, at, is_timed } = *mutex;
    let waited = Waited {
        word: NonNull::from(word),
        locked_at: NonNull::from(locked_at),
        made_at,
        at,
        thread: me.id(),
        name: me.thread_name(),
    };
    let mut waits = WAITS.lock(guard);
    waits.enter(Wait { waiter, is_timed, mutex: waited });
    let mut threads = Vec::new();
    let length = waits.cycle(waiter, Waited::owner, |wait| {
        let Waited { made_at, at, thread, name, .. } = wait.mutex;
        let _ = threads.push(Blocked { thread, name, at, made_at, locked_at: wait.mutex.locked_at() });
    });
    drop(waits);
    if length > 0 {
        panic!("{}", FOUND.call_once(|| Deadlock { threads, length }));
    }
}

/// Notes that the thread waits no more. **Context:** the thread; `guard` keeps interrupts off. The lock of the mutex may be held.
pub(super) fn end_wait(guard: &IrqGuard, me: &Tcb) {
    if IS_ON.load(Ordering::Relaxed) {
        WAITS.lock(guard).leave(number_of(me));
    }
}

/// Returns the number by which mutexes name a thread as their owner.
fn number_of(thread: &Tcb) -> usize {
    core::ptr::from_ref(thread.inheritance()).addr()
}

/// Returns what a thread waits for, as a report names it, if that is a mutex. **Context:** any; does not wait.
pub(super) fn waits_for(thread: &Tcb) -> Option<LineBuffer<160>> {
    let guard = IrqGuard::new();
    let waits = WAITS.try_lock(&guard)?;
    let waited = &waits.wait_of(number_of(thread))?.mutex;
    let (made_at, locked_at) = (waited.made_at.at(), waited.locked_at().at());
    Some(LineBuffer::format(format_args!("the mutex made{made_at}, locked{locked_at}")))
}

crate::panic_context! {
    "deadlock" => |out| FOUND.get().map_or(Ok(()), |deadlock| deadlock.write(out))
}
