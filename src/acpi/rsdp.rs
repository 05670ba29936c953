//! The RSDP, by which firmware's tables are found, and where to look for it. Layout: ACPI 6.5 §5.2.5.3, table 5.3.

use core::fmt;
use core::ops::Range;

use ::acpi::rsdp::Rsdp as RsdpLayout;

use super::layout::zero_extended;
use crate::boot::defect::{Defect, DefectSink};
use crate::boot::physical::{AddressFault, BIOS_ROM};

/// What it begins with.
pub const SIGNATURE: [u8; 8] = *b"RSD PTR ";

/// Its size in revision 0 and 1, which the first checksum covers in every revision.
pub const OLD_BYTES: usize = 20;

/// Its size from revision 2 on, which the second checksum covers.
pub const NEW_BYTES: usize = size_of::<RsdpLayout>();

/// Its size in no revision, known or to come; a checksum over more is not looked for.
const MAX_BYTES: usize = 64;

/// Where a BIOS keeps it, at a multiple of 16 (ACPI 6.5 §5.2.5.1): its read-only memory from here on, or the first KiB of
/// its extended data area.
const BIOS_AREA: Range<u64> = 0xe_0000..BIOS_ROM.end;
const STEP: usize = 16;
const EXTENDED_AREA_BYTES: u64 = 1024;

/// Where an extended data area can be. A machine without a BIOS has anything in the word that says so.
const EXTENDED_AREAS: Range<u64> = 0x8_0000..0xa_0000;

/// Physical memory, as far as tables can lie in it.
pub trait TableMemory<'a> {
    /// Reads what lies there, and keeps no mapping.
    ///
    /// # Errors
    /// Why no table can lie there.
    fn peek(&self, address: u64, bytes: &mut [u8]) -> Result<(), AddressFault>;

    /// What lies there, to be kept.
    ///
    /// # Errors
    /// As for [`peek`](Self::peek).
    fn map(&self, address: u64, bytes: u64) -> Result<&'a [u8], AddressFault>;
}

/// Where an RSDP is said to be, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsdpSource<'a> {
    /// `acpi_rsdp=` names its address.
    CommandLine(u64),
    /// The boot loader names its address.
    Loader(u64),
    /// The boot loader passed a copy.
    Copy(&'a [u8]),
    /// A BIOS has one at that address.
    Bios(u64),
}

impl fmt::Display for RsdpSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RsdpSource::CommandLine(_) => f.write_str("named by acpi_rsdp="),
            RsdpSource::Loader(_) => f.write_str("named by the boot loader"),
            RsdpSource::Copy(_) => f.write_str("passed by the boot loader"),
            RsdpSource::Bios(_) => f.write_str("of a BIOS"),
        }
    }
}

impl RsdpSource<'_> {
    /// Where the RSDP lies, if that is known.
    pub fn address(&self) -> Option<u64> {
        match *self {
            RsdpSource::CommandLine(address) | RsdpSource::Loader(address) | RsdpSource::Bios(address) => {
                Some(address)
            }
            RsdpSource::Copy(_) => None,
        }
    }
}

/// Where the list of tables is, as a sound RSDP says. Both may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rsdp {
    /// The XSDT, with addresses of 64 bits.
    pub xsdt: Option<u64>,
    /// The RSDT, with addresses of 32 bits.
    pub rsdt: Option<u64>,
}

impl Rsdp {
    /// Reads the RSDP that a source names.
    ///
    /// As Linux does it: the XSDT counts only from revision 2 on, and only where its address is not 0. A second part that
    /// cannot be trusted does not make the first part wrong, which has a checksum of its own: then the RSDT is left.
    /// `None` if there is no RSDP, or its first part cannot be trusted; `defects` has the reason.
    pub fn read<'a>(
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
                // One of 20 bytes may lie at the very end of a region.
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
            defect(format_args!("{source}: no RSDP there: not used"));
            return None;
        }
        if sum(&there[..OLD_BYTES]) != 0 {
            defect(format_args!("{source}: the checksum is wrong: not used"));
            return None;
        }
        let revision = fields.revision();
        // The crate's accessors of the second part panic for revision 0.
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
            defect(format_args!("{source}: names neither XSDT nor RSDT: not used"));
            return None;
        }
        if let Some(address) = address {
            // What is mapped stays as it is until it is read again: see `live::Early`.
            let _ = memory.map(address, there.len().min(NEW_BYTES) as u64);
        }
        Some(Rsdp { xsdt, rsdt })
    }
}

/// The RSDPs of a BIOS: wherever the signature is where one can be. `extended_area` is where the BIOS says that its
/// extended data area begins.
pub fn in_bios<'a, M: TableMemory<'a>>(
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

/// The sum of all bytes, 0 where a checksum among them is right.
pub(super) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}
