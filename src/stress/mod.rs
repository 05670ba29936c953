//! Layer 10: all CPUs draw frames from one allocator, and every hand-out and return is checked while they race.
//!
//! [`run`] puts the workloads through one after the other. Each frame has an owner word ([`owners`]); before and after
//! each workload all magazines are drained and the books compared.

pub mod histogram;
pub mod owners;
pub mod ring;

#[cfg(target_os = "none")]
mod barrier;
#[cfg(target_os = "none")]
mod progress;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
mod workloads;

#[cfg(target_os = "none")]
pub use run::{StressError, run};
