//! The threads that wait for a CPU: how many are on its queue, and its inbox. Pure atomics, which models check.
//!
//! The number changes under the lock of the queue, and other CPUs read it without the lock. A thief moves the threads of its
//! victim's inbox to the victim's queue. A victim that reads the number before and the inbox after that sees no thread. So a
//! thief that leaves threads on the queue interrupts the victim if that has become idle.

use super::inbox::Inbox;
use crate::sync::{AtomicU32, Ordering, order_sequentially};

/// The threads that wait for a CPU.
pub(crate) struct Backlog {
    queued: AtomicU32,
    /// Threads that other CPUs have woken.
    pub(crate) inbox: Inbox,
}

impl Backlog {
    /// Creates the backlog of a CPU whose inbox is closed.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) const fn new() -> Backlog {
        Backlog { queued: AtomicU32::new(0), inbox: Inbox::new() }
    }

    /// Creates the backlog of a CPU whose inbox is closed.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn new() -> Backlog {
        Backlog { queued: AtomicU32::new(0), inbox: Inbox::new() }
    }

    /// Returns whether no thread waits. **Context:** any; the result may be old.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.queued.load(Ordering::Relaxed) == 0 && !self.inbox.has_threads()
    }

    /// Returns the number of threads on the queue. **Context:** any; the result may be old unless the queue is locked.
    #[inline(always)]
    pub(crate) fn queued(&self) -> u32 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Counts threads that were put on the queue. **Context:** the queue is locked.
    #[inline(always)]
    pub(crate) fn add_queued(&self, count: u32) {
        self.queued.store(self.queued.load(Ordering::Relaxed) + count, Ordering::SeqCst);
        order_sequentially();
    }

    /// Counts a thread that was taken from the queue. Without order: a CPU that still sees the old number finds nothing.
    ///
    /// **Context:** the queue is locked.
    #[inline(always)]
    pub(crate) fn remove_queued(&self) {
        self.queued.store(self.queued.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }
}
