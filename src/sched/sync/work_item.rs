//! Deferred work: items, and the list of those that wait for a worker. Pure atomics and a wait queue, which models check.
//!
//! An item is on a list at most once: the caller that sets [`PENDING`] on an item that neither waits nor runs puts it there. If it runs,
//! the bit alone stays, and the worker puts it on its list again afterwards. So a function never runs twice at the same time, and runs at
//! least once after each call that defers it.
//!
//! The list is a linked one whose head every context may exchange, as that of a CPU's inbox. A worker takes all items at once.

use core::time::Duration;

use super::const_fn;
use super::platform::{self, TimedOut, deadline_after};
use super::wait_queue::{WaitQueue, Waiting};
use crate::sync::{AtomicUsize, Ordering};

/// The function has to run.
const PENDING: usize = 1;

/// A worker runs the function.
const RUNNING: usize = 2;

/// Threads wait until neither is so.
const AWAITED: usize = 4;

/// The rest of the state: the address of the list on which the item waits, or by whose worker it runs. Of an item at rest it is old.
const LIST: usize = !(PENDING | RUNNING | AWAITED);

/// The outcome of a wait that the end of the function has ended.
const DONE: usize = 1;

/// The end of a list.
const NONE: usize = 0;

/// What a call that defers an item has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Defer {
    /// It was at rest, and is on the list now.
    Added {
        /// Whether the list was empty: the caller wakes the worker then.
        was_empty: bool,
    },
    /// It runs: the worker puts it on its list again.
    RunsAgain,
    /// It waits already.
    IsPending,
}

/// A function and what it is called with, to be run by a worker.
pub(crate) struct WorkItem {
    state: AtomicUsize,
    /// The thread that runs the function, as [`platform::current_id`] numbers it.
    runner: AtomicUsize,
    /// The item that was put on the list before this one. The list's.
    link: AtomicUsize,
    function: fn(usize),
    data: usize,
    waiting: WaitQueue<()>,
}

impl WorkItem {
    const_fn! {
        pub(crate) fn new(function: fn(usize), data: usize) -> WorkItem {
            WorkItem {
                state: AtomicUsize::new(0),
                runner: AtomicUsize::new(0),
                link: AtomicUsize::new(NONE),
                function,
                data,
                waiting: WaitQueue::new(()),
            }
        }
    }

    /// Notes that the function has to run, and that it is on this list if it was at rest. Returns whether it was, or what else it was.
    ///
    /// # Safety
    /// The list lives while the item is used.
    #[inline]
    unsafe fn request(&self, list: &WorkList) -> Result<(), Defer> {
        const { assert!(align_of::<WorkList>() > PENDING | RUNNING | AWAITED) };
        let list = core::ptr::from_ref(list).expose_provenance();
        let before = self.state.load(Ordering::Relaxed);
        // Without `AWAITED`: a thread that still waits for an item at rest is about to be woken by `run`, and then looks again.
        if before & (PENDING | RUNNING) == 0
            && self
                .state
                .compare_exchange(before, list | PENDING, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            return Ok(());
        }
        // SAFETY: the address must be that of a list that lives while the item is used: it is, guaranteed by the caller (see # Safety).
        unsafe { self.request_again(list) }
    }

    /// As [`request`](Self::request), for an item that was not at rest.
    ///
    /// # Safety
    /// `list` is the address of a list that lives while the item is used.
    #[cold]
    unsafe fn request_again(&self, list: usize) -> Result<(), Defer> {
        let mut before = self.state.load(Ordering::Relaxed);
        loop {
            let is_at_rest = before & (PENDING | RUNNING) == 0;
            let kept = if is_at_rest { list } else { before };
            // An exchange also if the bit is set: the function must see what this caller did.
            match self.state.compare_exchange(before, kept | PENDING, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if is_at_rest => return Ok(()),
                Ok(_) if before & PENDING != 0 => return Err(Defer::IsPending),
                Ok(_) => return Err(Defer::RunsAgain),
                Err(now) => before = now,
            }
        }
    }

    /// Returns the list whose worker runs the item, in this state.
    ///
    /// # Safety
    /// `state` was read from the item's state.
    unsafe fn list(&self, state: usize) -> Option<&WorkList> {
        // SAFETY: the address must be null or that of a list that lives: it is from the item's state (see # Safety), into which `request`
        // alone stores one. The caller of that guarantees that the list lives while the item is used.
        unsafe { core::ptr::with_exposed_provenance::<WorkList>(state & LIST).as_ref() }
    }

    /// Runs the function. Returns whether it has to be put on a list again. **Context:** the worker that has taken it from a list.
    fn run(&self) -> bool {
        // Wakers of waiters look at the bit under the lock.
        let before = self.state.fetch_xor(PENDING | RUNNING, Ordering::AcqRel);
        debug_assert!(before & (PENDING | RUNNING) == PENDING);
        self.runner.store(platform::current_id(), Ordering::Relaxed);
        (self.function)(self.data);
        self.runner.store(0, Ordering::Relaxed);
        let before = self.state.fetch_and(!RUNNING, Ordering::AcqRel);
        if before & PENDING == 0 && before & AWAITED != 0 {
            self.wake_waiters();
        }
        before & PENDING != 0
    }

    #[cold]
    fn wake_waiters(&self) {
        let guard = platform::guard();
        let waiting = self.waiting.lock(&guard);
        self.state.fetch_and(!AWAITED, Ordering::Relaxed);
        // Each looks again, and waits on if the item was deferred meanwhile.
        waiting.wake_all(0, DONE);
        platform::finish(guard);
    }

    /// Returns whether the function waits for a worker or runs. **Context:** any; the result may be old.
    pub(crate) fn is_pending(&self) -> bool {
        self.state.load(Ordering::Acquire) & (PENDING | RUNNING) != 0
    }

    /// Waits until the function neither has to run nor runs.
    ///
    /// **Context:** a thread, which may block.
    ///
    /// # Panics
    /// In any other context, in the function itself, and in a function that the same worker runs while this one waits for it.
    #[track_caller]
    pub(crate) fn flush(&self, what: &str, timeout: Option<Duration>) -> Result<(), TimedOut> {
        let deadline_ns = timeout.map(deadline_after);
        let (guard, me) = platform::begin_block(what);
        assert!(
            self.runner.load(Ordering::Relaxed) != platform::current_id(),
            "{what} in the function of the work itself"
        );
        let result = loop {
            let waiting = self.waiting.lock(&guard);
            // The worker that ends the function afterwards finds the bit, and then this thread on the list.
            let state = self.state.fetch_or(AWAITED, Ordering::AcqRel);
            if state & (PENDING | RUNNING) == 0 {
                break Ok(());
            }
            // SAFETY: the state must be the item's: it was read above.
            let list = unsafe { self.list(state) };
            let worker = list.map_or(0, |list| list.worker.load(Ordering::Relaxed));
            if state & PENDING != 0 && worker == platform::current_id() {
                drop(waiting);
                panic!(
                    "{what} in the function of other work, behind which the work waits for the same worker"
                );
            }
            if waiting.wait(&me, Waiting::until(deadline_ns), |_| {}).is_err() {
                break Err(TimedOut);
            }
        };
        platform::finish(guard);
        result
    }
}

/// Items that wait for a worker.
pub(crate) struct WorkList {
    /// The address of the item that was pushed last.
    head: AtomicUsize,
    /// The worker, as [`platform::current_id`] numbers it.
    worker: AtomicUsize,
}

impl WorkList {
    const_fn! {
        pub(crate) fn new() -> WorkList {
            WorkList { head: AtomicUsize::new(NONE), worker: AtomicUsize::new(0) }
        }
    }

    /// Requests a run of an item, which this list's worker runs if the item is at rest. What the caller did before is visible to the
    /// function. **Context:** any but NMI.
    ///
    /// # Safety
    /// The item lives while it is on a list and until [`WorkItem::run`] has returned. The list lives while the item is used.
    #[inline]
    pub(crate) unsafe fn defer(&self, item: &WorkItem) -> Defer {
        // SAFETY: the list must live while the item is used, guaranteed by the caller (see # Safety).
        match unsafe { item.request(self) } {
            Err(found) => found,
            // SAFETY: the item must be on no list: it was at rest, and `request` has found that for this caller alone. It lives until it
            // has run, guaranteed by the caller (see # Safety).
            Ok(()) => Defer::Added { was_empty: unsafe { self.push(item) } },
        }
    }

    /// Adds an item. Returns whether the list was empty.
    ///
    /// # Safety
    /// The item is on no list, and no other caller puts it on one. It lives while it is on a list and until [`WorkItem::run`] has returned.
    #[inline]
    unsafe fn push(&self, item: &WorkItem) -> bool {
        let address = core::ptr::from_ref(item).expose_provenance();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            item.link.store(head, Ordering::Relaxed);
            match self.head.compare_exchange(head, address, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return head == NONE,
                Err(now) => head = now,
            }
        }
    }

    /// Returns whether no item waits. **Context:** any; the result may be old.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::SeqCst) == NONE
    }

    /// Notes that the calling thread is the list's worker.
    pub(crate) fn set_worker(&self) {
        self.worker.store(platform::current_id(), Ordering::Relaxed);
    }

    /// Takes all items and runs them, in the order in which they were added. Puts those on the list again that were deferred meanwhile.
    ///
    /// **Context:** the worker.
    pub(crate) fn run_all(&self) {
        // SAFETY: the address must be that of a list that this caller alone has: it has just taken it.
        let mut next = unsafe { reverse(self.head.swap(NONE, Ordering::SeqCst)) };
        // SAFETY: the address must be from a list: it is the first one, or the link of an item before.
        while let Some(item) = unsafe { item(next) } {
            // Before the run: afterwards the item may be on a list again, or gone.
            next = item.link.load(Ordering::Relaxed);
            if item.run() {
                // SAFETY: the item must be on no list, and live until it has run. `run` has returned true to this worker alone, and it
                // lives as long after this push as after the one before, guaranteed by the caller of `defer`.
                unsafe { self.push(item) };
            }
        }
    }
}

/// Returns the item of an address from a list.
///
/// # Safety
/// The address is [`NONE`], or that of an item on a list or taken from one which has not run since.
unsafe fn item<'a>(address: usize) -> Option<&'a WorkItem> {
    // SAFETY: the address must be null or that of an item that lives. It comes from a list (see # Safety), and an item lives until it has
    // run, guaranteed by the caller of `defer`.
    unsafe { core::ptr::with_exposed_provenance::<WorkItem>(address).as_ref() }
}

/// Reverses a list that was taken, which begins with the item that was pushed last. Returns its new first item.
///
/// # Safety
/// `last` is what [`WorkList::head`] had, and the caller alone has taken it from there.
unsafe fn reverse(mut last: usize) -> usize {
    let mut first = NONE;
    // SAFETY: the address must be from a list: it is the head of one (see # Safety), or the link of an item before.
    while let Some(item) = unsafe { item(last) } {
        let before = item.link.load(Ordering::Relaxed);
        item.link.store(first, Ordering::Relaxed);
        first = core::mem::replace(&mut last, before);
    }
    first
}
