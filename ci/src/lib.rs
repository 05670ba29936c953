//! The host side of octopod, behind `cargo run`: checks that the tools are there, builds the kernel, boots it in QEMU or Bochs,
//! and turns its records into a verdict, a report and an exit status.
//!
//! [`launch`] is one run in one call, and prints nothing; boot tests are built on it. A layer imports from the layers below it
//! only.

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
pub use commands::launch::{Launch, LaunchKind};
pub use commands::runs::{launch, launch_on, launch_with, parse};
pub use report::document::Report;
pub use report::outcome::{CpuPlace, Outcome};
