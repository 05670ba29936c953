//! The threads that have not ended: a list of each CPU, of those that were spawned there.
//!
//! A thread is put on the list of the CPU that spawns it, before it is queued, and taken off when its CPU has left it for the last time,
//! before the thread's own reference is given up. So a thread on a list is valid while the list is locked.
//!
//! The lock of a list also keeps the affinities of its threads from changes: see [`leaving`](super::leaving).

use core::ptr;

use super::entity::Affinity;
use super::leaving::Leaving;
use super::tcb::Tcb;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{self, IrqGuard};
use crate::per_cpu;
use crate::smp;
use crate::sync::SpinLock;

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

/// Returns whether a CPU is requested to go offline, or has acknowledged that and is late. In this order: see [`leaving`](super::leaving).
fn is_leaving(cpu: &smp::Cpu) -> bool {
    LEAVING.is(cpu.id()) || cpu.is_going_offline()
}

/// Returns whether a CPU is online and stays so. In this order: a CPU leaves the set of online CPUs before its hotplug state is `Offline`.
pub(super) fn stays(cpu: &smp::Cpu) -> bool {
    !is_leaving(cpu) && cpu.is_online()
}

/// Returns whether a CPU on which a thread may run is online and stays so. **Context:** the thread's list is locked.
fn check(affinity: Affinity) -> Result<(), NoCpu> {
    let is_any = match affinity {
        Affinity::Any => true,
        // This CPU runs the caller, so it is online if it does not leave.
        Affinity::Pinned(only) if only == cpu::current() => {
            smp::cpus().get(only.index()).is_none_or(|cpu| !is_leaving(cpu))
        }
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
#[inline(always)]
pub(super) unsafe fn add(guard: &IrqGuard, thread: &Tcb) -> Result<(), NoCpu> {
    THREADS.with(guard, |threads| {
        let mut list = threads.lock(guard);
        // One that may leave runs elsewhere while its CPU is offline.
        if !thread.may_leave() {
            check(thread.affinity())?;
        }
        let links = thread.links();
        links.set_cpu(cpu::current());
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
#[inline(always)]
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
    smp::cpus().get(thread.links().cpu().index()).and_then(|cpu| cpu.get(THREADS))
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

/// As [`for_each`], but does not wait: returns the number of CPUs whose list was locked, whose threads are left out.
///
/// **Context:** any.
pub(super) fn try_for_each(mut f: impl FnMut(&Tcb)) -> usize {
    let guard = IrqGuard::new();
    let lists = smp::cpus().iter().filter_map(|cpu| cpu.get(THREADS));
    let mut locked = 0;
    for threads in lists {
        match threads.try_lock(&guard) {
            Some(list) => list.for_each(&mut f),
            None => locked += 1,
        }
    }
    locked
}

/// Calls `f` with the number and the name of each thread that has not ended, except those of a list that another CPU has locked.
///
/// **Context:** any.
pub(crate) fn try_for_each_name(mut f: impl FnMut(u64, &str)) {
    try_for_each(|thread| f(thread.id().0, thread.name()));
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
