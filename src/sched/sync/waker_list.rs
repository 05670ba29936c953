//! Tasks that wait for a state to change, as a list of wakers. It is in the state, behind the lock of its [`WaitQueue`](super::wait_queue).
//!
//! Each entry lies in the future that waits, which is pinned, and which takes it off the list when it is dropped. A waker that is taken
//! from the list is woken after the lock is released: its code is not the queue's.

use core::cell::Cell;
use core::task::Waker;

use super::linked_list::{Entry, LinkedList};

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// On no list; it was not woken since it was taken off one.
    Off,
    /// On its list.
    On,
    /// On no list: it was woken, and its task has not looked since.
    Woken,
}

/// A task's wait. All fields are used with the queue locked.
pub(super) struct TaskWait {
    waker: Cell<Option<Waker>>,
    membership: Cell<Membership>,
}

/// A task's wait in its future.
pub(super) type TaskWaiter = Entry<TaskWait>;

impl TaskWaiter {
    pub(super) const fn new() -> TaskWaiter {
        Entry::of(TaskWait { waker: Cell::new(None), membership: Cell::new(Membership::Off) })
    }
}

impl TaskWait {
    /// The task has what it waited for, or an error.
    pub(super) fn settle(&self) {
        self.membership.set(Membership::Off);
    }
}

/// The tasks that wait.
pub(super) type WakerList = LinkedList<TaskWait>;

impl WakerList {
    /// Adds an entry that is not on the list: before all others if it was woken before, else at the end. Returns the waker that it had.
    ///
    /// # Safety
    /// The entry is used with this list alone. It stays where it is until `take_off` was called for it.
    pub(super) unsafe fn add(&mut self, waiter: &TaskWaiter, waker: Waker) -> Option<Waker> {
        debug_assert!(waiter.membership.get() != Membership::On);
        let at_front = waiter.membership.replace(Membership::On) == Membership::Woken;
        // SAFETY: the entry must be on no list, and stay until it has left this one: it was not on it, and used with it alone, and stays,
        // guaranteed by the caller (see # Safety).
        unsafe { self.push(waiter, at_front) };
        waiter.waker.replace(Some(waker))
    }

    /// Takes an entry off the list, if it is on it. Returns where it was.
    ///
    /// # Safety
    /// The entry is used with this list alone.
    pub(super) unsafe fn take_off(&mut self, waiter: &TaskWaiter) -> Membership {
        let was = waiter.membership.get();
        if was == Membership::On {
            // SAFETY: the entry must be on the list: it says so, and it is used with this list alone (see # Safety).
            unsafe { self.unlink(waiter) };
            waiter.membership.set(Membership::Off);
        }
        was
    }

    /// Takes the first entry off the list, and returns its waker, which the caller wakes when the lock is released.
    #[inline]
    pub(super) fn take_first_waker(&mut self) -> Option<Waker> {
        let waiter = self.pop_first()?;
        waiter.membership.set(Membership::Woken);
        waiter.waker.take()
    }
}
