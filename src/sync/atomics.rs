//! The atomics of lock-free code: those of `core`, or those of a model checker.

#[cfg(loom)]
pub use super::model_atomics::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub use loom::sync::atomic::fence;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Orders the `SeqCst` operations around it under loom, which treats a `SeqCst` operation as `AcqRel` and has a total
/// order of fences only. Without loom this does nothing, since the operations themselves are totally ordered.
#[inline(always)]
pub(crate) fn order_sequentially() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}
