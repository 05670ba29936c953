//! gdb, for runs with a debugger.

use std::path::PathBuf;

use crate::base::{Error, Observer};
use crate::setup::tool::Tool;

pub(super) const TOOL: Tool = Tool {
    title: "gdb",
    program: "gdb",
    named_by: ["", ""],
    packages: |_| &["gdb"],
    newer_by_apt: None,
    is_by_apt_only: false,
    page: "https://sourceware.org/gdb/",
};

/// Finds gdb, and installs it if it is missing.
///
/// # Errors
/// gdb is missing and cannot be installed.
pub fn provide(observer: &mut dyn Observer) -> Result<PathBuf, Error> {
    TOOL.provide(None, observer)
}
