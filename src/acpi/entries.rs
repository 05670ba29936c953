//! Iteration over a table of entries, each of which begins with its type and its length.
//!
//! An invalid length byte must neither repeat an entry forever nor lead past the end of the table. Each step is checked,
//! and an invalid entry is returned as an [`EntryError`].

use core::fmt;

use crate::wire::little_endian::{read_u32, read_u64};

/// An invalid entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryError {
    /// The table's signature.
    pub table: &'static str,
    /// The entry's offset in the table, in bytes.
    pub offset: usize,
    /// The entry's type byte.
    pub entry_type: u8,
    /// The entry's length byte; 0 if the table ends before it.
    pub length: u8,
    /// The kind of the error.
    pub defect: EntryDefect,
}

/// The kind of an [`EntryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryDefect {
    /// The length is less than the two bytes of an entry's header. The next entry cannot be found.
    NoLength,
    /// The entry ends past the table. No entry can follow.
    PastEnd {
        /// Bytes from its start to the table's end.
        left: usize,
    },
    /// The rest of the table is zeros. No entry is lost.
    Padding {
        /// The number of zero bytes.
        bytes: usize,
    },
    /// The entry is shorter than its type requires. The iteration continues after it.
    TooShort {
        /// The minimum length of the type, in bytes.
        needed: u8,
    },
}

impl EntryError {
    /// Returns whether the invalid MADT entry, or the lost rest of the table, may have listed a CPU.
    pub fn may_hide_cpus(&self) -> bool {
        match self.defect {
            EntryDefect::NoLength | EntryDefect::PastEnd { .. } => true,
            EntryDefect::TooShort { .. } => matches!(self.entry_type, 0 | 9),
            EntryDefect::Padding { .. } => false,
        }
    }
}

/// Iterates over the entries: type and bytes of each, at least as many as its type requires, in the table's order, and an
/// error for each invalid entry. It ends after an error that hides the next entry.
#[derive(Clone, Debug)]
pub(super) struct EntryWalk<'a> {
    /// The table's signature.
    pub(super) table: &'static str,
    /// The complete table.
    pub(super) bytes: &'a [u8],
    /// The offset of the next entry.
    pub(super) offset: usize,
    /// The minimum length of each type in bytes. Later revisions may append fields.
    pub(super) size_of_type: fn(u8) -> u8,
}

impl<'a> Iterator for EntryWalk<'a> {
    type Item = Result<(u8, &'a [u8]), EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = self.bytes.get(offset..)?;
        let (&entry_type, tail) = rest.split_first()?;
        let length = tail.first().copied().unwrap_or(0);
        let left = rest.len();
        let error = |defect| Some(Err(EntryError { table: self.table, offset, entry_type, length, defect }));
        if length == 0 && rest.iter().all(|byte| *byte == 0) {
            self.offset = self.bytes.len();
            return error(EntryDefect::Padding { bytes: left });
        }
        if left < 2 || usize::from(length) > left {
            self.offset = self.bytes.len();
            return error(EntryDefect::PastEnd { left });
        }
        if length < 2 {
            self.offset = self.bytes.len();
            return error(EntryDefect::NoLength);
        }
        // The length is at least 2, so the iteration advances and ends.
        self.offset = offset + usize::from(length);
        let needed = (self.size_of_type)(entry_type);
        if length < needed {
            return error(EntryDefect::TooShort { needed });
        }
        Some(Ok((entry_type, &rest[..usize::from(length)])))
    }
}

/// Reads a little-endian 32-bit word. Returns 0 outside the slice, which the callers exclude.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    read_u32(bytes, offset).unwrap_or(0)
}

/// Reads a little-endian 64-bit word, as [`u32_at`].
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    read_u64(bytes, offset).unwrap_or(0)
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EntryError { table, offset, .. } = self;
        write!(f, "{table}, offset {offset}: {}", self.reason())
    }
}

/// The description of an [`EntryError`] without its location.
pub struct EntryErrorReason<'a>(&'a EntryError);

impl EntryError {
    /// Returns the description without the location.
    pub fn reason(&self) -> EntryErrorReason<'_> {
        EntryErrorReason(self)
    }
}

impl fmt::Display for EntryErrorReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EntryError { entry_type, length, defect, .. } = self.0;
        write!(f, "entry of type {entry_type}, length {length}: ")?;
        match defect {
            EntryDefect::NoLength => f.write_str("invalid length, the rest of the table is ignored"),
            EntryDefect::Padding { bytes } => write!(f, "the last {bytes} bytes of the table are zero"),
            EntryDefect::PastEnd { left } => write!(f, "only {left} bytes left in the table"),
            EntryDefect::TooShort { needed } => write!(f, "its type requires {needed} bytes"),
        }
    }
}

impl core::error::Error for EntryError {}
