//! Limits for the setup of a tool, and whether it may install packages.

use std::ffi::OsStr;
use std::time::Duration;

/// Forbids the launcher to install anything.
pub(crate) const NO_INSTALL: &str = "OCTOPOD_NO_INSTALL";

/// A program answers a question about itself within this time.
pub(crate) const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// Downloads over a slow line take long.
pub(crate) const INSTALL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// A package manager that is interrupted needs time to leave its database consistent.
pub(crate) const INSTALL_GRACE: Duration = Duration::from_secs(60);

/// Returns whether the launcher may install what is missing.
pub(crate) fn may_install() -> bool {
    std::env::var_os(NO_INSTALL).is_none_or(|value| value.is_empty() || value == OsStr::new("0"))
}
