//! What the wait queue needs, on the host: for its tests by `std`, and for its models by loom and shuttle.

extern crate std;

use core::hash::{BuildHasher, BuildHasherDefault};
use core::time::Duration;
use std::hash::DefaultHasher;

#[cfg(loom)]
use loom::{sync::Mutex, sync::MutexGuard, thread};
#[cfg(shuttle)]
use shuttle::{sync::Mutex, sync::MutexGuard, thread};
#[cfg(not(any(loom, shuttle)))]
use std::{sync::Mutex, sync::MutexGuard, thread};

use super::const_fn;

/// The condition of a wait did not hold in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

/// Threads of the host need no guard.
pub(super) struct Guard;

/// The running thread.
pub(super) struct Me;

/// A thread that waits.
pub(super) type Handle = thread::Thread;

/// A lock.
pub(super) struct SpinLock<T>(Mutex<T>);

/// A lock, held.
pub(super) type SpinLockGuard<'a, T> = MutexGuard<'a, T>;

impl<T> SpinLock<T> {
    const_fn! {
        pub(super) fn new(value: T) -> SpinLock<T> {
            SpinLock(Mutex::new(value))
        }
    }

    pub(super) fn lock<'a>(&'a self, _: &'a Guard) -> SpinLockGuard<'a, T> {
        self.0.lock().unwrap()
    }
}

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

pub(super) fn handle(_: &Me) -> Handle {
    thread::current()
}

pub(super) fn id_of(handle: &Handle) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(handle.id());
    (hash as usize) << 4 | 4
}

pub(super) fn current_id() -> usize {
    id_of(&thread::current())
}

pub(super) fn wake(_: &Guard, handle: Handle) {
    handle.unpark();
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
