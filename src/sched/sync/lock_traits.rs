//! The traits of the crate `lock_api`, by which code that is generic over locks uses those of threads.
//!
//! All checks stay: a `lock` where the caller must not block panics, and so does one by the thread that has the mutex already.
//!
//! The guards stay with their thread ([`GuardNoSend`]): the word of a mutex names its owner. [`RawRwLock`] is not recursive: a reader waits
//! behind a writer that waits, so `RawRwLockRecursive` would promise what it does not do.

use core::time::Duration;

use lock_api::GuardNoSend;

use super::platform::{LockClass, deadline_after};
use super::raw_mutex::RawMutex;
use super::raw_rwlock::Access::{Read, Write};
use super::raw_rwlock::RawRwLock;

// SAFETY: the mutex must be exclusive: `take_free`, `take_if_free` and `take_or_mark` store an owner only into a word that has none, and
// `release_contended` gives the mutex to another thread only for its owner.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "the trait has it so: it is the first value of each mutex"
    )]
    const INIT: RawMutex = RawMutex::of(LockClass::of_one_lock());

    type GuardMarker = GuardNoSend;

    #[inline(always)]
    #[track_caller]
    fn lock(&self) {
        // Without a time-out it ends with the mutex locked.
        let _ = self.acquire("RawMutex::lock", || None);
    }

    #[inline]
    #[track_caller]
    fn try_lock(&self) -> bool {
        self.acquire_if_free("RawMutex::try_lock")
    }

    #[inline(always)]
    unsafe fn unlock(&self) {
        self.release(false);
    }

    fn is_locked(&self) -> bool {
        self.is_held()
    }
}

// SAFETY: the mutex must stay exclusive: `release_contended` stores the next owner in the place of this one, in one step.
unsafe impl lock_api::RawMutexFair for RawMutex {
    #[inline]
    unsafe fn unlock_fair(&self) {
        self.release(true);
    }
}

// SAFETY: `true` must mean that the caller alone has the mutex: `acquire` returns `Ok` only when the word names it.
unsafe impl lock_api::RawMutexTimed for RawMutex {
    type Duration = Duration;

    /// In nanoseconds of [`now_ns`](crate::time::now_ns).
    type Instant = u64;

    #[track_caller]
    fn try_lock_for(&self, timeout: Duration) -> bool {
        self.acquire("RawMutex::try_lock_for", || Some(deadline_after(timeout))).is_ok()
    }

    #[track_caller]
    fn try_lock_until(&self, deadline_ns: u64) -> bool {
        self.acquire("RawMutex::try_lock_until", || Some(deadline_ns)).is_ok()
    }
}

// SAFETY: a writer must be alone, and readers only with readers: `Holders::admit` admits no other, and it changes under the queue's lock.
unsafe impl lock_api::RawRwLock for RawRwLock {
    #[allow(
        clippy::declare_interior_mutable_const,
        reason = "the trait has it so: it is the first value of each lock"
    )]
    const INIT: RawRwLock = RawRwLock::of(LockClass::of_one_lock());

    type GuardMarker = GuardNoSend;

    #[track_caller]
    fn lock_shared(&self) {
        // Without a time-out it ends with the lock.
        let _ = self.acquire("RawRwLock::lock_shared", Read, None);
    }

    fn try_lock_shared(&self) -> bool {
        self.acquire_if_free(Read)
    }

    unsafe fn unlock_shared(&self) {
        self.release(Read);
    }

    #[track_caller]
    fn lock_exclusive(&self) {
        // Without a time-out it ends with the lock.
        let _ = self.acquire("RawRwLock::lock_exclusive", Write, None);
    }

    fn try_lock_exclusive(&self) -> bool {
        self.acquire_if_free(Write)
    }

    unsafe fn unlock_exclusive(&self) {
        self.release(Write);
    }

    fn is_locked(&self) -> bool {
        self.is_held().0
    }

    fn is_locked_exclusive(&self) -> bool {
        self.is_held().1
    }
}

// SAFETY: a writer must stay alone, and readers with readers: a release ends the caller's share only, and `grant` admits the next threads.
unsafe impl lock_api::RawRwLockFair for RawRwLock {
    unsafe fn unlock_shared_fair(&self) {
        self.release(Read);
    }

    unsafe fn unlock_exclusive_fair(&self) {
        self.release(Write);
    }
}

// SAFETY: no writer may have the lock meanwhile: `make_reader` turns the writer into a reader under the queue's lock, under which others are admitted.
unsafe impl lock_api::RawRwLockDowngrade for RawRwLock {
    unsafe fn downgrade(&self) {
        self.make_reader();
    }
}

// SAFETY: `true` must mean that the caller is a holder: `acquire` returns `Ok` only when `Holders::admit` has admitted it.
unsafe impl lock_api::RawRwLockTimed for RawRwLock {
    type Duration = Duration;

    /// In nanoseconds of [`now_ns`](crate::time::now_ns).
    type Instant = u64;

    #[track_caller]
    fn try_lock_shared_for(&self, timeout: Duration) -> bool {
        self.acquire("RawRwLock::try_lock_shared_for", Read, Some(deadline_after(timeout))).is_ok()
    }

    #[track_caller]
    fn try_lock_shared_until(&self, deadline_ns: u64) -> bool {
        self.acquire("RawRwLock::try_lock_shared_until", Read, Some(deadline_ns)).is_ok()
    }

    #[track_caller]
    fn try_lock_exclusive_for(&self, timeout: Duration) -> bool {
        self.acquire("RawRwLock::try_lock_exclusive_for", Write, Some(deadline_after(timeout))).is_ok()
    }

    #[track_caller]
    fn try_lock_exclusive_until(&self, deadline_ns: u64) -> bool {
        self.acquire("RawRwLock::try_lock_exclusive_until", Write, Some(deadline_ns)).is_ok()
    }
}
