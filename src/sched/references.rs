//! The references to a thread's control block, by number.
//!
//! The thread has one of its own until its CPU has switched away from it for the last time. Safe code may leak references without
//! end (`core::mem::forget` of a handle). A number of 64 bits does not overflow: at one each nanosecond it takes 292 years.

use core::sync::atomic::{AtomicU64, Ordering};

/// The thread's own reference. The other bits are the number of all others.
const OWN: u64 = 1 << 63;

/// The number of references.
#[derive(Debug)]
pub(super) struct References(AtomicU64);

impl References {
    /// The thread's own reference and one for its creator.
    pub(super) fn new() -> References {
        References(AtomicU64::new(OWN + 1))
    }

    /// Counts one more. **Context:** any, with a reference or a borrow of one.
    #[inline(always)]
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives up a reference. Returns whether it was the last one. **Context:** any, with a reference.
    #[inline(always)]
    #[must_use]
    pub(super) fn remove(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Gives up the thread's own reference. Returns whether it was the last one. **Context:** the CPU that the thread has left, once.
    #[inline(always)]
    #[must_use]
    pub(super) fn remove_own(&self) -> bool {
        self.0.fetch_sub(OWN, Ordering::AcqRel) == OWN
    }

    /// Returns whether the thread has its own reference. **Context:** any.
    #[inline(always)]
    pub(super) fn has_own(&self) -> bool {
        self.0.load(Ordering::Acquire) & OWN != 0
    }
}

#[cfg(test)]
impl References {
    /// As [`new`](Self::new), with so many more: those that were leaked.
    pub(super) fn with_leaked(leaked: u64) -> References {
        References(AtomicU64::new(OWN + 1 + leaked))
    }
}
