//! The host side of octopod, behind `cargo run`: checks that the tools are there, builds the kernel, boots it in QEMU or Bochs,
//! and turns its records into a verdict, a report and an exit status.
//!
//! A layer imports from the layers below it only; `ci/tests/layers.rs` checks that.

pub mod base;
pub mod commands;
pub mod host;
pub mod kernel;
pub mod machine;
pub mod present;
pub mod report;
pub mod run;
pub mod setup;

pub use base::verdict::VerdictKind;
pub use commands::cli::{Mode, Options};
pub use commands::launch::{launch, launch_on, launch_with};
pub use report::document::Report;
pub use report::outcome::{CpuPlace, Outcome};
