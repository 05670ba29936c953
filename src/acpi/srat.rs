//! The SRAT (System Resource Affinity Table): the proximity domains of CPUs and of memory. It is read as a byte slice, as
//! the MADT is. Layouts: ACPI 6.5 §5.2.16.

use core::fmt;

use ::acpi::sdt::{SdtHeader, Signature};

use super::entries::{EntryError, EntryWalk, u32_at, u64_at};
use super::layout::zero_extended;
use crate::cpu::id::ApicId;

#[cfg(test)]
pub(super) mod tests;

/// Bytes before the first entry: the header common to all tables (36), and 12 reserved ones.
pub const HEADER_BYTES: usize = size_of::<SdtHeader>() + 12;

/// A SRAT with a checked header.
#[derive(Clone, Copy, Debug)]
pub struct Srat<'a> {
    /// As many bytes as the header states.
    bytes: &'a [u8],
}

/// The table is no SRAT, or its length is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SratHeaderError {
    /// The length in the header, or 0 without a header.
    pub stated: u32,
    /// The available bytes.
    pub found: usize,
}

impl fmt::Display for SratHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SratHeaderError { stated, found } = self;
        write!(f, "invalid length {stated}: {found} bytes available, header {HEADER_BYTES} bytes")
    }
}

impl core::error::Error for SratHeaderError {}

/// An enabled entry: a CPU or a range of memory with its proximity domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Types 0 (§5.2.16.1) and 2 (§5.2.16.3): a CPU.
    Cpu {
        /// Its APIC ID.
        apic_id: ApicId,
        /// Its proximity domain.
        domain: u32,
    },
    /// Type 1 (§5.2.16.2): a range of physical memory, or of addresses where memory may be plugged in. The memory map
    /// tells what exists.
    Memory {
        /// Its first address, physical.
        base: u64,
        /// Its length in bytes. Firmware may leave entries empty instead of omitting them.
        bytes: u64,
        /// Its proximity domain.
        domain: u32,
        /// Its kind, from the flags.
        kind: MemoryKind,
    },
}

/// The kind of memory (table 5.59, flags), in the order of priority of overlapping ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryKind {
    /// Installed memory.
    Plain,
    /// Bit 1: hot-pluggable memory.
    HotPluggable,
    /// Bit 2: non-volatile memory.
    NonVolatile,
}

impl MemoryKind {
    /// All kinds, in order.
    pub const ALL: [MemoryKind; 3] = [MemoryKind::Plain, MemoryKind::HotPluggable, MemoryKind::NonVolatile];

    const fn from_flags(flags: u32) -> MemoryKind {
        match (flags & 1 << 1, flags & 1 << 2) {
            (_, 1..) => MemoryKind::NonVolatile,
            (1.., _) => MemoryKind::HotPluggable,
            _ => MemoryKind::Plain,
        }
    }
}

impl<'a> Srat<'a> {
    /// Checks the header. `bytes` may be longer than the table.
    ///
    /// # Errors
    /// [`SratHeaderError`]
    pub fn parse(bytes: &'a [u8]) -> Result<Srat<'a>, SratHeaderError> {
        let found = bytes.len();
        let SdtHeader { signature, length: stated, .. } = zero_extended(bytes);
        match bytes.get(..stated as usize) {
            Some(table) if table.len() >= HEADER_BYTES && signature == Signature::SRAT => {
                Ok(Srat { bytes: table })
            }
            _ => Err(SratHeaderError { stated, found }),
        }
    }

    /// Returns the enabled entries in the table's order, and an error for each invalid one.
    pub fn affinities(&self) -> impl Iterator<Item = Result<Affinity, EntryError>> + Clone + use<'a> {
        let walk = EntryWalk { table: "SRAT", bytes: self.bytes, offset: HEADER_BYTES, size_of_type };
        walk.filter_map(|entry| entry.map(|(entry_type, bytes)| decode(entry_type, bytes)).transpose())
    }
}

/// Returns the minimum length of a type's entry in bytes.
const fn size_of_type(entry_type: u8) -> u8 {
    match entry_type {
        0 => 16,
        1 => 40,
        2 => 24,
        _ => 2,
    }
}

/// Decodes an entry. Returns `None` if it is disabled (flags, bit 0) or of another type. `entry` is not shorter than
/// [`size_of_type`].
fn decode(entry_type: u8, entry: &[u8]) -> Option<Affinity> {
    let word = |offset| u32_at(entry, offset);
    let in_use = |flags: u32| flags & 1 != 0;
    match entry_type {
        // The domain's upper three bytes were added later, in reserved fields.
        0 if in_use(word(4)) => Some(Affinity::Cpu {
            apic_id: ApicId(word(0) >> 24),
            domain: word(0) >> 16 & 0xff | word(8) & 0xffff_ff00,
        }),
        1 if in_use(word(28)) => Some(Affinity::Memory {
            base: u64_at(entry, 8),
            bytes: u64_at(entry, 16),
            domain: word(2),
            kind: MemoryKind::from_flags(word(28)),
        }),
        2 if in_use(word(12)) => Some(Affinity::Cpu { apic_id: ApicId(word(8)), domain: word(4) }),
        _ => None,
    }
}
