//! The MADT (Multiple APIC Description Table): CPUs, I/O APICs and the routing of ISA interrupts. It is read as a byte
//! slice.
//!
//! An invalid entry is returned as an [`EntryError`] among the others. [`Madt::parse`] takes the complete table with its
//! header, whose checksum the caller has verified. [`Madt::entries`] iterates over it. [`super::cpu_list`] reads the
//! CPUs, [`super::irq_routing`] the rest. Layouts: ACPI 6.5 §5.2.12, tables 5.19 and following.

use core::fmt;

pub use ::acpi::madt::MadtEntry;
use ::acpi::madt::{
    EntryHeader, InterruptSourceOverrideEntry, IoApicEntry, LocalApicAddressOverrideEntry, LocalApicEntry,
    LocalApicNmiEntry, LocalX2ApicEntry, Madt as MadtLayout, NmiSourceEntry, X2ApicNmiEntry,
};
use ::acpi::sdt::Signature;

use super::entries::{EntryError, EntryWalk};
use super::layout::view;

#[cfg(test)]
pub(super) mod tests;

/// Bytes before the first entry: the header common to all tables (36), the local APICs' address, the flags.
pub const HEADER_BYTES: usize = size_of::<MadtLayout>();

/// A MADT with a checked header.
#[derive(Clone, Copy, Debug)]
pub struct Madt<'a> {
    header: &'a MadtLayout,
    /// As many bytes as the header states.
    bytes: &'a [u8],
}

/// The reason why a table cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadtError {
    /// The slice is shorter than the header.
    NoHeader {
        /// The available bytes.
        found: usize,
    },
    /// The table has another signature.
    WrongSignature {
        /// Its first four bytes.
        found: [u8; 4],
    },
    /// The length in the header is less than the header, or more than the available bytes.
    BadLength {
        /// The length in the header.
        stated: u32,
        /// The available bytes.
        found: usize,
    },
}

/// Flags of a CPU's entry (§5.2.12.2, table 5.22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuFlags(pub u32);

impl CpuFlags {
    /// Returns bit 0: the CPU is present and can be started.
    pub const fn enabled(self) -> bool {
        self.0 & 1 != 0
    }

    /// Returns bit 1, which is defined only if bit 0 is clear: the CPU may be plugged in later.
    pub const fn online_capable(self) -> bool {
        self.0 & 2 != 0
    }
}

impl<'a> Madt<'a> {
    /// Checks the header. `bytes` may be longer than the table.
    ///
    /// # Errors
    /// [`MadtError`]
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

    /// Returns the physical address of the local APICs' registers: the header's, or that of the last type 5 entry.
    pub fn local_apic_address(&self) -> u64 {
        let moved = self.entries().filter_map(|entry| match entry {
            Ok(MadtEntry::LocalApicAddressOverride(entry)) => Some(entry.local_apic_address),
            _ => None,
        });
        moved.last().unwrap_or(self.header.local_apic_address.into())
    }

    /// Returns whether two legacy interrupt controllers exist and must be masked (flags, bit 0).
    pub fn pcat_compat(&self) -> bool {
        self.header.supports_8259()
    }

    /// Returns the entries of the types that the kernel reads, in the table's order, and an error for each invalid entry
    /// of any type. The iteration ends after an error that hides the next entry.
    pub fn entries(&self) -> Entries<'a> {
        Entries(self.walk())
    }

    fn walk(&self) -> EntryWalk<'a> {
        EntryWalk { table: "MADT", bytes: self.bytes, offset: HEADER_BYTES, size_of_type }
    }
}

/// The iterator over a [`Madt`]'s entries.
#[derive(Clone, Debug)]
pub struct Entries<'a>(EntryWalk<'a>);

impl<'a> Iterator for Entries<'a> {
    type Item = Result<MadtEntry<'a>, EntryError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find_map(|entry| entry.map(|(entry_type, bytes)| decode(entry_type, bytes)).transpose())
    }
}

/// Returns the minimum length in bytes of each type that the kernel reads. Later revisions may append fields.
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

/// Decodes an entry by the crate's layout of its type. Returns `None` for types that the kernel does not use. `entry` is
/// not shorter than [`size_of_type`].
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
                write!(f, "{found} bytes are fewer than the header's {HEADER_BYTES}")
            }
            MadtError::WrongSignature { found } => {
                write!(f, "signature \"{}\" instead of \"APIC\"", found.escape_ascii())
            }
            MadtError::BadLength { stated, found } => {
                write!(f, "invalid length {stated}: {found} bytes available, header {HEADER_BYTES} bytes")
            }
        }
    }
}

impl core::error::Error for MadtError {}
