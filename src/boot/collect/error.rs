//! Errors of the boot information.

use core::fmt;

use crate::boot::multiboot1::Multiboot1Error;
use crate::boot::multiboot2::Multiboot2Error;
use crate::boot::pvh::PvhError;

/// Why the boot information cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BootError {
    /// The PVH start info is malformed.
    Pvh(PvhError),
    /// The Multiboot information is malformed.
    Multiboot1(Multiboot1Error),
    /// The Multiboot 2 information is malformed.
    Multiboot2(Multiboot2Error),
    /// A part of the boot information lies above 4 GiB, which the early page tables do not map.
    OutOfReach {
        /// The part.
        what: &'static str,
        /// Its physical address.
        address: u64,
    },
    /// The loader passed no memory map.
    NoMemoryMap,
    /// A part of the boot information exceeds its limit.
    TooLong {
        /// The part.
        what: &'static str,
        /// Its length in bytes.
        length: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootError::Pvh(error) => error.fmt(f),
            BootError::Multiboot1(error) => error.fmt(f),
            BootError::Multiboot2(error) => error.fmt(f),
            BootError::OutOfReach { what, address } => {
                write!(f, "{what} at {address:#x} is above 4 GiB")
            }
            BootError::NoMemoryMap => f.write_str("the loader passed no memory map"),
            BootError::TooLong { what, length, limit } => {
                write!(f, "{what} is too long: {length} bytes, limit {limit}")
            }
        }
    }
}
