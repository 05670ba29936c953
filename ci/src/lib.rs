//! The host side of octopod, behind `cargo run`: checks that the tools are there, builds the kernel, boots it in QEMU or Bochs,
//! and turns its records into a verdict, a report and an exit status.
//!
//! [`launch`] is one run in one call, and prints nothing; boot tests are built on it. [`parse`] makes the configuration of a run
//! from words of a command line.
//!
//! A module imports only from layers below its own, and no two modules import each other; `tests/layers.rs` checks both.
//! The layers, the lowest first:
//!
//! <!-- generated: launcher-layers-table -->
//!
//! | layer | content |
//! |---|---|
//! | [`base`] | The lowest layer: errors, messages, child processes, files, values and texts. |
//! | [`machine`] | The machine that a kernel boots on: QEMU or Bochs, the accelerator, the boot protocol and the boot medium. |
//! | [`setup`] | Checks the tools of a run and installs missing ones, if the launcher may: the Rust target, QEMU or Bochs, and the tools of a boot protocol. |
//! | [`kernel`] | The kernel's ELF file: built or found, checked, packed, and its symbols. |
//! | [`run`] | One run: the supervised emulator, the serial channel and its records, the console, the deadline, and the run's folder. |
//! | [`report`] | The result of a run: the verdict, the JSON document, and the comparison of two documents. |
//! | [`present`] | The presentation of a report: the terminal, the page with its pictures, the trace file. |
//! | [`host`] | The workloads as threads of the host, without a machine. |
//! | [`commands`] | The commands of the launcher, one file or folder each: its options, its configuration, its outcome. |
//!
//! <!-- end -->
//!
//! Below [`commands`] no module sees the command line: each takes a configuration of its own, such as
//! [`MachineConfig`](machine::MachineConfig) or [`KernelConfig`](kernel::KernelConfig).

pub mod base;
pub mod commands;
pub mod host;
pub mod kernel;
pub mod machine;
pub mod present;
pub mod report;
pub mod run;
pub mod setup;

pub use base::VerdictKind;
pub use commands::launch::{Launch, LaunchKind};
pub use commands::runs::{launch, launch_on, launch_with, parse};
pub use report::Report;
pub use report::outcome::{CpuPlace, Outcome};
