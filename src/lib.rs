//! octopod: an SMP kernel for x86-64, built around per-CPU data and APIC timers.
//!
//! The modules are layers. Each imports only from layers below its own; `tests/layers.rs` checks the sources.
//! `docs/architecture.md` describes each. The pure parts compile on any host, where they are tested. The rest compiles for
//! `x86_64-unknown-none` only.
//!
//! <!-- generated: layers-table -->
//!
//! | layer | modules |
//! |---|---|
//! | 0 | `config`, `registry`, `wire` |
//! | 1 | `cpu` |
//! | 2 | `sync`, `console`, `trace` |
//! | 3 | `boot`, `panic` |
//! | 4 | `memory` |
//! | 5 | `interrupts`, `acpi` |
//! | 6 | `apic` |
//! | 7 | `time` |
//! | 8 | `smp` |
//! | 9 | `heap` |
//! | 10 | `sched`, `audit`, `selftest`, `stress`, `testing`, `bench`, `shell` |
//! | 11 | `faults`, `options`, `report`, `program`, `prelude`, `stages` |
//!
//! <!-- end -->
//!
//! # The boot
//!
//! `stages` has the whole boot on one screen. Each stage takes the results of the stages before it:
//!
//! <!-- generated: boot-path-table -->
//!
//! | stage | what | result |
//! |---|---|---|
//! | `rt0` | 32-bit code checks the image and the processor, chooses the kernel's address, and builds early page tables. | `Handoff` |
//! | `loader` | From the kernel's entry to its first Rust code; the boot information is read. | `BootInfo` |
//! | `options` | The kernel command line is parsed. | `Options` |
//! | `features` | The processor's features are detected and checked. | `Features` |
//! | `patching` | Code that depends on features is patched. | |
//! | `memory` | The final page tables are built, and the frame allocator is set up. | `Option<LowMemory>` |
//! | `bsp` | The BSP loads its GDT, TSS, interrupt stacks and control registers. | |
//! | `screen` | The log is shown on the framebuffer or the VGA text screen. | |
//! | `platform` | The ACPI tables are read: CPUs, timers, interrupt routing, NUMA nodes. | `Platform` |
//! | `zones` | Memory is divided into zones and NUMA nodes. | |
//! | `clock` | The local APIC is enabled, and the TSC and the APIC timer are calibrated. | `Clock` |
//! | `serial_input` | The I/O APICs are set up, and the serial port's interrupt on them. | |
//! | `aps` | The APs are started by INIT-SIPI-SIPI, all at once. | `BringUp` |
//! | `tsc_sync` | The TSCs of all CPUs are compared, and the clocksource is selected. | |
//! | `audit` | The live page tables are checked against the policy. | |
//! | `scheduler` | The scheduler starts: threads run on all CPUs. | |
//! | `work` | The work of the command line runs. | `Result<(), Reason>` |
//! | `verdict` | The result is reported. | |
//!
//! <!-- end -->
//!
//! # A kernel
//!
//! The modules that are documented here are for programs; [`prelude`] has what most of them need. This is a whole one, which
//! `octopod new` writes; [`program!`] names the function that the boot calls at its end:
//!
//! <!-- generated: template-kernel -->
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! use octopod::prelude::*;
//!
//! octopod::program!(main);
//!
//! /// Runs on the BSP when all CPUs are online. Its result is the verdict of the run.
//! fn main(machine: &Machine) -> Result<(), Reason> {
//!     log::info!("{} CPUs are online", machine.bring_up.online);
//!     smp::on_each_cpu(1000, &|cpu| {
//!         let greeting = format!("hello from CPU {}", cpu.id());
//!         log::info!("{greeting}");
//!     })?;
//!     Ok(())
//! }
//!
//! /// `cargo test` boots a machine and runs this on all its CPUs at once.
//! #[octopod::test(cpus = all)]
//! fn every_cpu_has_a_frame_of_its_own() {
//!     let frame = OwnedFrame::alloc().expect("a free frame");
//!     assert_ne!(frame.physical_address(), 0, "frame 0 is never allocated");
//! }
//! ```
//!
//! <!-- end -->
//!
//! `docs/kernels.md` leads through it; `examples/hello.rs` and `examples/allocator.rs` are two more, each in under fifty lines, and
//! `cargo run -- run --example hello` boots one. [`option!`], [`frame_allocator!`], [`heap!`](crate::heap!), [`workload!`] and [`bench!`] register what a program
//! adds. Whatever a program calls without `unsafe` is sound: `docs/invariants.md` has the rules, `tests/soundness/` the attempts to
//! break them.
//!
//! `cargo doc -p octopod --target x86_64-unknown-none` documents the parts that exist in the kernel only. Items that are not for
//! programs are private or hidden; `--document-private-items --document-hidden-items` shows them.

#![cfg_attr(not(test), no_std)]
// Only the kernel with every feature uses and exports all of the crate. There, unused and unreachable items are reported.
#![cfg_attr(
    not(all(target_os = "none", feature = "faults", feature = "selftest", feature = "shell")),
    allow(dead_code, unreachable_pub, unused_imports)
)]
// Half of the items that the shared documentation links to exist in the kernel only. The kernel's documentation checks every
// link.
#![cfg_attr(not(target_os = "none"), allow(rustdoc::broken_intra_doc_links))]
// Module heads also link to private items: `cargo doc --document-private-items` follows those links.
#![allow(rustdoc::private_intra_doc_links)]

extern crate alloc;

pub use octopod_macros::test;

pub mod config;
#[doc(hidden)]
pub mod registry;
#[doc(hidden)]
pub mod wire;

pub mod cpu;

pub mod console;
pub mod sync;
pub mod trace;
#[cfg(target_os = "none")]
pub(crate) use trace::trace;

pub mod boot;
#[cfg(target_os = "none")]
pub use boot::{module, modules};
#[cfg(target_os = "none")]
pub mod panic;

pub mod memory;

#[doc(hidden)]
pub mod acpi;
#[cfg(target_os = "none")]
pub mod interrupts;

#[cfg(target_os = "none")]
mod apic;

pub mod time;

#[cfg(target_os = "none")]
pub mod smp;

pub mod heap;

#[doc(hidden)]
pub mod sched;
pub use sched::dispatch as scheduler;
#[cfg(target_os = "none")]
pub use sched::{task, thread, work};

pub mod stress;
pub mod testing;

#[cfg(any(test, feature = "shell"))]
mod shell;

#[cfg(target_os = "none")]
mod audit;
pub mod bench;
pub mod selftest;

#[doc(hidden)]
pub mod faults;
#[doc(hidden)]
pub mod options;
#[cfg(target_os = "none")]
pub mod prelude;
pub mod program;
#[cfg(target_os = "none")]
pub mod report;
#[cfg(target_os = "none")]
pub mod stages;
