//! Threads, for the workloads of the scheduler: the kernel's, or those of the host.

mod spec;

#[cfg(not(target_os = "none"))]
#[path = "host.rs"]
mod platform;
#[cfg(target_os = "none")]
#[path = "kernel.rs"]
mod platform;

pub use platform::Cpus;
#[cfg(target_os = "none")]
pub(in crate::stress) use platform::affinity;
pub(in crate::stress) use platform::{
    Thread, Waiting, cpu, grace_ms, join, listed, now_ns, orders_by_priority, park, park_timeout, scheduling,
    scope, set_affinity, since, sleep, spawn, yield_now,
};
pub use spec::Spec;
