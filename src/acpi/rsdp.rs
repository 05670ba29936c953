//! The RSDP, which has the addresses of the XSDT and the RSDT, and the search for it. Layout: ACPI 6.5 §5.2.5.3, table
//! 5.3.

use core::fmt;
use core::ops::Range;

use ::acpi::rsdp::Rsdp as RsdpLayout;

use super::layout::zero_extended;
use crate::boot::defect::{Defect, DefectSink};
use crate::boot::physical::{AddressFault, BIOS_ROM};

/// The RSDP's signature.
pub(crate) const SIGNATURE: [u8; 8] = *b"RSD PTR ";

/// The size in bytes in revisions 0 and 1. The first checksum covers these bytes in every revision.
pub(crate) const OLD_BYTES: usize = 20;

/// The size in bytes from revision 2 on. The second checksum covers them.
pub(crate) const NEW_BYTES: usize = size_of::<RsdpLayout>();

/// The maximum size in bytes that is read. No revision is larger.
const MAX_BYTES: usize = 64;

/// Where a BIOS stores it, at a multiple of 16 (ACPI 6.5 §5.2.5.1): its read-only memory from here on, or the first KiB
/// of its extended BIOS data area (EBDA).
const BIOS_AREA: Range<u64> = 0xe_0000..BIOS_ROM.end;
const STEP: usize = 16;
const EXTENDED_AREA_BYTES: u64 = 1024;

/// The range in which an EBDA can lie. On a machine without a BIOS the word with its address may have any value.
const EXTENDED_AREAS: Range<u64> = 0x8_0000..0xa_0000;

/// Access to the physical memory that may hold tables.
pub(crate) trait TableMemory<'a> {
    /// Reads `bytes` from `address` and keeps no mapping.
    ///
    /// # Errors
    /// The reason why no table can lie there.
    fn peek(&self, address: u64, bytes: &mut [u8]) -> Result<(), AddressFault>;

    /// Maps `bytes` bytes at `address` permanently.
    ///
    /// # Errors
    /// As for [`peek`](Self::peek).
    fn map(&self, address: u64, bytes: u64) -> Result<&'a [u8], AddressFault>;
}

/// The source of an RSDP's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RsdpSource<'a> {
    /// The command line: `acpi_rsdp=`.
    CommandLine(u64),
    /// The boot loader passed its address.
    Loader(u64),
    /// The boot loader passed a copy.
    Copy(&'a [u8]),
    /// The search in the BIOS's memory.
    Bios(u64),
}

impl fmt::Display for RsdpSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RsdpSource::CommandLine(_) => f.write_str("from acpi_rsdp="),
            RsdpSource::Loader(_) => f.write_str("from the boot loader"),
            RsdpSource::Copy(_) => f.write_str("passed by the boot loader"),
            RsdpSource::Bios(_) => f.write_str("in BIOS memory"),
        }
    }
}

impl RsdpSource<'_> {
    /// Returns the RSDP's physical address, if it is known.
    pub(crate) fn address(&self) -> Option<u64> {
        match *self {
            RsdpSource::CommandLine(address) | RsdpSource::Loader(address) | RsdpSource::Bios(address) => {
                Some(address)
            }
            RsdpSource::Copy(_) => None,
        }
    }
}

/// The addresses of the table lists, from a valid RSDP. Either or both exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rsdp {
    /// The XSDT, with addresses of 64 bits.
    pub xsdt: Option<u64>,
    /// The RSDT, with addresses of 32 bits.
    pub rsdt: Option<u64>,
}

impl Rsdp {
    /// Reads and checks the RSDP of a source.
    ///
    /// As in Linux, the XSDT is used only from revision 2 on, and only if its address is not 0. An invalid extended part
    /// does not invalidate the first part, which has a checksum of its own; then the RSDT is used. Returns `None` if
    /// there is no RSDP or its first part is invalid; `defects` receives the reason.
    pub(crate) fn read<'a>(
        source: RsdpSource<'_>,
        memory: &impl TableMemory<'a>,
        defects: DefectSink<'_>,
    ) -> Option<Rsdp> {
        let address = source.address();
        let mut defect = |reason: fmt::Arguments<'_>| {
            defects(&Defect { table: "RSDP", address, offset: None, reason });
        };
        let mut bytes = [0; MAX_BYTES];
        let read = match source {
            RsdpSource::Copy(copy) => {
                let length = copy.len().min(MAX_BYTES);
                bytes[..length].copy_from_slice(&copy[..length]);
                if length < OLD_BYTES { Err(AddressFault::NoRange) } else { Ok(length) }
            }
            RsdpSource::CommandLine(at) | RsdpSource::Loader(at) | RsdpSource::Bios(at) => {
                let mut peek = |length: usize| memory.peek(at, &mut bytes[..length]).map(|()| length);
                // An RSDP of 20 bytes may lie at the end of a region.
                peek(MAX_BYTES).or_else(|_| peek(NEW_BYTES)).or_else(|_| peek(OLD_BYTES))
            }
        };
        let there = match read {
            Ok(length) => &bytes[..length],
            Err(fault) => {
                defect(format_args!("{source}: {fault}: not used"));
                return None;
            }
        };
        let fields: RsdpLayout = zero_extended(there);
        if fields.signature() != SIGNATURE {
            defect(format_args!("{source}: no RSDP signature: not used"));
            return None;
        }
        if sum(&there[..OLD_BYTES]) != 0 {
            defect(format_args!("{source}: the checksum is wrong: not used"));
            return None;
        }
        let revision = fields.revision();
        // The crate's accessors of the extended part panic for revision 0.
        let (length, xsdt) = if revision < 2 { (0, 0) } else { (fields.length(), fields.xsdt_address()) };
        let rsdt = Some(u64::from(fields.rsdt_address())).filter(|address| *address != 0);
        let xsdt = if revision < 2 {
            None
        } else if there.len() < NEW_BYTES {
            defect(format_args!("{source}: revision {revision}, but only {OLD_BYTES} bytes: no XSDT"));
            None
        } else if !(NEW_BYTES..=MAX_BYTES).contains(&(length as usize)) {
            defect(format_args!("{source}: revision {revision}, but a length of {length}: no XSDT"));
            None
        } else if sum(&there[..NEW_BYTES]) != 0
            && there.get(..length as usize).is_none_or(|all| sum(all) != 0)
        {
            defect(format_args!("{source}: the extended checksum is wrong: no XSDT"));
            None
        } else {
            Some(xsdt).filter(|address| *address != 0)
        };
        if (rsdt, xsdt) == (None, None) {
            defect(format_args!("{source}: neither XSDT nor RSDT: not used"));
            return None;
        }
        if let Some(address) = address {
            // Mapped memory is reserved until it is read again: see `live::EarlyMemory`.
            let _ = memory.map(address, there.len().min(NEW_BYTES) as u64);
        }
        Some(Rsdp { xsdt, rsdt })
    }
}

/// Returns the addresses in a BIOS's memory that have the RSDP's signature. `extended_area` is the EBDA's address
/// according to the BIOS.
pub(crate) fn in_bios<'a, M: TableMemory<'a>>(
    memory: &M,
    extended_area: u64,
) -> impl Iterator<Item = u64> + use<'a, M> {
    let extended = EXTENDED_AREAS.contains(&extended_area).then(|| {
        let end = (extended_area + EXTENDED_AREA_BYTES).min(EXTENDED_AREAS.end);
        extended_area..end
    });
    let areas = [Some(BIOS_AREA), extended].map(|area| {
        let area = area?;
        let bytes = memory.map(area.start, area.end - area.start).ok()?;
        Some((area.start, bytes))
    });
    areas.into_iter().flatten().flat_map(|(start, bytes)| {
        let at_steps = bytes.chunks(STEP).zip((start..).step_by(STEP));
        at_steps.filter(|(bytes, _)| bytes.starts_with(&SIGNATURE)).map(|(_, address)| address)
    })
}

/// Returns the sum of all bytes: 0 if the checksum among them is right.
pub(super) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}
