//! The lock of programs on the host.

extern crate std;

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// [`SpinLockIrq`] in a program that a project builds for the host, as for `stress --host`: a lock of the host's. There are no interrupts to
/// disable.
#[derive(Debug, Default)]
pub struct SpinLockIrq<T>(Mutex<T>);

/// A [`SpinLockIrq`], held. It is released when this is dropped.
pub type SpinLockIrqGuard<'a, T> = MutexGuard<'a, T>;

impl<T> SpinLockIrq<T> {
    /// Creates a free lock.
    pub const fn new(value: T) -> SpinLockIrq<T> {
        SpinLockIrq(Mutex::new(value))
    }

    /// Takes the lock; waits while another thread holds it. A thread that has panicked with the lock has released it.
    pub fn lock(&self) -> SpinLockIrqGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<SpinLockIrqGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// The kernel's macro names a lock in reports, which the host has not.
#[macro_export]
macro_rules! name_lock {
    ($($lock:tt)+) => {};
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    static LOCK: SpinLockIrq<u32> = SpinLockIrq::new(1);
    crate::name_lock!(LOCK);

    #[test]
    fn one_thread_has_the_lock_and_a_panic_releases_it() {
        let held = LOCK.lock();
        assert!(LOCK.try_lock().is_none());
        drop(held);
        let panicked = std::panic::catch_unwind(|| {
            let mut held = LOCK.lock();
            *held = 2;
            panic!("with the lock");
        });
        assert!(panicked.is_err());
        assert_eq!(LOCK.try_lock().map(|value| *value), Some(2));
        assert_eq!(*LOCK.lock(), 2);
    }
}
