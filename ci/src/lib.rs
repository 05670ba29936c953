//! The host side of octopod, behind `cargo run`: checks that the tools are there, builds the kernel, boots it in QEMU or Bochs,
//! and turns its records into a verdict, a report and an exit status.
//!
//! [`launch`] is one run in one call, and prints nothing; boot tests are built on it. [`parse`] makes the configuration of a run
//! from words of a command line.
//!
//! A module imports only from layers below its own, and no two modules import each other; `tests/layers.rs` checks both.
//! The layers, the lowest first:
//!
//! | layer | what it has |
//! |---|---|
//! | [`base`] | errors, messages, child processes, signals, files, values, texts |
//! | [`machine`] | QEMU, Bochs, accelerator, boot protocol, boot medium |
//! | [`setup`] | finds and installs tools |
//! | [`kernel`] | builds, checks and packs the kernel's ELF file; symbols |
//! | [`run`] | one run: the supervised emulator, records, console, deadline, run folder |
//! | [`report`] | verdict, JSON document, comparison, limits |
//! | [`present`] | terminal, page, pictures, trace file |
//! | [`host`] | the workloads as threads of the host |
//! | [`commands`] | the command line: each command with its options, configuration and outcome |
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
