//! The event.

use core::fmt;
use core::time::Duration;

use super::const_fn;
use super::platform::{self, TimedOut, deadline_after};
#[cfg(all(target_os = "none", feature = "faults"))]
use super::wait_queue::Locked;
use super::wait_queue::{WaitQueue, Waiting};
use crate::sync::{AtomicU32, Ordering};

/// The outcome of a wait that the event has ended.
const HAPPENED: usize = 1;

/// Something that threads wait for, as a transfer that a handler completes. Once it is set, all waits end, and later ones return at
/// once, until it is reset.
pub struct Event {
    /// 1 if it is set. Changed with the queue locked.
    is_set: AtomicU32,
    queue: WaitQueue<()>,
}

impl Event {
    const_fn! {
        /// Creates an event that is not set.
        pub fn new() -> Event {
            Event { is_set: AtomicU32::new(0), queue: WaitQueue::new(()) }
        }
    }

    /// Returns whether it is set. **Context:** any. What the thread or handler that has set it did before is visible.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire) != 0
    }

    /// Sets the event: wakes all threads that wait.
    ///
    /// **Context:** thread or interrupt; not NMI. May switch to a thread.
    pub fn set(&self) {
        let guard = platform::guard();
        let locked = self.queue.lock(&guard);
        self.is_set.store(1, Ordering::Release);
        // Not a thread that waits after a reset.
        locked.wake_all(0, HAPPENED);
        platform::finish(guard);
    }

    /// Resets the event. Later waits last until it is set again.
    ///
    /// **Context:** thread or interrupt; not NMI.
    pub fn reset(&self) {
        self.queue.with(|_| self.is_set.store(0, Ordering::Relaxed));
    }

    /// Waits until the event is set.
    ///
    /// **Context:** a thread, interrupts on, no guard or spin lock held: it may block.
    ///
    /// # Panics
    /// In any other context.
    #[track_caller]
    pub fn wait(&self) {
        // Without a time-out it ends with the event.
        let _ = self.wait_until("Event::wait", None);
    }

    /// As [`wait`](Self::wait), at most for `timeout`.
    ///
    /// **Context:** as for [`wait`](Self::wait).
    ///
    /// # Errors
    /// [`TimedOut`]: it was not set.
    ///
    /// # Panics
    /// As for [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), TimedOut> {
        self.wait_until("Event::wait_timeout", Some(deadline_after(timeout)))
    }

    #[track_caller]
    fn wait_until(&self, what: &str, deadline_ns: Option<u64>) -> Result<(), TimedOut> {
        let (guard, me) = platform::begin_block(what);
        let locked = self.queue.lock(&guard);
        let result = if self.is_set() {
            drop(locked);
            Ok(())
        } else {
            #[cfg(all(target_os = "none", feature = "faults"))]
            let locked = late(locked, &self.queue, &guard);
            locked.wait(&me, Waiting::until(deadline_ns), |_| {}).map(|_| ()).map_err(|_| TimedOut)
        };
        platform::finish(guard);
        result
    }
}

/// Releases the lock of a thread that has looked, and takes it again, as the fault `wake_before_block` has it.
#[cfg(all(target_os = "none", feature = "faults"))]
fn late<'a>(locked: Locked<'a, ()>, queue: &'a WaitQueue<()>, guard: &'a platform::Guard) -> Locked<'a, ()> {
    use crate::sched::faults::{self, SchedFault};
    if !faults::is_armed(SchedFault::WakeBeforeBlock) {
        return locked;
    }
    drop(locked);
    faults::be_late();
    queue.lock(guard)
}

impl Default for Event {
    fn default() -> Self {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}
