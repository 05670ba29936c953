//! Atomics of lock-free code: the real ones, or those of a model checker, which tries the interleavings of a small model.

#[cfg(loom)]
pub use super::loomed::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
#[cfg(not(any(loom, shuttle)))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub use loom::sync::atomic::fence;
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// Tells loom that the `SeqCst` operations around it are ordered. loom treats a `SeqCst` operation as `AcqRel` and knows the
/// single order of fences only. Elsewhere this is nothing: the operations themselves are in that order.
#[inline(always)]
pub fn order_sequentially() {
    #[cfg(loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}
