//! The wait queue: a state behind a spin lock, and lists of the threads that wait for it to change.
//!
//! A thread that has to wait puts its entry on a list under the same lock under which it has looked at the state, so no change is
//! missed between. A waker takes the entry from the list under that lock, sets its outcome, and wakes the thread. A thread whose
//! time is over takes the lock and either finds the entry on the list, and takes it off, or finds an outcome. So each wait ends once.
//!
//! The entry lies on the stack of the waiting thread, which leaves [`Locked::wait`] when the entry is off the list and its waker has
//! finished with it. From the moment in which a waker takes an entry until it has woken the thread, interrupts are off: no other
//! thread delays that.

use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};

use super::const_fn;
use super::platform::{self, Guard, Handle, Me, SpinLock, SpinLockGuard};
use super::wait_list::{WaitList, Waiter};

/// What the lock protects.
struct Inner<S, const N: usize> {
    lists: [WaitList; N],
    /// The number of the next entry.
    ticket: u64,
    state: S,
}

/// A state, and `N` lists of threads that wait for it to change.
pub(super) struct WaitQueue<S, const N: usize = 1>(SpinLock<Inner<S, N>>);

impl<S, const N: usize> WaitQueue<S, N> {
    const_fn! {
        /// Creates a queue without threads.
        pub(super) fn new(state: S) -> WaitQueue<S, N> {
            WaitQueue(SpinLock::new(Inner { lists: [const { WaitList::EMPTY }; N], ticket: 0, state }))
        }
    }

    /// Locks the state. **Context:** thread or interrupt; not NMI.
    #[inline(always)]
    #[track_caller]
    pub(super) fn lock<'a>(&'a self, guard: &'a Guard) -> Locked<'a, S, N> {
        Locked { queue: self, guard, inner: ManuallyDrop::new(self.0.lock(guard)), woken: None }
    }

    /// Runs a function on the locked state, and switches to a thread that it has woken if that should run.
    ///
    /// **Context:** thread or interrupt; not NMI.
    #[inline(always)]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Locked<'_, S, N>) -> R) -> R {
        let guard = platform::guard();
        let result = f(&mut self.lock(&guard));
        platform::finish(guard);
        result
    }

    fn wake_before(&self, guard: &Guard, list: usize, outcome: usize, limit: u64) -> bool {
        let mut locked = self.lock(guard);
        let waits = locked.inner.lists[list].first().is_some_and(|waiter| waiter.ticket < limit);
        waits && locked.wake_first(list, outcome)
    }
}

/// How a thread waits.
pub(super) struct Waiting {
    /// The list.
    pub list: usize,
    /// What it waits for, as the user of the queue numbers it.
    pub kind: usize,
    /// It is woken before the threads that wait for a lesser kind than this, and after all others.
    pub ahead_of: usize,
    /// The time at which the wait ends.
    pub deadline_ns: Option<u64>,
}

impl Waiting {
    /// The thread waits on the first list.
    pub(super) const fn until(deadline_ns: Option<u64>) -> Waiting {
        Waiting { list: 0, kind: 0, ahead_of: 0, deadline_ns }
    }
}

/// The queue, locked. When it is dropped, the lock is released, and then the thread that was taken from a list is woken.
pub(super) struct Locked<'a, S, const N: usize = 1> {
    queue: &'a WaitQueue<S, N>,
    guard: &'a Guard,
    inner: ManuallyDrop<SpinLockGuard<'a, Inner<S, N>>>,
    woken: Option<Handle>,
}

impl<'a, S, const N: usize> Locked<'a, S, N> {
    /// Returns what the first thread of a list waits for, if there is one.
    #[inline]
    pub(super) fn first_kind(&self, list: usize) -> Option<usize> {
        self.inner.lists[list].first().map(|waiter| waiter.kind)
    }

    /// Returns whether a thread waits on a list.
    #[inline]
    pub(super) fn has_waiters(&self, list: usize) -> bool {
        self.inner.lists[list].first().is_some()
    }

    /// Takes the first thread from a list with an outcome other than 0. Returns its handle's number, to compare with
    /// [`platform::current_id`]. It is woken when the lock is released.
    #[inline]
    pub(super) fn take_first(&mut self, list: usize, outcome: usize) -> Option<usize> {
        let handle = self.inner.lists[list].take_first(outcome)?;
        let id = platform::id_of(&handle);
        if let Some(earlier) = self.woken.replace(handle) {
            platform::wake(self.guard, earlier);
        }
        Some(id)
    }

    /// As [`take_first`](Self::take_first). Returns whether a thread waited.
    #[inline]
    pub(super) fn wake_first(&mut self, list: usize, outcome: usize) -> bool {
        self.take_first(list, outcome).is_some()
    }

    /// Wakes all threads that wait on a list now, and not those that come later, one after the other: the lock is held only as long as
    /// one takes. Not for a list on which threads are put at the front.
    ///
    /// **Context:** thread or interrupt; not NMI.
    pub(super) fn wake_all(mut self, list: usize, outcome: usize) {
        let (queue, guard, limit) = (self.queue, self.guard, self.inner.ticket);
        if self.wake_first(list, outcome) {
            drop(self);
            while queue.wake_before(guard, list, outcome, limit) {}
        }
    }

    /// Waits. `before` runs when the thread is on the list and the lock is released. Returns the outcome, or, if the time is over, the
    /// locked queue, off which the thread is: no waker has seen it since.
    ///
    /// **Context:** a thread, which may block; the guard of `lock` alone keeps interrupts off.
    pub(super) fn wait(self, me: &Me, how: Waiting, before: impl FnOnce(&Guard)) -> Result<usize, Self> {
        self.wait_while(me, how, before, || true).map_err(|unwoken| unwoken.locked)
    }

    /// As [`wait`](Self::wait), while a condition holds. What changes the condition wakes the thread.
    pub(super) fn wait_while(
        mut self,
        me: &Me,
        how: Waiting,
        before: impl FnOnce(&Guard),
        condition: impl Fn() -> bool,
    ) -> Result<usize, Unwoken<'a, S, N>> {
        let Waiting { list, kind, ahead_of, deadline_ns } = how;
        let (queue, guard, ticket) = (self.queue, self.guard, self.inner.ticket);
        self.inner.ticket = ticket + 1;
        let waiter = Waiter::new(platform::handle(me), kind, ticket);
        // SAFETY: the entry is new. It stays here: this function returns when the outcome is set, or after `remove`.
        unsafe { self.inner.lists[list].add(&waiter, ahead_of) };
        self.unlock();
        before(guard);
        let is_over = || waiter.outcome().is_some() || !condition();
        let has_time = platform::block_until(guard, me, deadline_ns, is_over);
        if let Some(outcome) = waiter.outcome().filter(|_| has_time) {
            return Ok(outcome);
        }
        let mut locked = queue.lock(guard);
        // SAFETY: pushed to this list above.
        match unsafe { locked.inner.lists[list].remove(&waiter) } {
            Some(outcome) => Ok(outcome),
            None => Err(Unwoken { locked, has_time }),
        }
    }
}

/// A wait that has ended before a waker took the thread from its list. The thread is off the list.
pub(super) struct Unwoken<'a, S, const N: usize> {
    pub(super) locked: Locked<'a, S, N>,
    /// Whether the time of the wait is not over: its condition did not hold any more.
    pub(super) has_time: bool,
}

impl<S, const N: usize> Locked<'_, S, N> {
    /// As a drop, inlined, for the callers that are counted most.
    #[inline(always)]
    pub(super) fn unlock(self) {
        // SAFETY: the lock must not be used any more: it is not dropped.
        unsafe { ManuallyDrop::new(self).end() };
    }

    /// Releases the lock, and then wakes the thread that was taken from a list.
    ///
    /// # Safety
    /// It is the last use.
    #[inline(always)]
    unsafe fn end(&mut self) {
        // SAFETY: the guard must not be used any more: guaranteed by the caller (see # Safety).
        unsafe { ManuallyDrop::drop(&mut self.inner) };
        if let Some(handle) = self.woken.take() {
            platform::wake(self.guard, handle);
        }
    }
}

impl<S, const N: usize> Drop for Locked<'_, S, N> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the lock must not be used any more: it is dropped, and `unlock` drops none.
        unsafe { self.end() };
    }
}

impl<S, const N: usize> Deref for Locked<'_, S, N> {
    type Target = S;

    #[inline(always)]
    fn deref(&self) -> &S {
        &self.inner.state
    }
}

impl<S, const N: usize> DerefMut for Locked<'_, S, N> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut S {
        &mut self.inner.state
    }
}
