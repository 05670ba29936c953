//! Layer 2: synchronisation. Spin locks with names and reports of their holders and waiters, deadlines and time-outs, and
//! the lock-free protocols between CPUs.
//!
//! All locks are built on one [`QueuedLock`](queued). [`SpinLockIrq`] disables interrupts. [`SpinLock`] takes an
//! [`IrqGuard`](crate::cpu::IrqGuard) as the proof that they are off. For a value that is set once, use `spin::Once`.

mod atomics;
pub(crate) mod call_queue;
#[cfg(target_os = "none")]
mod changeable_hook;
#[cfg(target_os = "none")]
mod deadline;
pub(crate) mod heartbeat;
#[cfg(any(all(target_os = "none", feature = "checked"), all(test, not(any(loom, shuttle)))))]
mod held_locks;
#[cfg(target_os = "none")]
mod hook;
#[cfg(not(target_os = "none"))]
mod host_lock;
pub(crate) mod hotplug;
#[cfg(target_os = "none")]
mod lock_class;
#[cfg(target_os = "none")]
pub(crate) mod lock_order;
#[cfg(target_os = "none")]
mod lock_owner;
#[cfg(loom)]
pub mod model_atomics;
#[cfg(all(shuttle, test))]
pub mod model_schedules;
#[cfg(target_os = "none")]
mod named;
pub(crate) mod nmi_request;
#[cfg(any(all(target_os = "none", feature = "checked"), all(test, not(any(loom, shuttle)))))]
mod order_graph;
#[cfg(any(target_os = "none", test))]
mod queued;
#[cfg(any(target_os = "none", test))]
pub(crate) mod self_calls;
#[cfg(any(target_os = "none", test))]
pub(crate) mod shared_round;
#[cfg(target_os = "none")]
mod spin_lock;
#[cfg(any(target_os = "none", test))]
mod stall_reports;
#[cfg(any(target_os = "none", test))]
pub(crate) mod stop;
mod timeout;
pub(crate) mod tlb;
#[cfg(any(target_os = "none", test))]
mod wait;
#[cfg(target_os = "none")]
mod waiting;
pub(crate) mod work_slot;

pub(crate) use atomics::{AtomicU32, AtomicUsize, Ordering, order_sequentially};
#[cfg(target_os = "none")]
pub(crate) use changeable_hook::ChangeableHook;
#[cfg(target_os = "none")]
pub use deadline::{Deadline, TimedOut};
#[cfg(target_os = "none")]
pub(crate) use deadline::{now_ns, set_clock};
#[cfg(target_os = "none")]
pub(crate) use hook::Hook;
#[cfg(not(target_os = "none"))]
pub use host_lock::{SpinLockIrq, SpinLockIrqGuard};
#[cfg(target_os = "none")]
pub(crate) use lock_class::LockClass;
#[cfg(target_os = "none")]
pub use lock_owner::LockOwner;
#[cfg(target_os = "none")]
pub use named::NamedLock;
#[cfg(target_os = "none")]
pub(crate) use named::{held, held_lock, lock_name};
#[cfg(target_os = "none")]
pub(crate) use queued::set_virtual;
#[cfg(target_os = "none")]
pub use spin_lock::{SpinLock, SpinLockGuard, SpinLockIrq, SpinLockIrqGuard};
#[cfg(target_os = "none")]
pub(crate) use stall_reports::ReportRole;
pub(crate) use timeout::{STEP_NS, Timeout};
#[cfg(target_os = "none")]
pub use wait::Site;
#[cfg(target_os = "none")]
pub use waiting::LockWait;
#[cfg(all(target_os = "none", feature = "faults"))]
pub(crate) use waiting::lock_timeout_ms;
#[cfg(target_os = "none")]
pub(crate) use waiting::{WaitReporter, is_waiting, misused_at, set_wait_reporter, wait_of};
