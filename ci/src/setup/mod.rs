//! Sees to it that what a run needs is there: the Rust target, QEMU or Bochs, and what a door needs beside it,
//! installed where the launcher may.

pub mod apt;
pub mod bochs;
pub mod doctor;
pub mod emulator;
pub mod gdb;
pub mod media;
pub mod packages;
pub mod qemu;
pub mod rust;
pub mod target;

use std::ffi::OsStr;
use std::time::Duration;

/// Forbids the launcher to install anything.
pub const NO_INSTALL: &str = "OCTOPOD_NO_INSTALL";

/// A program that only says something about itself does so within this.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// Downloads over a slow line take long.
const INSTALL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// A package manager that is broken off needs time to leave its books in order.
const INSTALL_GRACE: Duration = Duration::from_secs(60);

/// Whether the launcher may install what is missing.
fn may_install() -> bool {
    std::env::var_os(NO_INSTALL).is_none_or(|value| value.is_empty() || value == OsStr::new("0"))
}
