//! The host side of octopod, behind `cargo run`: sees that the tools are there, builds the kernel, boots it in QEMU or Bochs,
//! and turns what it says into a verdict, a report and an exit status.
//!
//! [`launch`] is all of it in one call, and prints nothing; boot tests are built on it.

pub mod accel;
pub mod bench;
pub mod bochs;
pub mod checkout;
pub mod cli;
pub mod compare;
pub mod debugger;
pub mod doors;
pub mod emulator;
pub mod error;
pub mod files;
pub mod host_stress;
pub mod interrupt;
pub mod kernel_build;
mod launch;
pub mod limits;
pub mod matrix;
pub mod notice;
pub mod pack;
pub mod page;
pub mod pictures;
pub mod process;
pub mod qemu;
pub mod qmp;
pub mod records;
pub mod replay;
pub mod report;
pub mod rows;
pub mod run;
pub mod rundir;
pub mod seal;
pub mod setup;
pub mod shell;
pub mod soak;
pub mod symbols;
pub mod table;
pub mod text;
pub mod trace;
pub mod ui;
pub mod values;
pub mod verdict;
pub mod version;

pub use cli::{Mode, Options};
pub use launch::{CpuPlace, Outcome, launch, launch_on, launch_with};
pub use report::{Report, VerdictKind};
