//! The list of the threads that wait. Each entry lies on the stack of its thread.

use core::cell::Cell;
use core::marker::PhantomPinned;
use core::ptr;

use super::platform::Handle;
use crate::sync::{AtomicUsize, Ordering};

/// The outcome of an entry that waits.
const WAITS: usize = 0;

/// A thread's wait, on its stack. The links belong to the list, the rest to the thread and to the waker that takes the entry from
/// the list.
pub(super) struct Waiter {
    next: Cell<*const Waiter>,
    previous: Cell<*const Waiter>,
    /// The thread. Its waker takes it.
    handle: Cell<Option<Handle>>,
    /// What the thread waits for, as the user of the list numbers it.
    pub(super) kind: usize,
    /// The number of the entry, in the order of their arrival.
    pub(super) ticket: u64,
    /// [`WAITS`], or what the waker has decided. The waker's last access to the entry.
    outcome: AtomicUsize,
    _pinned: PhantomPinned,
}

impl Waiter {
    pub(super) fn new(handle: Handle, kind: usize, ticket: u64) -> Waiter {
        Waiter {
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            handle: Cell::new(Some(handle)),
            kind,
            ticket,
            outcome: AtomicUsize::new(WAITS),
            _pinned: PhantomPinned,
        }
    }

    /// Returns what the waker has decided. **Context:** the thread.
    #[inline]
    pub(super) fn outcome(&self) -> Option<usize> {
        Some(self.outcome.load(Ordering::Acquire)).filter(|outcome| *outcome != WAITS)
    }
}

/// The entries, in the order in which they are woken.
pub(super) struct WaitList {
    first: *const Waiter,
    last: *const Waiter,
}

// SAFETY: the entries are reached through the list alone, by the holder of the lock that it is in, until they are taken from it.
unsafe impl Send for WaitList {}

impl WaitList {
    pub(super) const EMPTY: WaitList = WaitList { first: ptr::null(), last: ptr::null() };

    /// Returns the first entry.
    #[inline]
    pub(super) fn first(&self) -> Option<&Waiter> {
        // SAFETY: an entry lives until it leaves the list, guaranteed by the caller of `push`; it leaves by a `&mut self`.
        unsafe { self.first.as_ref() }
    }

    /// Adds an entry at the end, or before all others.
    ///
    /// # Safety
    /// The entry is on no list. It stays where it is until `remove` was called for it or its outcome is set.
    pub(super) unsafe fn push(&mut self, waiter: &Waiter, at_front: bool) {
        let (previous, next) = if at_front { (ptr::null(), self.first) } else { (self.last, ptr::null()) };
        waiter.previous.set(previous);
        waiter.next.set(next);
        self.link(previous, waiter, next, waiter);
    }

    /// Stores the links of the neighbours of a place: to the entry after `previous`, and to the one before `next`.
    fn link(
        &mut self,
        previous: *const Waiter,
        after: *const Waiter,
        next: *const Waiter,
        before: *const Waiter,
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

    /// Takes the first entry from the list and sets its outcome. The caller then wakes the thread.
    pub(super) fn take_first(&mut self, outcome: usize) -> Option<Handle> {
        debug_assert!(outcome != WAITS);
        // SAFETY: an entry lives until it leaves the list (`push`).
        let waiter = unsafe { self.first.as_ref() }?;
        self.unlink(waiter);
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
            self.unlink(waiter);
        }
        outcome
    }

    fn unlink(&mut self, waiter: &Waiter) {
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        self.link(previous, next, next, previous);
    }
}
