//! Layer 2: spin locks that are safe against interrupts and name who holds and who awaits them, waits that end, and what CPUs
//! ask of each other.
//!
//! There is one family of locks, which is built on [`QueuedLock`](queued): [`SpinLockIrq`] turns interrupts off,
//! [`SpinLock`] takes an [`IrqGuard`](crate::cpu::IrqGuard) as the proof that they are off. What is set once is a
//! `spin::Once`.

mod atomics;
#[cfg(target_os = "none")]
mod deadline;
pub(crate) mod hotplug;
pub(crate) mod inboxes;
#[cfg(loom)]
pub mod loomed;
#[cfg(target_os = "none")]
mod named;
pub(crate) mod nmi_request;
#[cfg(any(target_os = "none", test))]
mod queued;
#[cfg(any(target_os = "none", test))]
pub(crate) mod self_calls;
#[cfg(all(shuttle, test))]
pub mod shuttled;
#[cfg(target_os = "none")]
mod spin_lock;
#[cfg(any(target_os = "none", test))]
mod stall_reports;
#[cfg(any(target_os = "none", test))]
pub(crate) mod stop;
mod timeout;
#[cfg(any(target_os = "none", test))]
mod wait;
#[cfg(target_os = "none")]
mod waiting;
pub(crate) mod watch;
pub(crate) mod work_slot;

#[cfg(target_os = "none")]
pub use deadline::{Deadline, TimedOut};
#[cfg(target_os = "none")]
pub(crate) use deadline::{now_ns, set_clock};
#[cfg(target_os = "none")]
pub use named::NamedLock;
#[cfg(target_os = "none")]
pub(crate) use named::{held, lock_name};
#[cfg(target_os = "none")]
pub(crate) use queued::set_virtual;
#[cfg(target_os = "none")]
pub use spin_lock::{LockOwner, SpinLock, SpinLockGuard, SpinLockIrq, SpinLockIrqGuard};
#[cfg(target_os = "none")]
pub(crate) use stall_reports::Turn;
pub(crate) use timeout::{STEP_NS, Timeout};
#[cfg(target_os = "none")]
pub use wait::Site;
#[cfg(target_os = "none")]
pub use waiting::LockWait;
#[cfg(target_os = "none")]
pub(crate) use waiting::{WaitReporter, is_waiting, set_wait_reporter, wait_of};

/// The former name of [`SpinLockIrq`], for code that still uses it.
#[cfg(target_os = "none")]
pub type IrqMutex<T> = SpinLockIrq<T>;
