//! The MADT, the ACPI table that lists CPUs, I/O APICs and how legacy interrupts are wired, walked as a byte slice.
//!
//! What is wrong with an entry comes out as a [`Fault`] among the others. [`Madt::parse`] takes the whole table with its
//! header, whose checksum the caller has verified; [`Madt::entries`] walks it. [`super::roster`] makes
//! a list of CPUs of it, `apic` reads the rest. Layouts: ACPI 6.5 §5.2.12, tables 5.19 and following.

use core::fmt;

pub use ::acpi::madt::MadtEntry;
use ::acpi::madt::{
    EntryHeader, InterruptSourceOverrideEntry, IoApicEntry, LocalApicAddressOverrideEntry, LocalApicEntry,
    LocalApicNmiEntry, LocalX2ApicEntry, Madt as MadtLayout, NmiSourceEntry, X2ApicNmiEntry,
};
use ::acpi::sdt::Signature;

use super::entries::{Fault, Walk};
use super::layout::view;

#[cfg(test)]
pub(super) mod tests;

/// Bytes before the first entry: the header common to all tables (36), the local APICs' address, the flags.
pub const HEADER_BYTES: usize = size_of::<MadtLayout>();

/// A MADT whose header has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Madt<'a> {
    header: &'a MadtLayout,
    /// Exactly as long as the header says.
    bytes: &'a [u8],
}

/// Why a table cannot be walked at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadtError {
    /// The slice is shorter than the header.
    NoHeader {
        /// Bytes that were there.
        found: usize,
    },
    /// It is another table.
    WrongSignature {
        /// Its first four bytes.
        found: [u8; 4],
    },
    /// The length in the header is less than the header, or more than what the caller could map.
    BadLength {
        /// The length in the header.
        stated: u32,
        /// Bytes that were there.
        found: usize,
    },
}

/// Flags of a CPU's entry (§5.2.12.2, table 5.22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuFlags(pub u32);

impl CpuFlags {
    /// Bit 0: the CPU is there, ready to be started.
    pub const fn enabled(self) -> bool {
        self.0 & 1 != 0
    }

    /// Bit 1, of meaning only where bit 0 is clear: the CPU may be plugged in later.
    pub const fn online_capable(self) -> bool {
        self.0 & 2 != 0
    }
}

impl<'a> Madt<'a> {
    /// Checks the header. The slice may be longer than the table, never shorter.
    pub fn parse(bytes: &'a [u8]) -> Result<Madt<'a>, MadtError> {
        let found = bytes.len();
        let (Some(header), Some(found_signature)) = (view::<MadtLayout>(bytes), bytes.first_chunk()) else {
            return Err(MadtError::NoHeader { found });
        };
        if header.header.signature != Signature::MADT {
            return Err(MadtError::WrongSignature { found: *found_signature });
        }
        let stated = header.header.length;
        match bytes.get(..stated as usize) {
            Some(bytes) if bytes.len() >= HEADER_BYTES => Ok(Madt { header, bytes }),
            _ => Err(MadtError::BadLength { stated, found }),
        }
    }

    /// Where the local APICs' registers are, physical: the header's address, or that of the last type 5 entry.
    pub fn local_apic_address(&self) -> u64 {
        let moved = self.entries().filter_map(|entry| match entry {
            Ok(MadtEntry::LocalApicAddressOverride(entry)) => Some(entry.local_apic_address),
            _ => None,
        });
        moved.last().unwrap_or(self.header.local_apic_address.into())
    }

    /// Whether there are two legacy interrupt controllers that must be masked (flags, bit 0).
    pub fn pcat_compat(&self) -> bool {
        self.header.supports_8259()
    }

    /// The entries of the types that the kernel reads, in the table's order, with a fault in the place of each broken one,
    /// of whatever type. After a fault that leaves no way to find the next entry the walk ends.
    pub fn entries(&self) -> Entries<'a> {
        Entries(self.walk())
    }

    fn walk(&self) -> Walk<'a> {
        Walk { table: "MADT", bytes: self.bytes, offset: HEADER_BYTES, size_of_type }
    }
}

/// The walk over a [`Madt`]'s entries.
#[derive(Clone, Debug)]
pub struct Entries<'a>(Walk<'a>);

impl<'a> Iterator for Entries<'a> {
    type Item = Result<MadtEntry<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find_map(|entry| entry.map(|(entry_type, bytes)| decode(entry_type, bytes)).transpose())
    }
}

/// What each type that the kernel reads requires. More is allowed: later revisions append fields.
const fn size_of_type(entry_type: u8) -> u8 {
    let size = match entry_type {
        0 => size_of::<LocalApicEntry>(),
        1 => size_of::<IoApicEntry>(),
        2 => size_of::<InterruptSourceOverrideEntry>(),
        3 => size_of::<NmiSourceEntry>(),
        4 => size_of::<LocalApicNmiEntry>(),
        5 => size_of::<LocalApicAddressOverrideEntry>(),
        9 => size_of::<LocalX2ApicEntry>(),
        10 => size_of::<X2ApicNmiEntry>(),
        _ => size_of::<EntryHeader>(),
    };
    size as u8
}

/// The entry, by the crate's layout of its type; `None` for the types that the kernel has no use for. The slice is no shorter
/// than [`size_of_type`].
fn decode(entry_type: u8, entry: &[u8]) -> Option<MadtEntry<'_>> {
    Some(match entry_type {
        0 => MadtEntry::LocalApic(view(entry)?),
        1 => MadtEntry::IoApic(view(entry)?),
        2 => MadtEntry::InterruptSourceOverride(view(entry)?),
        3 => MadtEntry::NmiSource(view(entry)?),
        4 => MadtEntry::LocalApicNmi(view(entry)?),
        5 => MadtEntry::LocalApicAddressOverride(view(entry)?),
        9 => MadtEntry::LocalX2Apic(view(entry)?),
        10 => MadtEntry::X2ApicNmi(view(entry)?),
        _ => return None,
    })
}

impl fmt::Display for MadtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MadtError::NoHeader { found } => {
                write!(f, "{found} bytes, the header alone has {HEADER_BYTES}")
            }
            MadtError::WrongSignature { found } => {
                write!(f, "the signature is \"{}\", not \"APIC\"", found.escape_ascii())
            }
            MadtError::BadLength { stated, found } => {
                write!(
                    f,
                    "the header states {stated} bytes, there are {found}, and it has {HEADER_BYTES} itself"
                )
            }
        }
    }
}

impl core::error::Error for MadtError {}
