//! How a CPU that comes online and a CPU that panics see each other. The one that panics stops all that it sees online, by
//! NMI; the one that comes online while another panics must not run on without being stopped.
//!
//! Each of the two stores first, and then reads what the other stores. A `SeqCst` fence between its store and its read keeps
//! the processor from reading first (SDM Vol. 3A, 9.2.3.4), so at least one of them sees the other.

use super::atomics::{AtomicU64, Ordering, fence};

/// Puts this CPU among the online ones; whether it may go on. If not, it stops by itself. `is_panicking` reads whether a CPU
/// panics.
///
/// **Context:** any; interrupts off.
#[must_use = "a CPU that may not go on halts"]
pub fn join_online(online: &AtomicU64, is_panicking: impl FnOnce() -> bool) -> bool {
    online.store(1, Ordering::Release);
    fence(Ordering::SeqCst);
    !is_panicking()
}

/// Orders the store by which this CPU panics before its reads of which CPUs are online.
///
/// **Context:** a CPU that panics.
pub fn before_stopping_others() {
    fence(Ordering::SeqCst);
}

#[cfg(all(test, any(loom, shuttle)))]
mod models;
