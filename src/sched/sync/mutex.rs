//! The mutex.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::time::Duration;

use super::const_fn;
use super::platform::{TimedOut, deadline_after};
use super::raw_mutex::RawMutex;

/// A value that one thread uses at a time. A thread that finds it in use tries again for a short time, and then blocks.
///
/// **Context:** threads. A thread that holds it may block; one that holds a spin lock or a guard must not lock it. Handlers cannot use
/// it: what they share with threads is in a [`SpinLockIrq`](crate::sync::SpinLockIrq).
///
/// ```ignore
/// static TOTAL: Mutex<u64> = Mutex::new(0);
/// *TOTAL.lock() += 1;
/// ```
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: the value goes with the mutex.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}

// SAFETY: the value is reached through a guard, which one thread has at a time (`RawMutex`). `T: Send` allows its use by one thread
// after the other.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

/// A [`Mutex`], locked. It is unlocked when this is dropped.
#[must_use = "the mutex is unlocked as soon as the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    // The mutex has the number of the thread, so the guard must not be sent to another.
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: a shared guard gives a shared borrow of the value.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T> Mutex<T> {
    const_fn! {
        /// Creates a free mutex.
        #[cfg_attr(feature = "checked", track_caller)]
        pub fn new(value: T) -> Mutex<T> {
            Mutex { raw: RawMutex::new(), value: UnsafeCell::new(value) }
        }
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks the mutex; blocks while another thread has it.
    ///
    /// **Context:** a thread, interrupts on, no guard or spin lock held: it may block.
    ///
    /// # Panics
    /// In any other context, and if the thread has the mutex already.
    #[inline(always)]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        // Without a time-out it ends with the mutex locked.
        let _ = self.raw.acquire("Mutex::lock", || None);
        self.locked()
    }

    /// As [`lock`](Self::lock), at most for `timeout`.
    ///
    /// **Context:** as for [`lock`](Self::lock).
    ///
    /// # Errors
    /// [`TimedOut`]: another thread had it all the time.
    ///
    /// # Panics
    /// As for [`lock`](Self::lock).
    #[track_caller]
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>, TimedOut> {
        self.raw.acquire("Mutex::lock_timeout", || Some(deadline_after(timeout)))?;
        Ok(self.locked())
    }

    /// Locks the mutex if it is free. Does not block.
    ///
    /// **Context:** a thread; a guard or spin lock may be held.
    ///
    /// # Panics
    /// Where no thread runs.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        // `then`, not `then_some`: the guard of a mutex that was not locked would unlock it when dropped.
        self.raw.acquire_if_free("Mutex::try_lock").then(|| self.locked())
    }

    /// Returns whether a thread has the mutex. **Context:** any; the result may be old.
    pub fn is_locked(&self) -> bool {
        self.raw.is_held()
    }

    /// Returns the value. The borrow proves that no thread has the mutex.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// The guard of the mutex, which this thread has locked.
    #[inline(always)]
    fn locked(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, _not_send: PhantomData }
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Unlocks the mutex, and hands it over if a thread waits: none takes it before. A drop instead lets a running thread take it,
    /// which costs fewer switches.
    ///
    /// **Context:** a thread. May switch.
    pub fn unlock_fair(guard: MutexGuard<'a, T>) {
        MutexGuard::into_mutex(guard).raw.release(true);
    }

    /// The mutex, which the caller then unlocks.
    pub(super) fn into_mutex(this: MutexGuard<'a, T>) -> &'a Mutex<T> {
        core::mem::ManuallyDrop::new(this).mutex
    }

    /// Returns the mutex without its value.
    pub(super) fn raw(mutex: &Mutex<T>) -> &RawMutex {
        &mutex.raw
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.mutex.raw.release(false);
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: no other borrow is mutable: this thread has the mutex, and the guard is borrowed here.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is no other borrow: this thread has the mutex, and the guard is borrowed mutably here.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: Default> Default for Mutex<T> {
    #[cfg_attr(feature = "checked", track_caller)]
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("is_locked", &self.is_locked()).finish_non_exhaustive()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
