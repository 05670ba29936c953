//! The lock for many readers or one writer.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::time::Duration;

use super::const_fn;
use super::platform::{TimedOut, deadline_after};
use super::raw_rwlock::Access::{Read, Write};
use super::raw_rwlock::RawRwLock;

/// A value that many threads read at a time, or one writes.
///
/// The lock is given in the order in which threads ask for it: a reader waits behind a writer that waits. So a thread that has it for
/// reading must not lock it again.
///
/// **Context:** threads, as for a [`Mutex`](super::Mutex).
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    value: UnsafeCell<T>,
}

// SAFETY: the value goes with the lock.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}

// SAFETY: the value is reached through guards: those of readers share it between threads (`Sync`), that of a writer gives one thread
// after the other all of it (`Send`). `RawRwLock` allows no other guard beside a writer's.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

/// An [`RwLock`], locked for reading.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    // As for `std`: the lock may come to know its holders.
    _not_send: PhantomData<*mut ()>,
}

/// An [`RwLock`], locked for writing.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: a shared guard gives a shared borrow of the value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}

// SAFETY: a shared guard gives a shared borrow of the value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T> RwLock<T> {
    const_fn! {
        /// Creates a free lock.
        #[cfg_attr(feature = "checked", track_caller)]
        pub fn new(value: T) -> RwLock<T> {
            RwLock { raw: RawRwLock::new(), value: UnsafeCell::new(value) }
        }
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading; blocks while a thread writes, and while threads wait that have come before.
    ///
    /// **Context:** a thread, interrupts on, no guard or spin lock held: it may block.
    ///
    /// # Panics
    /// In any other context.
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        // Without a time-out it ends with the lock.
        let _ = self.raw.acquire("RwLock::read", Read, None);
        RwLockReadGuard { lock: self, _not_send: PhantomData }
    }

    /// As [`read`](Self::read), at most for `timeout`.
    ///
    /// **Context:** as for [`read`](Self::read).
    ///
    /// # Errors
    /// [`TimedOut`]: the lock was not free.
    ///
    /// # Panics
    /// As for [`read`](Self::read).
    #[track_caller]
    pub fn read_timeout(&self, timeout: Duration) -> Result<RwLockReadGuard<'_, T>, TimedOut> {
        self.raw.acquire("RwLock::read_timeout", Read, Some(deadline_after(timeout)))?;
        Ok(RwLockReadGuard { lock: self, _not_send: PhantomData })
    }

    /// Locks for reading if no thread writes or waits. Does not block.
    ///
    /// **Context:** thread or interrupt; not NMI.
    #[cfg_attr(feature = "checked", track_caller)]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.raw.acquire_if_free(Read).then(|| RwLockReadGuard { lock: self, _not_send: PhantomData })
    }

    /// Locks for writing; blocks while other threads have the lock, and while threads wait that have come before.
    ///
    /// **Context:** as for [`read`](Self::read).
    ///
    /// # Panics
    /// In any other context.
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        // Without a time-out it ends with the lock.
        let _ = self.raw.acquire("RwLock::write", Write, None);
        RwLockWriteGuard { lock: self, _not_send: PhantomData }
    }

    /// As [`write`](Self::write), at most for `timeout`.
    ///
    /// **Context:** as for [`read`](Self::read).
    ///
    /// # Errors
    /// [`TimedOut`]: the lock was not free.
    ///
    /// # Panics
    /// As for [`read`](Self::read).
    #[track_caller]
    pub fn write_timeout(&self, timeout: Duration) -> Result<RwLockWriteGuard<'_, T>, TimedOut> {
        self.raw.acquire("RwLock::write_timeout", Write, Some(deadline_after(timeout)))?;
        Ok(RwLockWriteGuard { lock: self, _not_send: PhantomData })
    }

    /// Locks for writing if no thread has the lock or waits. Does not block.
    ///
    /// **Context:** thread or interrupt; not NMI.
    #[cfg_attr(feature = "checked", track_caller)]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.raw.acquire_if_free(Write).then(|| RwLockWriteGuard { lock: self, _not_send: PhantomData })
    }

    /// Returns the value. The borrow proves that no thread has the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.raw.release(Read);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.raw.release(Write);
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: no mutable borrow exists: this reader is among the holders, and `RawRwLock` allows no writer beside it.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: no other borrow is mutable: this writer is the only holder (`RawRwLock`), and the guard is borrowed here.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is no other borrow: this writer is the only holder (`RawRwLock`), and the guard is borrowed mutably here.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: Default> Default for RwLock<T> {
    #[cfg_attr(feature = "checked", track_caller)]
    fn default() -> Self {
        RwLock::new(T::default())
    }
}

impl<T: ?Sized> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLock")
    }
}
