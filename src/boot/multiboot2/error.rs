//! Errors of the Multiboot 2 information.

use core::fmt;

use super::layout::{HEAD_BYTES, MEMORY_MAP_ENTRY_MIN};

/// Why the Multiboot 2 information is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiboot2Error {
    /// The structure is truncated.
    Truncated {
        /// The size by its head, or the minimum size, in bytes.
        needed: usize,
        /// The size of the slice, in bytes.
        found: usize,
    },
    /// The size by its head is below that of the head.
    TooShort {
        /// The size by its head, in bytes.
        total: u32,
    },
    /// There is no end tag.
    NoEndTag {
        /// The size of the structure, in bytes.
        total: usize,
    },
    /// The size of a tag is below that of its head; the walk would not terminate.
    TagTooSmall {
        /// The offset of the tag.
        offset: usize,
        /// The kind of the tag.
        kind: u32,
        /// The size field.
        size: u32,
    },
    /// A tag ends after the structure's end.
    TagPastEnd {
        /// The offset of the tag.
        offset: usize,
        /// The kind of the tag.
        kind: u32,
        /// The size field.
        size: u32,
        /// The size of the structure, in bytes.
        total: usize,
    },
    /// A tag is too short for the fields of its kind.
    TagCutOff {
        /// The kind of the tag.
        kind: u32,
        /// The size needed, head included, in bytes.
        needed: usize,
        /// The size of the tag, in bytes.
        found: usize,
    },
    /// The size of memory map entries is below the minimum.
    MemoryMapEntryTooSmall {
        /// The size field.
        size: u32,
    },
}

impl fmt::Display for Multiboot2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Multiboot2Error::Truncated { needed, found } => {
                write!(f, "the Multiboot 2 information is truncated: {found} of {needed} bytes")
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
                write!(f, "the Multiboot 2 tag {kind} is truncated: {found} of {needed} bytes")
            }
            Multiboot2Error::MemoryMapEntryTooSmall { size } => write!(
                f,
                "the Multiboot 2 memory map's entries have {size} bytes, less than {MEMORY_MAP_ENTRY_MIN}"
            ),
        }
    }
}

impl core::error::Error for Multiboot2Error {}
