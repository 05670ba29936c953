//! A spin lock that a handler may take too.

use core::ops::{Deref, DerefMut};

use super::owned::{OwnedGuard, OwnedMutex, Owner};
use crate::cpu::IrqGuard;

/// A lock with interrupts off while it is held: otherwise a handler that wants it would wait for the very code that it
/// interrupted. Not to be taken from an NMI, which no guard keeps out.
pub struct IrqMutex<T>(OwnedMutex<T>);

/// The lock, held.
pub struct IrqMutexGuard<'a, T> {
    // Dropped in this order: the lock is free before interrupts are on again.
    lock: OwnedGuard<'a, T>,
    irq: IrqGuard,
}

impl<T> IrqMutex<T> {
    /// A free lock.
    pub const fn new(value: T) -> IrqMutex<T> {
        IrqMutex(OwnedMutex::new(value))
    }

    /// Takes the lock; waits as long as another CPU holds it.
    ///
    /// # Panics
    /// If this CPU holds it already.
    #[inline(always)]
    pub fn lock(&self) -> IrqMutexGuard<'_, T> {
        let irq = IrqGuard::new();
        IrqMutexGuard { lock: self.0.lock(), irq }
    }

    /// As [`lock`](Self::lock), where interrupts are off already: spares the caller a second look at the flags.
    #[inline(always)]
    pub fn lock_under<'a>(&'a self, _: &'a IrqGuard) -> OwnedGuard<'a, T> {
        self.0.lock()
    }

    /// Takes the lock if it is free.
    pub fn try_lock(&self) -> Option<IrqMutexGuard<'_, T>> {
        let irq = IrqGuard::new();
        Some(IrqMutexGuard { lock: self.0.try_lock()?, irq })
    }

    /// Frees the lock on its holder's behalf.
    ///
    /// # Safety
    /// The holder is stopped for good, and the value tolerates being left half-way.
    pub unsafe fn force_unlock(&self) {
        // SAFETY: the holder is stopped and the value tolerates it, guaranteed by the caller (see # Safety).
        unsafe { self.0.force_unlock() }
    }

    /// The word that tells who holds it.
    pub const fn owner(&self) -> &Owner {
        self.0.owner()
    }
}

impl<T> IrqMutexGuard<'_, T> {
    /// The proof that interrupts are off.
    pub fn irq_guard(&self) -> &IrqGuard {
        &self.irq
    }
}

impl<T> Deref for IrqMutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.lock
    }
}

impl<T> DerefMut for IrqMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.lock
    }
}
