//! Layer 11: fault injection. The cargo feature `faults` builds it in, and `inject=` on the kernel command line selects
//! one. Each must be caught, so that every check is known to be able to fail.
//!
//! To add a fault, name it in [`Fault`], and write it into the module of its subject: as a function in `INJECTIONS`, with
//! the point of the boot that calls it, or as a `static_call!` that replaces a function of the kernel. A fault of the
//! frame allocator is named in `memory::frames::fault_names` and lies in `memory::frames::faults`; one of the heap in `heap::fault_names` and
//! `heap::faults`, one of the scheduler in `sched::fault_names` and `sched::faults`.

mod names;
mod program;

#[cfg(all(target_os = "none", feature = "faults"))]
mod accesses;
#[cfg(all(target_os = "none", feature = "faults"))]
mod bring_up;
#[cfg(all(target_os = "none", feature = "faults"))]
mod heap;
#[cfg(all(target_os = "none", feature = "faults"))]
mod hotplug;
#[cfg(all(target_os = "none", feature = "faults"))]
mod inject;
#[cfg(all(target_os = "none", feature = "faults"))]
mod injection;
#[cfg(all(target_os = "none", feature = "faults"))]
mod ipis;
#[cfg(all(target_os = "none", feature = "faults"))]
mod locks;
#[cfg(all(target_os = "none", feature = "faults"))]
mod own_checks;
#[cfg(all(target_os = "none", feature = "faults"))]
mod panics;
#[cfg(all(target_os = "none", feature = "faults"))]
mod redirects;
#[cfg(all(target_os = "none", feature = "faults"))]
mod remap;
#[cfg(all(target_os = "none", feature = "faults"))]
mod serial;
#[cfg(all(target_os = "none", feature = "faults"))]
mod spins;
#[cfg(all(target_os = "none", feature = "faults"))]
mod stacks;
#[cfg(all(target_os = "none", feature = "faults"))]
mod tsc;

#[cfg(all(target_os = "none", feature = "faults"))]
pub use inject::{arm, at_entry, inject};
#[cfg(all(target_os = "none", feature = "faults"))]
pub use injection::Point;
pub use names::{FAULT_STAGES, Fault, FaultParameters};
#[cfg(not(target_os = "none"))]
pub use program::learn;
pub use program::{PROGRAM_FAULT_NAMES, PROGRAM_FAULTS, ProgramFault};
