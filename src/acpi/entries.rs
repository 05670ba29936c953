//! The walk over a table that is a list of entries, each of which begins with its type and its length.
//!
//! A length byte that firmware got wrong must neither trap the walk in place nor lead it out of the table, so every
//! step is checked, and what is wrong comes out as a [`Fault`] among the entries.

use core::fmt;

use crate::wire::little_endian::{read_u32, read_u64};

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The table's signature.
    pub table: &'static str,
    /// Where in the table the entry begins.
    pub offset: usize,
    /// The entry's type byte.
    pub entry_type: u8,
    /// The entry's length byte; 0 where the table ends before it.
    pub length: u8,
    /// What is wrong.
    pub defect: Defect,
}

/// In which way an entry is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// It is shorter than the two bytes that every entry has, so there is no telling where the next one begins.
    NoLength,
    /// It ends past the table, so nothing can follow.
    PastEnd {
        /// Bytes from its beginning to the table's end.
        left: usize,
    },
    /// From here to its end the table holds zeroes, so no entry is lost.
    Padding {
        /// How many.
        bytes: usize,
    },
    /// It is shorter than its type requires. The walk goes on behind it.
    TooShort {
        /// Bytes that its type requires.
        needed: u8,
    },
}

impl Fault {
    /// Whether an entry of the MADT may have listed a CPU, or the rest of the table, which is lost, more of them.
    pub fn may_hide_a_cpu(&self) -> bool {
        match self.defect {
            Defect::NoLength | Defect::PastEnd { .. } => true,
            Defect::TooShort { .. } => matches!(self.entry_type, 0 | 9),
            Defect::Padding { .. } => false,
        }
    }
}

/// The walk: each entry's type and bytes, no fewer than its type requires, in the table's order, with a fault in the place
/// of each broken one. After a fault that leaves no way to find the next entry it ends.
#[derive(Clone, Debug)]
pub(super) struct Walk<'a> {
    /// The table's signature.
    pub(super) table: &'static str,
    /// All of the table.
    pub(super) bytes: &'a [u8],
    /// Where the next entry begins.
    pub(super) offset: usize,
    /// How many bytes each type requires. More is allowed: later revisions append fields.
    pub(super) size_of_type: fn(u8) -> u8,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<(u8, &'a [u8]), Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = self.bytes.get(offset..)?;
        let (&entry_type, tail) = rest.split_first()?;
        let length = tail.first().copied().unwrap_or(0);
        let left = rest.len();
        let fault = |defect| Some(Err(Fault { table: self.table, offset, entry_type, length, defect }));
        if length == 0 && rest.iter().all(|byte| *byte == 0) {
            self.offset = self.bytes.len();
            return fault(Defect::Padding { bytes: left });
        }
        if left < 2 || usize::from(length) > left {
            self.offset = self.bytes.len();
            return fault(Defect::PastEnd { left });
        }
        if length < 2 {
            self.offset = self.bytes.len();
            return fault(Defect::NoLength);
        }
        // At least 2, so each step goes forward and the walk ends.
        self.offset = offset + usize::from(length);
        let needed = (self.size_of_type)(entry_type);
        if length < needed {
            return fault(Defect::TooShort { needed });
        }
        Some(Ok((entry_type, &rest[..usize::from(length)])))
    }
}

/// A little-endian word; 0 outside the slice, which the callers' checks exclude.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    read_u32(bytes, offset).unwrap_or(0)
}

/// The same, of 64 bits.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    read_u64(bytes, offset).unwrap_or(0)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { table, offset, .. } = self;
        write!(f, "{table}, offset {offset}: {}", self.reason())
    }
}

/// A [`Fault`] without where it is.
pub struct FaultReason<'a>(&'a Fault);

impl Fault {
    /// What is wrong, without where it is.
    pub fn reason(&self) -> FaultReason<'_> {
        FaultReason(self)
    }
}

impl fmt::Display for FaultReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { entry_type, length, defect, .. } = self.0;
        write!(f, "entry of type {entry_type}, length {length}: ")?;
        match defect {
            Defect::NoLength => f.write_str("shorter than any entry, the rest of the table is lost"),
            Defect::Padding { bytes } => write!(f, "the table's last {bytes} bytes are zeroes"),
            Defect::PastEnd { left } => write!(f, "only {left} bytes are left of the table"),
            Defect::TooShort { needed } => write!(f, "its type has {needed} bytes"),
        }
    }
}

impl core::error::Error for Fault {}
