//! octopod: an SMP kernel for x86-64, built around per-CPU data and APIC timers.
//!
//! The modules are layers. Each imports only from layers above it in this list; a test checks the sources. The pure parts
//! compile on any host, where they are tested. The rest compiles for `x86_64-unknown-none` only.
//!
//! | layer | modules |
//! |---|---|
//! | 0 | [`config`], [`wire`] |
//! | 1 | [`cpu`] |
//! | 2 | [`sync`], `trace`, [`console`] |
//! | 3 | [`boot`], `panic` |
//! | 4 | [`memory`] |
//! | 5 | `interrupts`, [`acpi`] |
//! | 6 | `apic` |
//! | 7 | [`time`] |
//! | 8 | `smp` |
//! | 9 | `audit`, `bench`, [`selftest`], `shell`, [`stress`] |
//! | 10 | [`faults`], [`options`], `report`, `program`, `stages` |
//!
//! # The boot
//!
//! `stages` has the whole boot on one screen. Each stage takes the results of the stages before it:
//!
//! | stage | what | result |
//! |---|---|---|
//! | rt0 | 32-bit code: checks the image and the processor, draws the kernel's address, early page tables | `Handoff` |
//! | loader | the boot information, by PVH or either Multiboot; from here on the log is written to the serial port and a text screen | `BootInfo` |
//! | options | the kernel command line | [`Options`](options::Options) |
//! | features, patching | the processor's features; code that depends on them, while code is writable | `Features` |
//! | memory | the final page tables, then the frame allocator | `LowMemory` |
//! | bsp | the BSP's GDT, TSS and stacks | |
//! | screen | the loader's frame buffer, if there is one | |
//! | platform | ACPI: CPUs, timers, I/O APICs | `Platform` |
//! | clock | the local APIC, the TSC's and the timer's rate | `Clock` |
//! | aps | all APs at once | `BringUp` |
//! | tsc_sync, audit | TSC synchronisation; the page-table audit; a check of each CPU | |
//! | program | the work, or a kernel of one's own | the verdict |
//!
//! # Custom kernels
//!
//! `program!` names the function that the boot calls at its end. `examples/hello.rs` and `examples/allocator.rs` are two such
//! kernels, each in under fifty lines; `cargo run -- run --example hello` boots one. Their documentation, and that of the
//! kernel-only parts, is in `cargo doc -p octopod --target x86_64-unknown-none`. Items that are not for programs are private to
//! the crate; `--document-private-items` shows them. Whatever a program calls without `unsafe` is sound: `docs/invariants.md`
//! has the rules, `tests/soundness/` the attempts to break them.

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

pub mod config;
pub mod wire;

pub mod cpu;

pub mod console;
pub mod sync;
mod trace;
#[cfg(target_os = "none")]
pub(crate) use trace::trace;

pub mod boot;
#[cfg(target_os = "none")]
mod panic;

pub mod memory;

pub mod acpi;
#[cfg(target_os = "none")]
pub mod interrupts;

#[cfg(target_os = "none")]
mod apic;

pub mod time;

#[cfg(target_os = "none")]
pub mod smp;

pub mod stress;

#[cfg(any(test, feature = "shell"))]
mod shell;

#[cfg(target_os = "none")]
mod audit;
#[cfg(target_os = "none")]
mod bench;
pub mod selftest;

pub mod faults;
pub mod options;
#[cfg(target_os = "none")]
pub mod program;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
pub mod stages;
