//! How a thread's end reaches the thread that joins it. Pure atomics, which models check.
//!
//! One word: the thread runs, or it has ended, or its handle is gone, or it holds the reference to the thread that waits.
//! The result belongs to the thread until the word says that it has ended, then to the handle; if the handle is gone, to the
//! thread to the end.

use crate::sync::{AtomicUsize, Ordering};

/// The thread runs, and no thread waits for it.
const RUNS: usize = 0;
/// The thread has ended.
const ENDED: usize = 1;
/// The handle is gone.
const DETACHED: usize = 2;

/// What the end of a thread finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum End {
    /// The handle has the result from now on.
    Kept,
    /// The handle has the result from now on, and the thread with this address, to which the word held a reference, waits for it.
    Wake(usize),
    /// The handle is gone: the thread drops its result.
    Drop,
}

/// The word between a thread and its handle.
#[derive(Debug)]
pub(crate) struct JoinWord(AtomicUsize);

impl JoinWord {
    /// Creates the word of a thread that runs. `has_handle`: whether there is a handle.
    pub(crate) fn new(has_handle: bool) -> JoinWord {
        JoinWord(AtomicUsize::new(if has_handle { RUNS } else { DETACHED }))
    }

    /// The thread ends; its result is written. **Context:** the thread.
    pub(crate) fn end(&self) -> End {
        match self.0.swap(ENDED, Ordering::AcqRel) {
            RUNS => End::Kept,
            DETACHED => End::Drop,
            waiter => End::Wake(waiter),
        }
    }

    /// Returns whether the thread has ended. **Context:** the handle.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire) == ENDED
    }

    /// Announces the thread with this address as the one that waits. Returns `false` if the thread has ended. **Context:** the
    /// handle.
    #[must_use]
    pub(crate) fn wait(&self, waiter: usize) -> bool {
        self.0.compare_exchange(RUNS, waiter, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends the wait before the thread has ended. Returns `false` if it has ended meanwhile, and has or will have woken the
    /// waiter. **Context:** the handle.
    #[must_use]
    pub(crate) fn stop_waiting(&self, waiter: usize) -> bool {
        self.0.compare_exchange(waiter, RUNS, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The handle goes. Returns `false` if the thread has ended: the handle drops the result. **Context:** the handle.
    #[must_use]
    pub(crate) fn detach(&self) -> bool {
        self.0.compare_exchange(RUNS, DETACHED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
