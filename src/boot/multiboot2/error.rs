//! What can be wrong with the loader's structure.

use core::fmt;

use super::{HEAD_BYTES, MEMORY_MAP_ENTRY_MIN};

/// Why the loader's information cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiboot2Error {
    /// The structure ends too soon.
    Truncated {
        /// Bytes that it says it has, or that it must have.
        needed: usize,
        /// Bytes that were there.
        found: usize,
    },
    /// It says that it is too short to hold even its head.
    TooShort {
        /// The length that it claims.
        total: u32,
    },
    /// No tag ends it.
    NoEndTag {
        /// Its length.
        total: usize,
    },
    /// A tag says that it is smaller than its own head: the walk would not move on.
    TagTooSmall {
        /// Where it begins.
        offset: usize,
        /// Its kind.
        kind: u32,
        /// The size that it claims.
        size: u32,
    },
    /// A tag ends past the structure's end.
    TagPastEnd {
        /// Where it begins.
        offset: usize,
        /// Its kind.
        kind: u32,
        /// The size that it claims.
        size: u32,
        /// The structure's length.
        total: usize,
    },
    /// A tag is too short for what its kind has in it.
    TagCutOff {
        /// Its kind.
        kind: u32,
        /// Bytes that it must have, with its head.
        needed: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// The memory map's entries are smaller than entries are.
    MemoryMapEntryTooSmall {
        /// The size that it claims.
        size: u32,
    },
}

impl fmt::Display for Multiboot2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Multiboot2Error::Truncated { needed, found } => {
                write!(f, "the Multiboot 2 information is cut off: {found} bytes of {needed}")
            }
            Multiboot2Error::TooShort { total } => {
                write!(f, "the Multiboot 2 information claims to have {total} bytes, less than {HEAD_BYTES}")
            }
            Multiboot2Error::NoEndTag { total } => {
                write!(f, "the Multiboot 2 information's {total} bytes end without an end tag")
            }
            Multiboot2Error::TagTooSmall { offset, kind, size } => {
                write!(f, "the Multiboot 2 tag {kind} at byte {offset} has size {size}, less than its head")
            }
            Multiboot2Error::TagPastEnd { offset, kind, size, total } => write!(
                f,
                "the Multiboot 2 tag {kind} at byte {offset} has size {size} and ends past the information's {total} bytes"
            ),
            Multiboot2Error::TagCutOff { kind, needed, found } => {
                write!(f, "the Multiboot 2 tag {kind} is cut off: {found} bytes of {needed}")
            }
            Multiboot2Error::MemoryMapEntryTooSmall { size } => write!(
                f,
                "the Multiboot 2 memory map's entries have {size} bytes, less than {MEMORY_MAP_ENTRY_MIN}"
            ),
        }
    }
}

impl core::error::Error for Multiboot2Error {}
