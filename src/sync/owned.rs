//! A spin lock whose word says which CPU holds it: what a panic tells of locks, by the names that `named` lists.
//!
//! The owner costs nothing: a lock has to store some word to be taken, and a CPU's own is as quick to load as a constant.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

#[cfg(target_os = "none")]
use super::named::name_of;
use crate::cpu::CpuId;
#[cfg(target_os = "none")]
use crate::cpu::lock_word;
#[cfg(not(target_os = "none"))]
use tests::{lock_word, name_of};

/// Who holds a lock: one more than the CPU's number, or 0.
#[repr(transparent)]
pub struct Owner(AtomicU32);

impl Owner {
    /// The CPU that holds it, if one does.
    pub fn get(&self) -> Option<CpuId> {
        self.0.load(Ordering::Acquire).checked_sub(1).map(CpuId)
    }

    #[inline(always)]
    fn take(&self) -> bool {
        self.0.compare_exchange(0, lock_word(), Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    #[inline(never)]
    fn take_when_free(&self) {
        let me = CpuId(lock_word() - 1);
        loop {
            match self.get() {
                None if self.take() => return,
                Some(owner) if owner == me => self.refuse_to_wait(owner),
                _ => core::hint::spin_loop(),
            }
        }
    }

    fn refuse_to_wait(&self, owner: CpuId) -> ! {
        panic!("cpu {owner} waits for {}, which it holds itself", name_of(self).unwrap_or("a lock"))
    }
}

/// A lock that spins. It does not mask interrupts: whoever takes it has them off.
#[repr(C)]
pub struct OwnedMutex<T> {
    owner: Owner,
    value: UnsafeCell<T>,
}

// SAFETY: only one guard lives at a time, so the value is used by one CPU after the other.
unsafe impl<T: Send> Sync for OwnedMutex<T> {}

/// The lock, held. It stays on the CPU whose number is in the lock.
pub struct OwnedGuard<'a, T> {
    lock: &'a OwnedMutex<T>,
    _not_send: PhantomData<*mut T>,
}

impl<T> OwnedMutex<T> {
    /// A free lock.
    pub const fn new(value: T) -> OwnedMutex<T> {
        OwnedMutex { owner: Owner(AtomicU32::new(0)), value: UnsafeCell::new(value) }
    }

    /// Takes the lock; waits as long as another CPU holds it.
    ///
    /// # Panics
    /// If this CPU holds it already: it would wait for itself.
    #[inline(always)]
    pub fn lock(&self) -> OwnedGuard<'_, T> {
        if !self.owner.take() {
            self.owner.take_when_free();
        }
        OwnedGuard { lock: self, _not_send: PhantomData }
    }

    /// Takes the lock if it is free.
    #[inline(always)]
    pub fn try_lock(&self) -> Option<OwnedGuard<'_, T>> {
        // No guard is made where the lock is another's: to drop it would free that.
        self.owner.take().then(|| OwnedGuard { lock: self, _not_send: PhantomData })
    }

    /// Frees the lock on its holder's behalf.
    ///
    /// # Safety
    /// The holder is stopped for good, and the value tolerates being left half-way.
    pub unsafe fn force_unlock(&self) {
        self.owner.0.store(0, Ordering::Release);
    }

    /// The word that tells who holds it.
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl<T> Drop for OwnedGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.owner.0.store(0, Ordering::Release);
    }
}

impl<T> Deref for OwnedGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: a lock has one guard at a time (`Owner::take`), and it lives as long as this borrow.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for OwnedGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: a lock has one guard at a time (`Owner::take`), and `&mut self` borrows it exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    std::thread_local! {
        /// The CPU that a thread plays.
        static CPU: Cell<u32> = const { Cell::new(0) };
    }

    pub fn lock_word() -> u32 {
        CPU.get() + 1
    }

    pub fn name_of(_: &Owner) -> Option<&'static str> {
        None
    }

    #[test]
    fn a_try_that_fails_leaves_the_lock_to_its_owner() {
        let lock = OwnedMutex::new(());
        let held = lock.lock();
        CPU.set(1);
        assert!(lock.try_lock().is_none());
        assert_eq!(lock.owner().get(), Some(CpuId(0)));
        assert!(lock.try_lock().is_none());
        CPU.set(0);
        drop(held);
        assert_eq!(lock.owner().get(), None);
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn cpus_that_contend_come_one_after_the_other() {
        const ROUNDS: u32 = 2000;
        let lock = OwnedMutex::new(0);
        let is_inside = AtomicBool::new(false);
        thread::scope(|scope| {
            for cpu in 0..4 {
                let (lock, is_inside) = (&lock, &is_inside);
                scope.spawn(move || {
                    CPU.set(cpu);
                    for _ in 0..ROUNDS {
                        let mut count = lock.lock();
                        assert!(!is_inside.swap(true, Ordering::AcqRel));
                        assert_eq!(lock.owner().get(), Some(CpuId(cpu)));
                        // Gives the others a chance to try in vain.
                        thread::yield_now();
                        *count += 1;
                        is_inside.store(false, Ordering::Release);
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 4 * ROUNDS);
    }

    #[test]
    #[should_panic(expected = "cpu 3 waits for a lock, which it holds itself")]
    fn who_holds_it_already_is_told_so() {
        CPU.set(3);
        let lock = OwnedMutex::new(());
        let _held = lock.lock();
        let _ = lock.lock();
    }

    #[test]
    fn a_lock_is_freed_on_its_holders_behalf() {
        let lock = OwnedMutex::new(());
        std::mem::forget(lock.lock());
        CPU.set(1);
        assert!(lock.try_lock().is_none());
        // SAFETY: what held it is gone, and there is nothing in it.
        unsafe { lock.force_unlock() };
        assert!(lock.try_lock().is_some());
    }
}
