//! The threads that have not ended: a list of each CPU, of those that were spawned there.
//!
//! A thread is put on the list of the CPU that spawns it, before it is queued, and taken off when its CPU has left it for the last time,
//! before the thread's own reference is given up. So a thread on a list is valid while the list is locked.
//!
//! The lock of a list also keeps the affinities of its threads from changes: see [`leaving`](super::leaving).

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use super::entity::Affinity;
use super::leaving::Leaving;
use super::tcb::Tcb;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, IrqGuard};
use crate::per_cpu;
use crate::smp;
use crate::sync::SpinLock;

/// The links of a thread, which belong to the holder of its list's lock.
pub(super) struct Links {
    next: Cell<*const Tcb>,
    previous: Cell<*const Tcb>,
    /// The CPU whose list it is: set before other CPUs know the thread.
    cpu: AtomicU32,
}

impl Links {
    pub(super) const fn new() -> Links {
        Links { next: Cell::new(ptr::null()), previous: Cell::new(ptr::null()), cpu: AtomicU32::new(0) }
    }
}

/// The threads that were spawned on a CPU, the newest first.
struct List {
    first: *const Tcb,
}

// SAFETY: another CPU must be able to use the list: the threads on it are `Sync`, and their links are used by the holder of its lock alone.
unsafe impl Send for List {}

per_cpu! {
    static THREADS: SpinLock<List> = SpinLock::new(List { first: ptr::null() });
}
crate::name_lock!(per_cpu THREADS);

/// The CPU that goes offline.
pub(super) static LEAVING: Leaving = Leaving::new();

/// No CPU on which a thread may run is online and stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoCpu;

/// Returns whether a CPU on which a thread may run is online and stays so. **Context:** the thread's list is locked.
fn check(affinity: Affinity) -> Result<(), NoCpu> {
    let stays = |cpu: &smp::Cpu| cpu.is_online() && !LEAVING.is(cpu.id());
    let is_any = match affinity {
        Affinity::Any => true,
        Affinity::Pinned(only) => smp::cpus().get(only.index()).is_some_and(stays),
        Affinity::Set(set) => smp::online().any(|cpu| set.contains(cpu.id()) && stays(cpu)),
    };
    is_any.then_some(()).ok_or(NoCpu)
}

/// Puts a new thread on this CPU's list.
///
/// # Errors
/// [`NoCpu`]: it is on none.
///
/// # Safety
/// The thread is on no list. It is valid and stays where it is until [`remove`].
pub(super) unsafe fn add(guard: &IrqGuard, thread: &Tcb) -> Result<(), NoCpu> {
    THREADS.with(guard, |threads| {
        let mut list = threads.lock(guard);
        check(thread.affinity())?;
        let links = thread.links();
        links.cpu.store(cpu::current().0, Ordering::Relaxed);
        links.next.set(list.first);
        // SAFETY: the address must be null or that of a valid thread: it is on the list, and its caller of `add` guarantees that.
        if let Some(first) = unsafe { list.first.as_ref() } {
            first.links().previous.set(thread);
        }
        list.first = thread;
        Ok(())
    })
}

/// Takes a thread off its list.
///
/// # Safety
/// [`add`] has put it there, and this is called once.
pub(super) unsafe fn remove(guard: &IrqGuard, thread: &Tcb) {
    let links = thread.links();
    let Some(threads) = of(thread) else { return };
    let mut list = threads.lock(guard);
    let (next, previous) = (links.next.get(), links.previous.get());
    // SAFETY: the address must be null or that of a valid thread: it is on the list, and its caller of `add` guarantees that.
    if let Some(next) = unsafe { next.as_ref() } {
        next.links().previous.set(previous);
    }
    // SAFETY: the address must be null or that of a valid thread: it is on the list, and its caller of `add` guarantees that.
    match unsafe { previous.as_ref() } {
        Some(previous) => previous.links().next.set(next),
        None => list.first = next,
    }
}

/// Returns the list that a thread is on.
fn of(thread: &Tcb) -> Option<&'static SpinLock<List>> {
    let cpu = thread.links().cpu.load(Ordering::Relaxed);
    smp::cpus().get(cpu as usize).and_then(|cpu| cpu.get(THREADS))
}

impl List {
    /// Calls `f` with each thread, the newest first.
    fn for_each(&self, f: &mut impl FnMut(&Tcb)) {
        let mut next = self.first;
        // SAFETY: the address must be null or that of a valid thread: it is on the list, which is locked, and its caller of `add` guarantees
        // that it is valid until it leaves the list.
        while let Some(thread) = unsafe { next.as_ref() } {
            f(thread);
            next = thread.links().next.get();
        }
    }
}

/// Calls `f` with each thread that has not ended, under the lock of its list: `f` is short and takes no lock.
///
/// **Context:** thread or interrupt; not NMI.
pub(super) fn for_each(mut f: impl FnMut(&Tcb)) {
    for threads in smp::cpus().iter().filter_map(|cpu| cpu.get(THREADS)) {
        let guard = IrqGuard::new();
        threads.lock(&guard).for_each(&mut f);
    }
}

/// Stores the affinity that a thread is to have, if it can have it.
///
/// # Errors
/// [`NoCpu`]: nothing has changed.
pub(super) fn set_affinity(guard: &IrqGuard, thread: &Tcb, affinity: Affinity) -> Result<(), NoCpu> {
    let _locked = of(thread).map(|threads| threads.lock(guard));
    check(affinity)?;
    thread.want_affinity(affinity);
    Ok(())
}
