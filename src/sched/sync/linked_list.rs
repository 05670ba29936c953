//! A list through its entries, each of which lies where its owner has it: on the stack of a thread that waits, or in a future.

use core::cell::Cell;
use core::marker::PhantomPinned;
use core::ops::Deref;
use core::ptr;

/// A value and its links, which belong to the list.
pub(super) struct Entry<T> {
    next: Cell<*const Entry<T>>,
    previous: Cell<*const Entry<T>>,
    value: T,
    _pinned: PhantomPinned,
}

impl<T> Entry<T> {
    pub(super) const fn of(value: T) -> Entry<T> {
        Entry {
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
            value,
            _pinned: PhantomPinned,
        }
    }
}

impl<T> Deref for Entry<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.value
    }
}

// SAFETY: an entry that is on no list must be usable by another thread: its value is `Send`, and a list alone uses its links. One that is on a
// list does not move: the caller of `push` guarantees that it stays where it is.
unsafe impl<T: Send> Send for Entry<T> {}

/// Entries in the order in which they are woken.
pub(super) struct LinkedList<T> {
    first: *const Entry<T>,
    last: *const Entry<T>,
}

// SAFETY: another thread must be able to use the list, and by it the values of its entries, while their owners have references to them. A
// value is `Send`, and what is not `Sync` of it is used by the holder of the list's lock alone, guaranteed by the caller of `push`.
unsafe impl<T: Send> Send for LinkedList<T> {}

impl<T> LinkedList<T> {
    pub(super) const EMPTY: LinkedList<T> = LinkedList { first: ptr::null(), last: ptr::null() };

    /// Returns the first entry.
    #[inline]
    pub(super) fn first(&self) -> Option<&Entry<T>> {
        // SAFETY: an entry lives until it leaves the list, guaranteed by the caller of `push`; it leaves by a `&mut self`.
        unsafe { self.first.as_ref() }
    }

    /// Adds an entry at the end, or before all others.
    ///
    /// # Safety
    /// The entry is on no list. It stays where it is until it has left this list, by `unlink` or by `pop_first` and the last access of the
    /// caller of that. Until then the entry's owner accesses only what is `Sync` of the value, unless it holds the lock that the list is in:
    /// the threads that use the list access the rest at the same time.
    #[inline(always)]
    pub(super) unsafe fn push(&mut self, entry: &Entry<T>, at_front: bool) {
        // SAFETY: the entry must be on no list and stay until it has left this one, guaranteed by the caller (see # Safety); `next` must be null or
        // an entry of this list: it is the list's own link.
        unsafe { self.insert(entry, if at_front { self.first } else { ptr::null() }) };
    }

    /// Adds an entry before another, or at the end.
    ///
    /// # Safety
    /// As for [`push`](Self::push). `next` is null or the address of an entry of this list.
    #[inline(always)]
    pub(super) unsafe fn insert(&mut self, entry: &Entry<T>, next: *const Entry<T>) {
        // SAFETY: the address must be null or that of an entry that lives: it is one of this list (see # Safety).
        let previous = unsafe { next.as_ref() }.map_or(self.last, |next| next.previous.get());
        entry.previous.set(previous);
        entry.next.set(next);
        // SAFETY: the outer addresses must be null or those of entries of this list: they are the list's own.
        unsafe { self.link(previous, entry, next, entry) };
    }

    /// Returns the first entry for which the condition holds.
    pub(super) fn find(&self, condition: impl Fn(&Entry<T>) -> bool) -> Option<&Entry<T>> {
        let mut next = self.first();
        while let Some(entry) = next
            && !condition(entry)
        {
            // SAFETY: the address must be null or that of an entry that lives: a link of this list leads to it, and it leaves the list by a
            // `&mut self`.
            next = unsafe { entry.next.get().as_ref() };
        }
        next
    }

    /// Takes the first entry off the list.
    #[inline]
    pub(super) fn pop_first(&mut self) -> Option<&Entry<T>> {
        // SAFETY: an entry lives until it has left the list and the caller has accessed it, guaranteed by the caller of `push`.
        let first = unsafe { self.first.as_ref() }?;
        // SAFETY: it is on this list.
        unsafe { self.unlink(first) };
        Some(first)
    }

    /// Takes an entry off the list.
    ///
    /// # Safety
    /// The entry is on this list.
    pub(super) unsafe fn unlink(&mut self, entry: &Entry<T>) {
        let (previous, next) = (entry.previous.get(), entry.next.get());
        // SAFETY: the outer addresses must be null or those of entries of this list: the entry is on it (see # Safety), so its links are.
        unsafe { self.link(previous, next, next, previous) };
    }

    /// Stores the links of the neighbours of a place: to the entry after `previous`, and to the one before `next`.
    ///
    /// # Safety
    /// `previous` and `next` are null or the addresses of entries of this list.
    unsafe fn link(
        &mut self,
        previous: *const Entry<T>,
        after: *const Entry<T>,
        next: *const Entry<T>,
        before: *const Entry<T>,
    ) {
        // SAFETY: the address must be null or that of an entry that lives: it is one of this list (see # Safety), which lives until it leaves
        // the list, guaranteed by the caller of `push`.
        match unsafe { previous.as_ref() } {
            Some(previous) => previous.next.set(after),
            None => self.first = after,
        }
        // SAFETY: the address must be null or that of an entry that lives: it is one of this list (see # Safety), which lives until it leaves
        // the list, guaranteed by the caller of `push`.
        match unsafe { next.as_ref() } {
            Some(next) => next.previous.set(before),
            None => self.last = before,
        }
    }
}
