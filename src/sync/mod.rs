//! Layer 2: locks that are safe against interrupts, waits that end, and what CPUs ask of each other.

#[cfg(target_os = "none")]
mod deadline;
pub mod inboxes;
#[cfg(target_os = "none")]
mod irq_mutex;
#[cfg(loom)]
pub mod loomed;
#[cfg(target_os = "none")]
mod named;
#[cfg(any(target_os = "none", test))]
mod owned;
pub mod watch;

#[cfg(target_os = "none")]
pub use deadline::{Deadline, TimedOut, set_clock};
#[cfg(target_os = "none")]
pub use irq_mutex::{IrqMutex, IrqMutexGuard};
#[cfg(target_os = "none")]
pub use named::{NamedLock, held, lock_name};
#[cfg(target_os = "none")]
pub use owned::{OwnedGuard, OwnedMutex, Owner};
