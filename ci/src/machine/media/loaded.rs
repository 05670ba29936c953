//! The contents of a boot medium.

use std::path::Path;

use crate::base::values::ModuleFile;

/// The input of the loader.
#[derive(Clone, Debug)]
pub struct Loaded<'a> {
    /// The kernel's file.
    pub kernel: &'a Path,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// The modules.
    pub modules: &'a [ModuleFile],
}
