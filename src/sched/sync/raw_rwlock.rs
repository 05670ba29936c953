//! The read-write lock without its value: who has it, and the threads that wait for it.
//!
//! Readers and writers wait on one list and get the lock in the order of their arrival; readers that are next to each other get it
//! together. So neither waits for ever. The thread that releases the lock gives it to the next, which need not try again.

use core::fmt;

use super::const_fn;
use super::platform::{self, Guard, LockClass, TimedOut};
use super::wait_queue::{Locked, WaitQueue, Waiting};

/// The outcome of a wait that has got the lock.
const GRANTED: usize = 1;

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

use Access::{Read, Write};

/// Who has the lock.
struct Holders {
    readers: usize,
    has_writer: bool,
}

impl Holders {
    /// Notes another holder if those that there are allow it.
    fn admit(&mut self, access: Access) -> bool {
        match access {
            _ if self.has_writer => return false,
            Read => self.readers += 1,
            Write if self.readers > 0 => return false,
            Write => self.has_writer = true,
        }
        true
    }
}

/// A read-write lock without a value: the one of [`RwLock`](super::RwLock). By the traits of the crate `lock_api` it is that of a lock of
/// other code, `lock_api::RwLock<RawRwLock, T>`.
///
/// **Context:** as for [`RwLock`](super::RwLock): threads that may block; to try it, also handlers.
pub struct RawRwLock {
    class: LockClass,
    queue: WaitQueue<Holders>,
}

impl RawRwLock {
    const_fn! {
        /// Creates a free lock of the class of the caller's place.
        #[cfg_attr(feature = "checked", track_caller)]
        pub(super) fn new() -> RawRwLock {
            RawRwLock::of(LockClass::here())
        }
    }

    const_fn! {
        /// Creates a free lock.
        pub(super) fn of(class: LockClass) -> RawRwLock {
            RawRwLock { class, queue: WaitQueue::new(Holders { readers: 0, has_writer: false }) }
        }
    }

    /// Takes the lock if it is free and no thread waits. **Context:** thread or interrupt; not NMI.
    #[cfg_attr(feature = "checked", track_caller)]
    pub(super) fn acquire_if_free(&self, access: Access) -> bool {
        let is_taken = self.queue.with(|holders| !holders.has_waiters(0) && holders.admit(access));
        if is_taken {
            platform::took_lock(self, &self.class);
        }
        is_taken
    }

    /// Takes the lock; blocks while it is not free. **Context:** a thread, which may block.
    #[track_caller]
    pub(super) fn acquire(
        &self,
        what: &str,
        access: Access,
        deadline_ns: Option<u64>,
    ) -> Result<(), TimedOut> {
        let deadline_ns = platform::expect_lock(self, &self.class, || deadline_ns)();
        let (guard, me) = platform::begin_block(what);
        let mut holders = self.queue.lock(&guard);
        let result = if !holders.has_waiters(0) && holders.admit(access) {
            drop(holders);
            Ok(())
        } else {
            let how = Waiting { kind: access as usize, ..Waiting::until(deadline_ns) };
            match holders.wait(&me, how, |_| {}) {
                Ok(_) => Ok(()),
                Err(holders) => {
                    // Readers may have waited behind this writer only.
                    self.grant(&guard, holders);
                    Err(TimedOut)
                }
            }
        };
        platform::finish(guard);
        if result.is_ok() {
            platform::took_lock(self, &self.class);
        }
        result
    }

    /// Gives the lock to the next thread, and to more readers, one after the other.
    fn grant<'a>(&'a self, guard: &'a Guard, mut holders: Locked<'a, Holders>) {
        while let Some(kind) = holders.first_kind(0)
            && holders.admit(if kind == Read as usize { Read } else { Write })
        {
            holders.wake_first(0, GRANTED);
            drop(holders);
            holders = self.queue.lock(guard);
        }
    }

    /// Releases the lock, which the caller has so. May switch to a thread that it was given to. **Context:** thread or interrupt; not NMI.
    pub(super) fn release(&self, access: Access) {
        platform::released_lock(self);
        self.change(|holders| match access {
            Read => holders.readers -= 1,
            Write => holders.has_writer = false,
        });
    }

    /// Makes the caller, which has the lock for writing, a reader. No writer has it between. **Context:** as for [`release`](Self::release).
    pub(super) fn make_reader(&self) {
        self.change(|holders| {
            holders.has_writer = false;
            holders.readers += 1;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Holders)) {
        let guard = platform::guard();
        let mut holders = self.queue.lock(&guard);
        change(&mut holders);
        self.grant(&guard, holders);
        platform::finish(guard);
    }

    /// Returns whether a thread has the lock, and whether for writing. **Context:** thread or interrupt; not NMI. The result may be old.
    pub(super) fn is_held(&self) -> (bool, bool) {
        self.queue.with(|holders| (holders.has_writer || holders.readers > 0, holders.has_writer))
    }
}

impl fmt::Debug for RawRwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawRwLock")
    }
}
