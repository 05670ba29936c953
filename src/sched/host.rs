//! What stands for locks and threads of the kernel on the host: for tests by `std`, and for models by loom and shuttle.

extern crate std;

#[cfg(loom)]
use loom::{sync::Mutex, sync::MutexGuard, thread};
#[cfg(shuttle)]
use shuttle::{sync::Mutex, sync::MutexGuard, thread};
#[cfg(not(any(loom, shuttle)))]
use std::{sync::Mutex, sync::MutexGuard, thread};

use super::class::Urgency;

/// Threads of the host need no guard.
pub(crate) struct Guard;

/// A lock.
pub(crate) struct SpinLock<T>(Mutex<T>);

/// A lock, held.
pub(crate) type SpinLockGuard<'a, T> = MutexGuard<'a, T>;

impl<T> SpinLock<T> {
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) const fn new(value: T) -> SpinLock<T> {
        SpinLock(Mutex::new(value))
    }

    #[cfg(any(loom, shuttle))]
    pub(crate) fn new(value: T) -> SpinLock<T> {
        SpinLock(Mutex::new(value))
    }

    pub(crate) fn lock<'a>(&'a self, _: &'a Guard) -> SpinLockGuard<'a, T> {
        self.0.lock().unwrap()
    }
}

/// A thread.
#[derive(Clone)]
pub(crate) struct Target(thread::Thread);

impl Target {
    pub(crate) fn current() -> Target {
        Target(thread::current())
    }

    pub(crate) fn unpark(&self) {
        self.0.unpark();
    }

    /// The host has no classes.
    pub(crate) fn want_urgency(&self, _: Urgency) {}
}
