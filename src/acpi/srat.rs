//! The SRAT, the ACPI table that says which CPUs and which memory are near to each other: its entries give each a
//! proximity domain. Walked as a byte slice, as the MADT is. Layouts: ACPI 6.5 §5.2.16.

use core::fmt;

use ::acpi::sdt::{SdtHeader, Signature};

use super::entries::{Fault, Walk, u32_at, u64_at};
use super::layout::zero_extended;
use crate::cpu::id::ApicId;

#[cfg(test)]
pub(super) mod tests;

/// Bytes before the first entry: the header common to all tables (36), and 12 that are reserved.
pub const HEADER_BYTES: usize = size_of::<SdtHeader>() + 12;

/// A SRAT whose header has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Srat<'a> {
    /// Exactly as long as the header says.
    bytes: &'a [u8],
}

/// The table cannot be walked at all: no SRAT, or of a length that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadHeader {
    /// The length in the header, if there is one.
    pub stated: u32,
    /// Bytes that were there.
    pub found: usize,
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BadHeader { stated, found } = self;
        write!(f, "the header states {stated} bytes, there are {found}, and it has {HEADER_BYTES} itself")
    }
}

impl core::error::Error for BadHeader {}

/// What an entry that is in use gives a domain to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Types 0 (§5.2.16.1) and 2 (§5.2.16.3): a CPU.
    Cpu {
        /// Its APIC ID.
        apic_id: ApicId,
        /// Its proximity domain.
        domain: u32,
    },
    /// Type 1 (§5.2.16.2): memory, or a range of addresses where there may come to be some: the memory map says what is there.
    Memory {
        /// Its first address, physical.
        base: u64,
        /// Its length in bytes. Firmware leaves entries empty rather than out.
        bytes: u64,
        /// Its proximity domain.
        domain: u32,
        /// What the flags say of it.
        kind: MemoryKind,
    },
}

/// What kind of memory an entry is about (table 5.59, flags), in the order in which claims on the same memory count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryKind {
    /// Memory that is there.
    Plain,
    /// Bit 1: memory may be plugged in.
    HotPluggable,
    /// Bit 2: memory that keeps its content.
    NonVolatile,
}

impl MemoryKind {
    /// All of them, in order.
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
    /// Checks the header. The slice may be longer than the table, never shorter.
    pub fn parse(bytes: &'a [u8]) -> Result<Srat<'a>, BadHeader> {
        let found = bytes.len();
        let SdtHeader { signature, length: stated, .. } = zero_extended(bytes);
        match bytes.get(..stated as usize) {
            Some(table) if table.len() >= HEADER_BYTES && signature == Signature::SRAT => {
                Ok(Srat { bytes: table })
            }
            _ => Err(BadHeader { stated, found }),
        }
    }

    /// What the entries say that are in use, in the table's order, with a fault in the place of each broken one.
    pub fn affinities(&self) -> impl Iterator<Item = Result<Affinity, Fault>> + Clone + use<'a> {
        let walk = Walk { table: "SRAT", bytes: self.bytes, offset: HEADER_BYTES, size_of_type };
        walk.filter_map(|entry| entry.map(|(entry_type, bytes)| decode(entry_type, bytes)).transpose())
    }
}

/// What each type requires.
const fn size_of_type(entry_type: u8) -> u8 {
    match entry_type {
        0 => 16,
        1 => 40,
        2 => 24,
        _ => 2,
    }
}

/// What the entry says; `None` if it is not in use (flags, bit 0), or of another type. The slice is no shorter than
/// [`size_of_type`].
fn decode(entry_type: u8, entry: &[u8]) -> Option<Affinity> {
    let word = |offset| u32_at(entry, offset);
    let in_use = |flags: u32| flags & 1 != 0;
    match entry_type {
        // The domain's upper three bytes came later, in place of others that were reserved.
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
