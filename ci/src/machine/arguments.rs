//! Arguments for QEMU, and their spelling there and in a shell.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A command line in groups, each an option with its value.
pub type Arguments = Vec<Vec<OsString>>;

/// QEMU ends a value at a comma, and takes two for one.
pub fn escape_commas(value: &OsStr) -> OsString {
    let mut escaped = Vec::with_capacity(value.len());
    for &byte in value.as_bytes() {
        escaped.push(byte);
        if byte == b',' {
            escaped.push(byte);
        }
    }
    OsString::from_vec(escaped)
}

/// Each option with what follows it.
pub fn grouped(arguments: &[OsString]) -> Arguments {
    let mut groups = Arguments::new();
    for argument in arguments {
        match groups.last_mut() {
            Some(group) if !argument.as_bytes().starts_with(b"-") => group.push(argument.clone()),
            _ => groups.push(vec![argument.clone()]),
        }
    }
    groups
}

/// An argument as a shell would take it.
pub fn quoted(argument: &OsStr) -> Vec<u8> {
    // Only a NUL byte cannot be quoted, and no argument of a program can hold one.
    shlex::bytes::try_quote(argument.as_bytes())
        .map_or_else(|_| argument.as_bytes().to_vec(), |quoted| quoted.into_owned())
}
