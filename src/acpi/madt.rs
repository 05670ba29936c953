//! The MADT, the ACPI table that lists CPUs, I/O APICs and how legacy interrupts are wired, walked as a byte slice.
//!
//! What is wrong with an entry comes out as a [`Fault`] among the others. [`Madt::parse`] takes the whole table with its
//! header, whose checksum the caller has verified; [`Madt::entries`] walks it. [`super::roster`] makes
//! a list of CPUs of it, `apic` reads the rest. Layouts: ACPI 6.5 §5.2.12, tables 5.19 and following.

use core::fmt;

use super::entries::{Fault, Walk, u32_at};

#[cfg(test)]
pub(super) mod tests;

/// Bytes before the first entry: the header common to all tables (36), the local APICs' address, the flags.
pub const HEADER_BYTES: usize = 44;

/// A MADT whose header has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Madt<'a> {
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

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadtEntry {
    /// Type 0 (§5.2.12.2): a CPU with an 8-bit APIC ID.
    LocalApic {
        /// What the ACPI namespace calls the CPU.
        uid: u8,
        /// Its APIC ID.
        apic_id: u8,
        /// Whether it can be used.
        flags: CpuFlags,
    },
    /// Type 1 (§5.2.12.3): an I/O APIC.
    IoApic {
        /// Its ID.
        id: u8,
        /// Where its registers are, physical.
        address: u32,
        /// The global interrupt number of its first pin.
        gsi_base: u32,
    },
    /// Type 2 (§5.2.12.5): a legacy interrupt that is not wired one to one.
    InterruptOverride {
        /// 0, for ISA.
        bus: u8,
        /// The ISA interrupt.
        source: u8,
        /// The global interrupt number it arrives on.
        gsi: u32,
        /// Polarity and trigger mode.
        flags: u16,
    },
    /// Type 3 (§5.2.12.6): a pin of an I/O APIC that NMI is wired to.
    NmiSource {
        /// Polarity and trigger mode.
        flags: u16,
        /// The pin's global interrupt number.
        gsi: u32,
    },
    /// Type 4 (§5.2.12.7): a local APIC's pin that NMI is wired to.
    LocalApicNmi {
        /// The CPU's UID; 0xff for all CPUs.
        uid: u8,
        /// Polarity and trigger mode.
        flags: u16,
        /// LINT0 or LINT1.
        lint: u8,
    },
    /// Type 5 (§5.2.12.8): the local APICs' address, where 32 bits do not hold it.
    LocalApicAddress {
        /// The address, physical.
        address: u64,
    },
    /// Type 9 (§5.2.12.12): a CPU with a 32-bit APIC ID.
    LocalX2Apic {
        /// What the ACPI namespace calls the CPU.
        uid: u32,
        /// Its APIC ID.
        apic_id: u32,
        /// Whether it can be used.
        flags: CpuFlags,
    },
    /// Type 10 (§5.2.12.13): as type 4, for CPUs listed by type 9.
    LocalX2ApicNmi {
        /// The CPU's UID; 0xffff_ffff for all CPUs.
        uid: u32,
        /// Polarity and trigger mode.
        flags: u16,
        /// LINT0 or LINT1.
        lint: u8,
    },
    /// Any other type, which the kernel has no use for.
    Other {
        /// The type byte.
        entry_type: u8,
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
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(MadtError::NoHeader { found });
        };
        let [s0, s1, s2, s3, ..] = *header;
        if [s0, s1, s2, s3] != *b"APIC" {
            return Err(MadtError::WrongSignature { found: [s0, s1, s2, s3] });
        }
        let stated = u32_at(header, 4);
        match bytes.get(..stated as usize) {
            Some(bytes) if bytes.len() >= HEADER_BYTES => Ok(Madt { bytes }),
            _ => Err(MadtError::BadLength { stated, found }),
        }
    }

    /// Where the local APICs' registers are, physical: the header's address, or that of the last type 5 entry.
    pub fn local_apic_address(&self) -> u64 {
        let moved = self.entries().filter_map(|entry| match entry {
            Ok(MadtEntry::LocalApicAddress { address }) => Some(address),
            _ => None,
        });
        moved.last().unwrap_or(u64::from(u32_at(self.bytes, 36)))
    }

    /// Whether there are two legacy interrupt controllers that must be masked (flags, bit 0).
    pub fn pcat_compat(&self) -> bool {
        u32_at(self.bytes, 40) & 1 != 0
    }

    /// The entries in the table's order, with a fault in the place of each broken one. After a fault that leaves no
    /// way to find the next entry the walk ends.
    pub fn entries(&self) -> Entries<'a> {
        Entries(Walk { table: "MADT", bytes: self.bytes, offset: HEADER_BYTES, size_of_type })
    }
}

/// The walk over a [`Madt`]'s entries.
#[derive(Clone, Debug)]
pub struct Entries<'a>(Walk<'a>);

impl Iterator for Entries<'_> {
    type Item = Result<MadtEntry, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|entry| entry.map(|(entry_type, bytes)| decode(entry_type, bytes)))
    }
}

/// What each type requires. More is allowed: later revisions append fields.
const fn size_of_type(entry_type: u8) -> u8 {
    match entry_type {
        0 => 8,
        1 => 12,
        2 => 10,
        3 => 8,
        4 => 6,
        5 => 12,
        9 => 16,
        10 => 12,
        _ => 2,
    }
}

/// The entry's fields. The slice is no shorter than [`size_of_type`].
fn decode(entry_type: u8, entry: &[u8]) -> MadtEntry {
    let byte = |offset: usize| entry.get(offset).copied().unwrap_or_default();
    let half = |offset| u16::from_le_bytes([byte(offset), byte(offset + 1)]);
    let word = |offset| u32_at(entry, offset);
    match entry_type {
        0 => MadtEntry::LocalApic { uid: byte(2), apic_id: byte(3), flags: CpuFlags(word(4)) },
        1 => MadtEntry::IoApic { id: byte(2), address: word(4), gsi_base: word(8) },
        2 => MadtEntry::InterruptOverride { bus: byte(2), source: byte(3), gsi: word(4), flags: half(8) },
        3 => MadtEntry::NmiSource { flags: half(2), gsi: word(4) },
        4 => MadtEntry::LocalApicNmi { uid: byte(2), flags: half(3), lint: byte(5) },
        5 => MadtEntry::LocalApicAddress { address: u64::from(word(4)) | u64::from(word(8)) << 32 },
        9 => MadtEntry::LocalX2Apic { apic_id: word(4), flags: CpuFlags(word(8)), uid: word(12) },
        10 => MadtEntry::LocalX2ApicNmi { flags: half(2), uid: word(4), lint: byte(8) },
        _ => MadtEntry::Other { entry_type },
    }
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
