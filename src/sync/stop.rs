//! Ordering between a CPU that comes online and a CPU that panics. The panicking CPU stops all CPUs that it finds online
//! by NMI. A CPU that comes online during a panic must halt by itself.
//!
//! Each of the two stores first, then reads what the other stores. A `SeqCst` fence between its store and its read keeps
//! the processor from reading first (SDM Vol. 3A, 9.2.3.4), so at least one of them sees the other's store.

use super::atomics::{AtomicU64, Ordering, fence};

/// Marks this CPU as online and returns whether it may continue. If not, it halts. `is_panicking` reads whether a CPU
/// panics.
///
/// **Context:** any; interrupts off.
#[must_use = "a CPU that may not continue halts"]
pub(crate) fn join_online(online: &AtomicU64, is_panicking: impl FnOnce() -> bool) -> bool {
    online.store(1, Ordering::Release);
    fence(Ordering::SeqCst);
    !is_panicking()
}

/// Orders the store that marks this CPU as panicking before its reads of the online CPUs.
///
/// **Context:** the panicking CPU.
pub(crate) fn before_stopping_others() {
    fence(Ordering::SeqCst);
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;
