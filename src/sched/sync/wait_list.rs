//! The list of the threads that wait. Each entry lies on the stack of its thread.

use core::cell::Cell;

use super::linked_list::{Entry, LinkedList};
use super::platform::Handle;
use crate::sync::{AtomicUsize, Ordering};

/// The outcome of an entry that waits.
const WAITS: usize = 0;

/// A thread's wait. It belongs to the thread and to the waker that takes the entry from the list.
pub(super) struct Wait {
    /// The thread. Its waker takes it.
    handle: Cell<Option<Handle>>,
    /// What the thread waits for, as the user of the list numbers it.
    pub(super) kind: usize,
    /// The number of the entry, in the order of their arrival.
    pub(super) ticket: u64,
    /// [`WAITS`], or what the waker has decided. The waker's last access to the entry.
    outcome: AtomicUsize,
}

/// A thread's wait on its stack.
pub(super) type Waiter = Entry<Wait>;

impl Waiter {
    pub(super) fn new(handle: Handle, kind: usize, ticket: u64) -> Waiter {
        let handle = Cell::new(Some(handle));
        Entry::of(Wait { handle, kind, ticket, outcome: AtomicUsize::new(WAITS) })
    }
}

impl Wait {
    /// Returns what the waker has decided. **Context:** the thread.
    #[inline]
    pub(super) fn outcome(&self) -> Option<usize> {
        Some(self.outcome.load(Ordering::Acquire)).filter(|outcome| *outcome != WAITS)
    }
}

/// The threads that wait. An entry stays where it is until `remove` was called for it or its outcome is set.
pub(super) type WaitList = LinkedList<Wait>;

impl WaitList {
    /// Adds an entry before the first one of a kind less than `ahead_of`, or at the end.
    ///
    /// # Safety
    /// As for [`push`](LinkedList::push).
    #[inline(always)]
    pub(super) unsafe fn add(&mut self, waiter: &Waiter, ahead_of: usize) {
        if ahead_of == 0 {
            // SAFETY: the entry must be on no list and stay until it has left this one, guaranteed by the caller (see # Safety).
            unsafe { self.push(waiter, false) };
        } else {
            // SAFETY: the same.
            unsafe { self.add_ahead(waiter, ahead_of) };
        }
    }

    /// Adds an entry before the first one of a kind less than `ahead_of`.
    ///
    /// # Safety
    /// As for [`push`](LinkedList::push).
    #[cold]
    #[inline(never)]
    unsafe fn add_ahead(&mut self, waiter: &Waiter, ahead_of: usize) {
        let next = self.find(|other| other.kind < ahead_of);
        let next = next.map_or(core::ptr::null(), core::ptr::from_ref);
        // SAFETY: the entry must be on no list and stay until it has left this one, guaranteed by the caller (see # Safety); `next` must be null or
        // an entry of this list: `find` has returned it.
        unsafe { self.insert(waiter, next) };
    }

    /// Takes the first entry from the list and sets its outcome. The caller then wakes the thread.
    pub(super) fn take_first(&mut self, outcome: usize) -> Option<Handle> {
        debug_assert!(outcome != WAITS);
        let waiter = self.pop_first()?;
        let handle = waiter.handle.take();
        // The last access: the thread may return from its wait now.
        waiter.outcome.store(outcome, Ordering::Release);
        handle
    }

    /// Takes an entry from the list whose wait has timed out. Returns what a waker has decided if one was first.
    ///
    /// # Safety
    /// The entry was pushed to this list.
    pub(super) unsafe fn remove(&mut self, waiter: &Waiter) -> Option<usize> {
        let outcome = waiter.outcome();
        if outcome.is_none() {
            // SAFETY: the entry must be on the list: it was pushed to it (see # Safety), and `take_first` sets an outcome.
            unsafe { self.unlink(waiter) };
        }
        outcome
    }
}
