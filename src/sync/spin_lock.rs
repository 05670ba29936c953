//! The kernel's spin locks: [`SpinLock`] for code that runs with interrupts off, [`SpinLockIrq`] for all other code.
//!
//! Both combine a [`QueuedLock`](super::queued) and a value, and record the holder and the call site that took the lock. A CPU that
//! holds or awaits a lock has its interrupts off. Otherwise an interrupt handler that takes the lock would wait for the
//! code that it interrupted, and the CPUs behind in the queue would wait for every interrupt of this one. No guard masks
//! NMIs, so NMI handlers use `try_lock` only.
//!
//! A wait that is too long is reported by the waiting CPU: see [`waiting`].

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::panic::Location;

use super::lock_owner::LockOwner;
use super::{lock_order, waiting};
use crate::cpu::{IrqGuard, lock_word};

impl LockOwner {
    #[inline(always)]
    #[track_caller]
    fn acquire(&self) {
        let me = lock_word();
        lock_order::expect_spin(self);
        if !self.lock.acquire_uncontended(me) {
            waiting::acquire(self, &self.lock, me, Location::caller());
        }
        self.record_site(Location::caller());
        lock_order::took_spin(self);
    }

    #[inline(always)]
    #[track_caller]
    fn try_acquire(&self) -> bool {
        let is_acquired = self.lock.try_acquire(lock_word());
        if is_acquired {
            self.record_site(Location::caller());
            lock_order::took_spin(self);
        }
        is_acquired
    }

    #[inline(always)]
    fn release(&self) {
        lock_order::released_spin(self);
        self.lock.release();
    }
}

/// A spin lock for code that runs with interrupts off. It does not sleep.
#[repr(C)]
pub struct SpinLock<T> {
    owner: LockOwner,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a guard, and `LockOwner::acquire` and `try_acquire` allow one at a time. `T:
// Send` allows its use by one CPU after the other.
unsafe impl<T: Send> Sync for SpinLock<T> {}

/// A [`SpinLock`], held. It is released when this is dropped.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct SpinLockGuard<'a, T> {
    lock: &'a SpinLock<T>,
    // The guard stays on the CPU whose number is in the lock.
    _not_send: PhantomData<*mut T>,
}

impl<T> SpinLock<T> {
    /// Creates a free lock.
    #[cfg_attr(feature = "checked", track_caller)]
    pub const fn new(value: T) -> SpinLock<T> {
        SpinLock { owner: LockOwner::new(), value: UnsafeCell::new(value) }
    }

    /// Takes the lock; spins while another CPU holds it. The guard proves that interrupts are off, and is borrowed while
    /// the lock is held.
    ///
    /// **Context:** thread or interrupt, interrupts off; not NMI.
    ///
    /// # Panics
    /// If this CPU holds the lock already, or if the wait exceeds [`LOCK_TIMEOUT_MS`](crate::config::LOCK_TIMEOUT_MS).
    #[inline(always)]
    #[track_caller]
    pub fn lock<'a>(&'a self, _irqs_off: &'a IrqGuard) -> SpinLockGuard<'a, T> {
        self.lock_unguarded()
    }

    /// Takes the lock if it is free; does not wait.
    ///
    /// **Context:** any, also NMI; interrupts off.
    #[inline(always)]
    #[track_caller]
    pub fn try_lock<'a>(&'a self, _irqs_off: &'a IrqGuard) -> Option<SpinLockGuard<'a, T>> {
        self.try_lock_unguarded()
    }

    /// As [`lock`](Self::lock), for [`SpinLockIrq`], whose guard holds the [`IrqGuard`].
    #[inline(always)]
    #[track_caller]
    fn lock_unguarded(&self) -> SpinLockGuard<'_, T> {
        self.owner.acquire();
        SpinLockGuard { lock: self, _not_send: PhantomData }
    }

    #[inline(always)]
    #[track_caller]
    fn try_lock_unguarded(&self) -> Option<SpinLockGuard<'_, T>> {
        // `then`, not `then_some`: a guard of a lock that was not taken would release it when dropped.
        self.owner.try_acquire().then(|| SpinLockGuard { lock: self, _not_send: PhantomData })
    }

    /// Releases the lock in place of its holder.
    ///
    /// # Safety
    /// The holder never runs again, and the value is usable although the holder may have been interrupted while it
    /// changed it.
    pub unsafe fn force_unlock(&self) {
        self.owner.lock.force_release();
    }

    /// Releases the lock of this CPU whose guard was forgotten.
    ///
    /// # Safety
    /// This CPU holds the lock, and its guard was leaked and is not used any more.
    pub(crate) unsafe fn unlock_forgotten(&self) {
        self.owner.release();
    }

    /// Returns the state of the lock.
    pub const fn owner(&self) -> &LockOwner {
        &self.owner
    }
}

impl<T> Drop for SpinLockGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.owner.release();
    }
}

impl<T> Deref for SpinLockGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: no other borrow is mutable: a guard exists only while its CPU holds the lock (`LockOwner::acquire`,
        // `try_acquire`), one at a time, and it is borrowed here.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinLockGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: there is no other borrow: a guard exists only while its CPU holds the lock (`LockOwner::acquire`,
        // `try_acquire`), one at a time, and it is borrowed mutably here.
        unsafe { &mut *self.lock.value.get() }
    }
}

/// A spin lock that interrupt handlers may take too: interrupts are off while it is held or awaited. It does not sleep.
#[repr(transparent)]
pub struct SpinLockIrq<T>(SpinLock<T>);

/// A [`SpinLockIrq`], held. When this is dropped, the lock is released, then the interrupt flag is restored.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct SpinLockIrqGuard<'a, T> {
    // Dropped in this order: the lock is released before interrupts are on again.
    lock: SpinLockGuard<'a, T>,
    irq: IrqGuard,
}

impl<T> SpinLockIrq<T> {
    /// Creates a free lock.
    #[cfg_attr(feature = "checked", track_caller)]
    pub const fn new(value: T) -> SpinLockIrq<T> {
        SpinLockIrq(SpinLock::new(value))
    }

    /// Disables interrupts and takes the lock; spins while another CPU holds it.
    ///
    /// **Context:** thread or interrupt, interrupts on or off; not NMI.
    ///
    /// # Panics
    /// As [`SpinLock::lock`].
    #[inline(always)]
    #[track_caller]
    pub fn lock(&self) -> SpinLockIrqGuard<'_, T> {
        let irq = IrqGuard::new();
        SpinLockIrqGuard { lock: self.0.lock_unguarded(), irq }
    }

    /// As [`lock`](Self::lock), with interrupts off already: does not read the flags register again.
    ///
    /// # Panics
    /// As [`SpinLock::lock`].
    #[inline(always)]
    #[track_caller]
    pub fn lock_under<'a>(&'a self, irqs_off: &'a IrqGuard) -> SpinLockGuard<'a, T> {
        self.0.lock(irqs_off)
    }

    /// Takes the lock if it is free; does not wait.
    ///
    /// **Context:** any, also NMI.
    #[track_caller]
    pub fn try_lock(&self) -> Option<SpinLockIrqGuard<'_, T>> {
        let irq = IrqGuard::new();
        Some(SpinLockIrqGuard { lock: self.0.try_lock_unguarded()?, irq })
    }

    /// Releases the lock in place of its holder.
    ///
    /// # Safety
    /// As for [`SpinLock::force_unlock`].
    pub unsafe fn force_unlock(&self) {
        // SAFETY: the holder does not use the value any more, guaranteed by the caller (see # Safety).
        unsafe { self.0.force_unlock() }
    }

    /// Returns the state of the lock.
    pub const fn owner(&self) -> &LockOwner {
        self.0.owner()
    }
}

impl<T> SpinLockIrqGuard<'_, T> {
    /// Returns the proof that interrupts are off.
    pub fn irq_guard(&self) -> &IrqGuard {
        &self.irq
    }
}

impl<T> Deref for SpinLockIrqGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.lock
    }
}

impl<T> DerefMut for SpinLockIrqGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.lock
    }
}
