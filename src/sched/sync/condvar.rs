//! The condition variable.

use core::fmt;
use core::time::Duration;

use super::const_fn;
use super::mutex::MutexGuard;
use super::platform::{self, TimedOut, deadline_after};
use super::raw_mutex::RawMutex;
use super::wait_queue::{WaitQueue, Waiting};

/// The outcome of a wait that was notified.
const NOTIFIED: usize = 1;

/// Lets threads wait until the value of a [`Mutex`](super::Mutex) fulfils a condition.
///
/// The thread that makes the condition true does so with the mutex locked, and notifies before or after it unlocks the mutex.
pub struct Condvar(WaitQueue<()>);

impl Condvar {
    const_fn! {
        /// Creates a condition variable that no thread waits for.
        pub fn new() -> Condvar {
            Condvar(WaitQueue::new(()))
        }
    }

    /// Unlocks the mutex and waits for a notification, then locks the mutex again. No notification is missed between. It may return
    /// without one, so the caller checks its condition: see [`wait_while`](Self::wait_while).
    ///
    /// **Context:** a thread, interrupts on, no guard or spin lock held: it blocks.
    ///
    /// # Panics
    /// In any other context.
    #[track_caller]
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let mutex = MutexGuard::into_mutex(guard);
        // Without a time-out it ends with a notification.
        let _ = self.wait_for("Condvar::wait", MutexGuard::raw(mutex), None);
        mutex.lock()
    }

    /// As [`wait`](Self::wait), until the condition does not hold any more.
    ///
    /// **Context:** as for [`wait`](Self::wait).
    ///
    /// # Panics
    /// As for [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// As [`wait`](Self::wait), at most for `timeout`. The mutex is locked afterwards in any case, which may take longer. The error says
    /// that the time has passed without a notification.
    ///
    /// **Context:** as for [`wait`](Self::wait).
    ///
    /// # Panics
    /// As for [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, Result<(), TimedOut>) {
        self.wait_until(guard, deadline_after(timeout))
    }

    /// As [`wait_while`](Self::wait_while), at most for `timeout`. The error says that the condition still holds.
    ///
    /// **Context:** as for [`wait`](Self::wait).
    ///
    /// # Panics
    /// As for [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, Result<(), TimedOut>) {
        let deadline_ns = deadline_after(timeout);
        let mut is_late = false;
        while condition(&mut guard) {
            if is_late {
                return (guard, Err(TimedOut));
            }
            let (locked, waited) = self.wait_until(guard, deadline_ns);
            (guard, is_late) = (locked, waited.is_err());
        }
        (guard, Ok(()))
    }

    #[track_caller]
    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline_ns: u64,
    ) -> (MutexGuard<'a, T>, Result<(), TimedOut>) {
        let mutex = MutexGuard::into_mutex(guard);
        let waited = self.wait_for("Condvar::wait_timeout", MutexGuard::raw(mutex), Some(deadline_ns));
        (mutex.lock(), waited)
    }

    #[track_caller]
    fn wait_for(&self, what: &str, mutex: &RawMutex, deadline_ns: Option<u64>) -> Result<(), TimedOut> {
        let (guard, me) = platform::begin_block(what);
        let how = Waiting::until(deadline_ns);
        // The thread is on the list before it unlocks the mutex.
        let result = match self.0.lock(&guard).wait(&me, how, |guard| mutex.unlock_under(guard)) {
            Ok(_) => Ok(()),
            Err(_) => Err(TimedOut),
        };
        platform::finish(guard);
        result
    }

    /// Wakes the thread that has waited longest, if one waits.
    ///
    /// **Context:** thread or interrupt; not NMI. May switch to the thread.
    pub fn notify_one(&self) {
        self.0.with(|locked| locked.wake_first(0, NOTIFIED));
    }

    /// Wakes all threads that wait.
    ///
    /// **Context:** as for [`notify_one`](Self::notify_one).
    pub fn notify_all(&self) {
        let guard = platform::guard();
        self.0.lock(&guard).wake_all(0, NOTIFIED);
        platform::finish(guard);
    }
}

impl Default for Condvar {
    fn default() -> Self {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condvar")
    }
}
