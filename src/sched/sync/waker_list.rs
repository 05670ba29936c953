//! Tasks that wait for a state to change, as a list of wakers. It is in the state, behind the lock of its [`WaitQueue`](super::wait_queue).
//!
//! Each entry lies in the future that waits, which is pinned, and which takes it off the list when it is dropped. A waker that is taken
//! from the list is woken after the lock is released: its code is not the queue's.

use core::cell::Cell;
use core::marker::PhantomPinned;
use core::ptr;
use core::task::Waker;

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
pub(super) struct TaskWaiter {
    next: Cell<*const TaskWaiter>,
    previous: Cell<*const TaskWaiter>,
    waker: Cell<Option<Waker>>,
    membership: Cell<Membership>,
    _pinned: PhantomPinned,
}

// SAFETY: another thread may have the entry: its waker is `Send`, and the rest is used by the holder of the queue's lock (`TaskWaiter`).
unsafe impl Send for TaskWaiter {}

impl TaskWaiter {
    pub(super) const fn new() -> TaskWaiter {
        TaskWaiter {
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            waker: Cell::new(None),
            membership: Cell::new(Membership::Off),
            _pinned: PhantomPinned,
        }
    }
}

impl TaskWaiter {
    /// The task has what it waited for, or an error.
    pub(super) fn settle(&self) {
        self.membership.set(Membership::Off);
    }
}

/// The entries, in the order in which they are woken.
pub(super) struct WakerList {
    first: *const TaskWaiter,
    last: *const TaskWaiter,
}

// SAFETY: the entries are reached through the list alone, by the holder of the lock that it is in, while they are on it.
unsafe impl Send for WakerList {}

impl WakerList {
    pub(super) const EMPTY: WakerList = WakerList { first: ptr::null(), last: ptr::null() };

    /// Adds an entry that is not on the list: before all others if it was woken before, else at the end. Returns the waker that it had.
    ///
    /// # Safety
    /// The entry is used with this list alone. It stays where it is until `remove` was called for it.
    pub(super) unsafe fn push(&mut self, waiter: &TaskWaiter, waker: Waker) -> Option<Waker> {
        debug_assert!(waiter.membership.get() != Membership::On);
        let at_front = waiter.membership.replace(Membership::On) == Membership::Woken;
        let (previous, next) = if at_front { (ptr::null(), self.first) } else { (self.last, ptr::null()) };
        waiter.previous.set(previous);
        waiter.next.set(next);
        self.link(previous, waiter, next, waiter);
        waiter.waker.replace(Some(waker))
    }

    /// Takes an entry off the list, if it is on it. Returns where it was.
    ///
    /// # Safety
    /// The entry is used with this list alone.
    pub(super) unsafe fn remove(&mut self, waiter: &TaskWaiter) -> Membership {
        let was = waiter.membership.get();
        if was == Membership::On {
            self.unlink(waiter);
            waiter.membership.set(Membership::Off);
        }
        was
    }

    /// Takes the first entry off the list, and returns its waker, which the caller wakes when the lock is released.
    #[inline]
    pub(super) fn take_first(&mut self) -> Option<Waker> {
        // SAFETY: the address is null or that of an entry that lives: it leaves the list before it moves (`push`).
        let waiter = unsafe { self.first.as_ref() }?;
        self.unlink(waiter);
        waiter.membership.set(Membership::Woken);
        waiter.waker.take()
    }

    fn unlink(&mut self, waiter: &TaskWaiter) {
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        self.link(previous, next, next, previous);
    }

    /// Stores the links of the neighbours of a place: to the entry after `previous`, and to the one before `next`.
    fn link(
        &mut self,
        previous: *const TaskWaiter,
        after: *const TaskWaiter,
        next: *const TaskWaiter,
        before: *const TaskWaiter,
    ) {
        // SAFETY: the address is null or that of an entry of this list, which lives until it leaves the list (`push`).
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(after),
            None => self.first = after,
        }
        // SAFETY: the address is null or that of an entry of this list, which lives until it leaves the list (`push`).
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(before),
            None => self.last = before,
        }
    }
}
