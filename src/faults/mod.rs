//! Layer 10: fault injection. The cargo feature `faults` builds it in, and `inject=` on the kernel command line selects
//! one. Each must be caught, so that every check is known to be able to fail.
//!
//! To add a fault, name it in [`Fault`], and write it into the module whose event injects it: `inject` (at entry, when
//! all CPUs are online, before the checks of the boot), or one of those that replace a function of the kernel
//! (`static_call!`).

mod names;

#[cfg(all(target_os = "none", feature = "faults"))]
mod bring_up;
#[cfg(all(target_os = "none", feature = "faults"))]
mod common;
#[cfg(all(target_os = "none", feature = "faults"))]
mod hotplug;
#[cfg(all(target_os = "none", feature = "faults"))]
mod inject;
#[cfg(all(target_os = "none", feature = "faults"))]
mod ipis;
#[cfg(all(target_os = "none", feature = "faults"))]
mod locks;
#[cfg(all(target_os = "none", feature = "faults"))]
mod redirects;
#[cfg(all(target_os = "none", feature = "faults"))]
mod remap;
#[cfg(all(target_os = "none", feature = "faults"))]
mod serial;

#[cfg(all(target_os = "none", feature = "faults"))]
pub use inject::{after_selftest, arm, at_entry, at_work, before_audit, before_warp_test};
pub use names::{FAULT_STAGES, Fault, FaultParameters};
