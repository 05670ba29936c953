//! What the wait queue needs, on the host: for its tests by `std`, and for its models by loom and shuttle.

extern crate std;

use core::time::Duration;
use std::boxed::Box;

#[cfg(loom)]
use loom::{thread, thread_local};
#[cfg(shuttle)]
use shuttle::{thread, thread_local};
#[cfg(not(any(loom, shuttle)))]
use std::{thread, thread_local};

use crate::sched::class::Urgency;
use crate::sched::host::Target;
pub(super) use crate::sched::host::{Guard, SpinLock, SpinLockGuard};
use crate::sched::inheritance::Inheritance;

/// The condition of a wait did not hold in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

/// The running thread.
pub(super) struct Me;

pub(super) fn guard() -> Guard {
    Guard
}

pub(super) fn finish(_: Guard) {}

pub(super) fn may_block() -> bool {
    true
}

pub(super) fn begin_block(_: &str) -> (Guard, Me) {
    (Guard, Me)
}

thread_local! {
    static MINE: Box<(Inheritance, Target)> = {
        let mine = Box::new((Inheritance::new(), Target::current()));
        mine.0.begin(Urgency::FAIR, &mine.1);
        mine
    };
}

/// A thread that waits: its number, and what unparks it.
pub(super) struct Handle(usize, Target);

pub(super) fn handle(_: &Me) -> Handle {
    Handle(current_id(), Target::current())
}

/// Returns a handle of a thread of which an inheritance has changed.
pub(super) fn handle_of(inheritance: &Inheritance, thread: &Target) -> Handle {
    Handle(core::ptr::from_ref(inheritance).addr(), thread.clone())
}

pub(super) fn id_of(handle: &Handle) -> usize {
    handle.0
}

pub(super) fn current_id() -> usize {
    MINE.with(|mine| core::ptr::from_ref(&mine.0).expose_provenance())
}

pub(super) fn inheritance(_: &Me) -> &'static Inheritance {
    inheritance_of(current_id())
}

pub(super) fn inheritance_of(id: usize) -> &'static Inheritance {
    // SAFETY: the inheritance must live: the number is that of the running thread, or of the owner of a mutex, which has not ended.
    unsafe { &*core::ptr::with_exposed_provenance(id) }
}

/// Gives the running thread an urgency of its own.
#[cfg(test)]
pub(super) fn set_urgency(urgency: Urgency) {
    MINE.with(|mine| mine.0.begin(urgency, &mine.1));
}

pub(super) fn reclassify(_: &Guard, thread: Handle) {
    thread.1.unpark();
}

pub(super) fn inverts_priority() -> bool {
    false
}

pub(super) fn wake(_: &Guard, handle: Handle) {
    handle.1.unpark();
}

/// Locks of the host have no class.
pub(super) struct LockClass;

impl LockClass {
    pub(super) const fn here() -> LockClass {
        LockClass
    }

    #[cfg(not(any(loom, shuttle)))]
    pub(super) const fn of_one_lock() -> LockClass {
        LockClass
    }
}

pub(super) fn expect_lock<L, D>(_: &L, _: &LockClass, deadline_ns: D) -> D {
    deadline_ns
}

pub(super) fn took_lock<L>(_: &L, _: &LockClass) {}

pub(super) fn released_lock<L>(_: &L) {}

pub(super) fn end_wait(_: &Guard, _: &Me) {}

pub(super) fn spins(_: Guard) -> u32 {
    if cfg!(any(loom, shuttle, miri)) { 0 } else { 10 }
}

#[cfg(not(any(loom, shuttle)))]
pub(super) fn block_until(
    _: &Guard,
    _: &Me,
    deadline_ns: Option<u64>,
    mut is_over: impl FnMut() -> bool,
) -> bool {
    while !is_over() {
        match deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(now_ns())) {
            None => thread::park(),
            Some(0) => return false,
            Some(left) => thread::park_timeout(Duration::from_nanos(left)),
        }
    }
    true
}

/// In a model, time is over at some moment: the thread looks once, and the checker chooses the moment.
#[cfg(any(loom, shuttle))]
pub(super) fn block_until(
    _: &Guard,
    _: &Me,
    deadline_ns: Option<u64>,
    mut is_over: impl FnMut() -> bool,
) -> bool {
    while !is_over() {
        if deadline_ns.is_some() {
            return false;
        }
        thread::park();
    }
    true
}

#[cfg(not(any(loom, shuttle)))]
fn now_ns() -> u64 {
    static BEGIN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    BEGIN.elapsed().as_nanos() as u64
}

#[cfg(any(loom, shuttle))]
fn now_ns() -> u64 {
    0
}

pub(super) fn deadline_after(duration: Duration) -> u64 {
    now_ns().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
