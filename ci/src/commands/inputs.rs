//! Files that options and QEMU's arguments name, which a command reads.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::base::files::Plan;

/// The emulators that the user names.
pub(crate) fn programs(files: &mut Plan, qemu: Option<&OsStr>, bochs: Option<&OsStr>) {
    for (option, program) in [("--qemu", qemu), ("--bochs", bochs)] {
        let program = program.and_then(|program| which::which(program).ok());
        program.iter().for_each(|program| files.reads(option, program));
    }
}

/// Files that an argument of QEMU's may name: by itself, or as the value of a property.
pub(crate) fn files_in(argument: &OsString) -> Vec<PathBuf> {
    let parts = argument.as_bytes().split(|byte| *byte == b',');
    let values = parts.map(|part| part.splitn(2, |byte| *byte == b'=').last().unwrap_or(part));
    let names = values.chain([argument.as_bytes()]).map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)));
    names.filter(|path| path.is_file()).collect()
}
