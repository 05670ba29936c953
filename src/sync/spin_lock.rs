//! The kernel's spin locks: [`SpinLock`] where interrupts are known to be off, [`SpinLockIrq`] everywhere else.
//!
//! Both are a [`QueuedLock`] with a value, and both say who holds them and where it was taken. A CPU that holds or awaits
//! one has its interrupts off: otherwise a handler that wants the lock would wait for the very code that it interrupted,
//! and the CPUs in the queue behind would wait for every interrupt of this one. No guard keeps an NMI out, so NMI handlers
//! use `try_lock` only.
//!
//! What is waited for too long is reported by the waiting CPU: see [`waiting`](super::waiting).

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::panic::Location;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::queued::QueuedLock;
use super::wait::Site;
use super::waiting;
use crate::cpu::{CpuId, IrqGuard, lock_word};

/// Who holds a lock, and where it was taken.
///
/// The holder costs nothing: a lock has to store some word to be taken, and a CPU's own is as quick to load as a constant.
/// The place costs two instructions.
#[repr(C)]
pub struct LockOwner {
    lock: QueuedLock,
    /// A [`Site`]: where the lock was last taken. Written by the holder, read by others for reports only.
    held_at: AtomicUsize,
}

impl LockOwner {
    const fn new() -> LockOwner {
        LockOwner { lock: QueuedLock::new(), held_at: AtomicUsize::new(0) }
    }

    /// The CPU that holds the lock, if one does. Any context.
    pub fn get(&self) -> Option<CpuId> {
        self.lock.holder().map(CpuId)
    }

    /// Where the lock was last taken. Any context. Just after it was taken, this may still be the place before.
    pub fn site(&self) -> Site {
        // SAFETY: nothing but a site's bits is ever stored, by `hold`.
        unsafe { Site::from_bits(self.held_at.load(Ordering::Relaxed)) }
    }

    #[inline(always)]
    #[track_caller]
    fn acquire(&self) {
        let me = lock_word();
        if !self.lock.acquire_uncontended(me) {
            waiting::acquire(self, &self.lock, me, Location::caller());
        }
        self.hold(Location::caller());
    }

    #[inline(always)]
    #[track_caller]
    fn try_acquire(&self) -> bool {
        let is_acquired = self.lock.try_acquire(lock_word());
        if is_acquired {
            self.hold(Location::caller());
        }
        is_acquired
    }

    #[inline(always)]
    fn hold(&self, location: &'static Location<'static>) {
        self.held_at.store(Site::of(location).bits(), Ordering::Relaxed);
    }
}

/// A spin lock for code that runs with interrupts off.
#[repr(C)]
pub struct SpinLock<T> {
    owner: LockOwner,
    value: UnsafeCell<T>,
}

// SAFETY: only the one guard that there is at a time reaches the value, so it is used by one CPU after the other.
unsafe impl<T: Send> Sync for SpinLock<T> {}

/// A [`SpinLock`], held. It is freed when this is dropped.
#[must_use = "the lock is freed as soon as the guard is dropped"]
pub struct SpinLockGuard<'a, T> {
    lock: &'a SpinLock<T>,
    // It stays on the CPU whose number is in the lock.
    _not_send: PhantomData<*mut T>,
}

impl<T> SpinLock<T> {
    /// A free lock.
    pub const fn new(value: T) -> SpinLock<T> {
        SpinLock { owner: LockOwner::new(), value: UnsafeCell::new(value) }
    }

    /// Takes the lock; spins while another CPU holds it. The guard is the proof that interrupts are off, and stays borrowed
    /// as long as the lock is held.
    ///
    /// **Context**: thread or interrupt, interrupts off; not NMI.
    ///
    /// # Panics
    /// If this CPU holds the lock already, or if the wait exceeds [`LOCK_TIMEOUT_MS`](crate::config::LOCK_TIMEOUT_MS).
    #[inline(always)]
    #[track_caller]
    pub fn lock<'a>(&'a self, _irqs_off: &'a IrqGuard) -> SpinLockGuard<'a, T> {
        self.lock_unguarded()
    }

    /// Takes the lock if it is free.
    ///
    /// **Context**: any with interrupts off, NMI too.
    #[inline(always)]
    #[track_caller]
    pub fn try_lock<'a>(&'a self, _irqs_off: &'a IrqGuard) -> Option<SpinLockGuard<'a, T>> {
        self.try_lock_unguarded()
    }

    /// For [`SpinLockIrq`], whose guard holds the proof.
    #[inline(always)]
    #[track_caller]
    fn lock_unguarded(&self) -> SpinLockGuard<'_, T> {
        self.owner.acquire();
        SpinLockGuard { lock: self, _not_send: PhantomData }
    }

    #[inline(always)]
    #[track_caller]
    fn try_lock_unguarded(&self) -> Option<SpinLockGuard<'_, T>> {
        // No guard is made where the lock is another's: to drop it would free that.
        self.owner.try_acquire().then(|| SpinLockGuard { lock: self, _not_send: PhantomData })
    }

    /// Frees the lock on its holder's behalf.
    ///
    /// # Safety
    /// The holder never runs again, and the value tolerates being left half-way through a change.
    pub unsafe fn force_unlock(&self) {
        self.owner.lock.force_release();
    }

    /// Who holds it.
    pub const fn owner(&self) -> &LockOwner {
        &self.owner
    }
}

impl<T> Drop for SpinLockGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.owner.lock.release();
    }
}

impl<T> Deref for SpinLockGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: a guard exists only while its CPU holds the lock (`LockOwner::acquire`, `try_acquire`), and only one CPU
        // does; the guard outlives this borrow.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for SpinLockGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: a guard exists only while its CPU holds the lock, and there is one guard for each time that it is taken;
        // that one is borrowed mutably here.
        unsafe { &mut *self.lock.value.get() }
    }
}

/// A spin lock that interrupt handlers may take too: interrupts are off while it is held or awaited.
#[repr(transparent)]
pub struct SpinLockIrq<T>(SpinLock<T>);

/// A [`SpinLockIrq`], held. When this is dropped, the lock is freed, then interrupts are as they were.
#[must_use = "the lock is freed as soon as the guard is dropped"]
pub struct SpinLockIrqGuard<'a, T> {
    // Dropped in this order: the lock is free before interrupts are on again.
    lock: SpinLockGuard<'a, T>,
    irq: IrqGuard,
}

impl<T> SpinLockIrq<T> {
    /// A free lock.
    pub const fn new(value: T) -> SpinLockIrq<T> {
        SpinLockIrq(SpinLock::new(value))
    }

    /// Turns interrupts off and takes the lock; spins while another CPU holds it.
    ///
    /// **Context**: thread or interrupt, interrupts on or off; not NMI.
    ///
    /// # Panics
    /// As [`SpinLock::lock`].
    #[inline(always)]
    #[track_caller]
    pub fn lock(&self) -> SpinLockIrqGuard<'_, T> {
        let irq = IrqGuard::new();
        SpinLockIrqGuard { lock: self.0.lock_unguarded(), irq }
    }

    /// As [`lock`](Self::lock), where interrupts are off already: spares the CPU a second look at its flags.
    ///
    /// # Panics
    /// As [`SpinLock::lock`].
    #[inline(always)]
    #[track_caller]
    pub fn lock_under<'a>(&'a self, irqs_off: &'a IrqGuard) -> SpinLockGuard<'a, T> {
        self.0.lock(irqs_off)
    }

    /// Takes the lock if it is free.
    ///
    /// **Context**: any, NMI too.
    #[track_caller]
    pub fn try_lock(&self) -> Option<SpinLockIrqGuard<'_, T>> {
        let irq = IrqGuard::new();
        Some(SpinLockIrqGuard { lock: self.0.try_lock_unguarded()?, irq })
    }

    /// Frees the lock on its holder's behalf.
    ///
    /// # Safety
    /// As for [`SpinLock::force_unlock`].
    pub unsafe fn force_unlock(&self) {
        // SAFETY: the caller's obligations are the same.
        unsafe { self.0.force_unlock() }
    }

    /// Who holds it.
    pub const fn owner(&self) -> &LockOwner {
        self.0.owner()
    }
}

impl<T> SpinLockIrqGuard<'_, T> {
    /// The proof that interrupts are off.
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
