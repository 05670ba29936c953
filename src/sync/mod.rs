//! Layer 2: locks that are safe against interrupts, waits that end, and what CPUs ask of each other.

#[cfg(target_os = "none")]
mod deadline;
pub(crate) mod inboxes;
#[cfg(target_os = "none")]
mod irq_mutex;
#[cfg(loom)]
pub mod loomed;
#[cfg(target_os = "none")]
mod named;
#[cfg(any(target_os = "none", test))]
mod owned;
pub(crate) mod watch;

#[cfg(target_os = "none")]
pub(crate) use deadline::set_clock;
#[cfg(target_os = "none")]
pub use deadline::{Deadline, TimedOut};
#[cfg(target_os = "none")]
pub use irq_mutex::{IrqMutex, IrqMutexGuard};
#[cfg(target_os = "none")]
pub use named::NamedLock;
#[cfg(target_os = "none")]
pub(crate) use named::{held, lock_name};
#[cfg(target_os = "none")]
pub(crate) use owned::OwnedMutex;
#[cfg(target_os = "none")]
pub use owned::{OwnedGuard, Owner};
