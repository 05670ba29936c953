//! Layer 10: the stress. All CPUs allocate frames from one allocator, or objects from one heap, and every allocation and free is checked.
//!
//! `run` runs the workloads one after the other. Each frame has an owner word ([`owners`]). Before and after each workload all
//! magazines are drained, and snapshots of the allocator's state are compared. [`heap`] is the same for heaps, and `workloads::threads` for the scheduler.

mod allocator;
pub mod allocators;
pub(crate) mod failure;
mod figures;
pub mod heap;
mod heap_snapshot;
pub(crate) mod histogram;
#[cfg(not(target_os = "none"))]
pub mod host;
mod invalid_frees;
mod lent;
mod lost;
mod marks;
pub(crate) mod owners;
#[doc(hidden)]
pub mod parameters;
#[doc(hidden)]
pub mod replay;
pub(crate) mod ring;
pub(crate) mod run_table;
pub(crate) mod samples;
pub(crate) mod snapshot;
pub(crate) mod source;
mod stall;
#[doc(hidden)]
pub mod subject;
mod tested;
pub mod thread_platform;
pub mod workloads;

#[cfg(target_os = "none")]
pub(crate) mod barrier;
#[cfg(target_os = "none")]
mod donated;
#[cfg(target_os = "none")]
mod error;
#[cfg(target_os = "none")]
mod heap_arena;
#[cfg(target_os = "none")]
mod kernel;
#[cfg(target_os = "none")]
mod plan;
#[cfg(target_os = "none")]
mod prefault;
#[cfg(target_os = "none")]
mod progress;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
mod tables;

#[cfg(target_os = "none")]
pub(crate) use error::StressError;
#[cfg(target_os = "none")]
pub(crate) use progress::reported;
#[cfg(target_os = "none")]
pub(crate) use run::{run, workload_over};
