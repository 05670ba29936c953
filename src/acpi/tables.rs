//! From the RSDP to the tables that the kernel reads: the walk over the XSDT or the RSDT.
//!
//! Nothing in memory is trusted. A table is used only where all of it can lie (`TableMemory`), its length makes sense and
//! its checksum is right; OEM fields are bytes, and any alignment will do. What is wrong is reported with the table's
//! address, and costs that table alone: a broken XSDT leaves the RSDT of the same RSDP, and an RSDP without any usable list
//! leaves the next RSDP. The work is bounded, whatever the list holds: see [`MAX_CHECKED_BYTES`].

use core::fmt;

use ::acpi::sdt::{SdtHeader, Signature};

use super::entries::{u32_at, u64_at};
use super::layout::zero_extended;
use super::madt::Madt;
use super::roster::count_usable;
use super::rsdp::{Rsdp, RsdpSource, TableMemory, in_bios, sum};
use crate::boot::defect::{Defect, DefectSink};
use crate::boot::physical::AddressFault;

#[cfg(test)]
mod tests;

/// Bytes of the header common to all tables (ACPI 6.5 §5.2.6, table 5.4).
pub const HEADER_BYTES: usize = size_of::<SdtHeader>();

/// Larger than any table; firmware's largest, the DSDT, has some hundred KiB.
pub const MAX_TABLE_BYTES: u32 = 1 << 20;

/// How many bytes of tables are summed up at most. A list that names a large table again and again would otherwise keep
/// the kernel busy for minutes.
pub const MAX_CHECKED_BYTES: u64 = 32 << 20;

/// How many RSDPs of a BIOS are tried. It has one; each may lead to two lists of a quarter of a million entries.
const MAX_BIOS_RSDPS: usize = 4;

/// How many broken tables of one list are reported each for itself.
const MAX_BROKEN_REPORTED: u32 = 4;

/// A table with a right checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// Where it lies, physical.
    pub address: u64,
    /// Exactly as long as its header says.
    pub bytes: &'a [u8],
}

/// The tables that the kernel reads, as far as there are any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tables<'a> {
    /// Where the RSDP lies that they were found by; `None` for a copy.
    pub rsdp: Option<u64>,
    /// CPUs, I/O APICs, and how interrupts are wired. Of several the one that lists the most usable CPUs.
    pub madt: Option<Table<'a>>,
    /// Fixed hardware. Of several tables of a kind the first.
    pub fadt: Option<Table<'a>>,
    /// The high-precision event timer.
    pub hpet: Option<Table<'a>>,
    /// Which CPUs and which memory are of one proximity domain.
    pub srat: Option<Table<'a>>,
    /// How far those are apart.
    pub slit: Option<Table<'a>>,
}

/// Why there are no tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTables {
    /// Nothing names an RSDP, and no BIOS has one: a machine without ACPI.
    NoRsdp,
    /// There is one, or something names one, but none leads to a table.
    Unusable,
}

impl fmt::Display for NoTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoTables::NoRsdp => "no ACPI tables: no RSDP found",
            NoTables::Unusable => "no ACPI tables: no RSDP leads to any",
        })
    }
}

impl core::error::Error for NoTables {}

/// Finds the tables: by the RSDPs that are `named`, in that order, else by those of a BIOS, whose extended data area begins
/// at `extended_area`.
///
/// # Errors
/// Why there are none; `defects` has the reasons.
pub fn find<'a, 'b>(
    memory: &impl TableMemory<'a>,
    named: impl Iterator<Item = RsdpSource<'b>> + Clone,
    extended_area: u64,
    defects: DefectSink<'_>,
) -> Result<Tables<'a>, NoTables> {
    let mut no_tables = NoTables::NoRsdp;
    // A loader may name the one of the BIOS, which has been tried then.
    let tried = named.clone();
    let is_new = |address: &u64| !tried.clone().any(|source| source.address() == Some(*address));
    let bios = core::iter::once_with(|| in_bios(memory, extended_area))
        .flatten()
        .filter(is_new)
        .take(MAX_BIOS_RSDPS);
    for source in named.chain(bios.map(RsdpSource::Bios)) {
        no_tables = NoTables::Unusable;
        let Some(rsdp) = Rsdp::read(source, memory, defects) else { continue };
        if let Some(tables) = by_rsdp(rsdp, memory, defects) {
            return Ok(Tables { rsdp: source.address(), ..tables });
        }
        let reason = format_args!("{source}: leads to no table: not used");
        defects(&Defect { table: "RSDP", address: source.address(), offset: None, reason });
    }
    Err(no_tables)
}

fn by_rsdp<'a>(rsdp: Rsdp, memory: &impl TableMemory<'a>, defects: DefectSink<'_>) -> Option<Tables<'a>> {
    let xsdt =
        rsdp.xsdt.map(|address| List { name: "XSDT", signature: Signature::XSDT, address, entry_bytes: 8 });
    let rsdt =
        rsdp.rsdt.map(|address| List { name: "RSDT", signature: Signature::RSDT, address, entry_bytes: 4 });
    [xsdt, rsdt].into_iter().flatten().find_map(|list| list.read(memory, defects))
}

/// A list of tables.
#[derive(Clone, Copy)]
struct List {
    name: &'static str,
    signature: Signature,
    address: u64,
    entry_bytes: usize,
}

impl List {
    /// The tables that it names; `None` if it cannot be read or names none at all.
    fn read<'a>(self, memory: &impl TableMemory<'a>, defects: DefectSink<'_>) -> Option<Tables<'a>> {
        let List { name, signature, address, entry_bytes } = self;
        let list = match Header::peek(memory, address).and_then(|header| {
            if header.signature != signature {
                return Err(TableFault::Signature { found: header.name });
            }
            header.open(memory, &mut u64::from(MAX_TABLE_BYTES))
        }) {
            Ok(table) => table.bytes,
            Err(fault) => {
                let reason = format_args!("{fault}: not used");
                defects(&Defect { table: name, address: Some(address), offset: None, reason });
                return None;
            }
        };
        let mut found = Found { budget: MAX_CHECKED_BYTES, ..Found::default() };
        let mut bogus = Bogus::default();
        let entries = list[HEADER_BYTES..].chunks_exact(entry_bytes);
        let rest = entries.remainder().len();
        for (index, entry) in entries.enumerate() {
            let at = if entry_bytes == 8 { u64_at(entry, 0) } else { u32_at(entry, 0).into() };
            // Firmware leaves entries empty rather than out.
            if at == 0 {
                continue;
            }
            let offset = HEADER_BYTES + index * entry_bytes;
            match Header::peek(memory, at).and_then(Header::checked) {
                Ok(header) => found.take(header, memory, defects),
                Err(fault) => bogus.count(offset, at, fault),
            }
        }
        if let Some((offset, at, fault)) = bogus.first {
            let count = bogus.count;
            let reason = match count {
                1 => format_args!("names a table at {at:#x}: {fault}: not used"),
                _ => format_args!("names a table at {at:#x}: {fault}: not used, nor are {} more", count - 1),
            };
            defects(&Defect { table: name, address: Some(address), offset: Some(offset), reason });
        }
        if rest > 0 {
            let offset = Some(list.len() - rest);
            let reason = format_args!("ends within an entry, after {rest} bytes of {entry_bytes}");
            defects(&Defect { table: name, address: Some(address), offset, reason });
        }
        found.report(name, address, defects);
        if !found.any {
            let reason = format_args!("names no table: not used");
            defects(&Defect { table: name, address: Some(address), offset: None, reason });
            return None;
        }
        Some(found.tables)
    }
}

/// Entries of a list that lead to no table.
#[derive(Default)]
struct Bogus {
    count: u32,
    first: Option<(usize, u64, TableFault)>,
}

impl Bogus {
    fn count(&mut self, offset: usize, address: u64, fault: TableFault) {
        self.count += 1;
        self.first.get_or_insert((offset, address, fault));
    }
}

/// What a list leads to.
#[derive(Default)]
struct Found<'a> {
    tables: Tables<'a>,
    /// Whether any table was there, of whatever kind.
    any: bool,
    /// How many bytes may still be summed up.
    budget: u64,
    /// Broken tables of the kinds that the kernel reads.
    broken: u32,
    madts: u32,
    madt_cpus: usize,
}

impl<'a> Found<'a> {
    fn take(&mut self, header: Header, memory: &impl TableMemory<'a>, defects: DefectSink<'_>) {
        self.any = true;
        let (name, slot) = match header.signature {
            Signature::MADT => ("MADT", &mut self.tables.madt),
            Signature::FADT => ("FADT", &mut self.tables.fadt),
            Signature::HPET => ("HPET", &mut self.tables.hpet),
            Signature::SRAT => ("SRAT", &mut self.tables.srat),
            Signature::SLIT => ("SLIT", &mut self.tables.slit),
            _ => return,
        };
        let is_madt = name == "MADT";
        // The list names it twice, or it is a second one of which only the first counts.
        if slot.is_some_and(|known| known.address == header.address || !is_madt) {
            return;
        }
        let table = match header.open(memory, &mut self.budget) {
            Ok(table) => table,
            Err(fault) => {
                self.broken += 1;
                if self.broken <= MAX_BROKEN_REPORTED {
                    let reason = format_args!("{fault}: not used");
                    defects(&Defect { table: name, address: Some(header.address), offset: None, reason });
                }
                return;
            }
        };
        if !is_madt {
            *slot = Some(table);
            return;
        }
        let cpus = Madt::parse(table.bytes).map_or(0, |madt| count_usable(&madt));
        self.madts += 1;
        if slot.is_none() || cpus > self.madt_cpus {
            (*slot, self.madt_cpus) = (Some(table), cpus);
        }
    }

    fn report(&self, list: &'static str, address: u64, defects: DefectSink<'_>) {
        if let more @ 1.. = self.broken.saturating_sub(MAX_BROKEN_REPORTED) {
            let reason = format_args!("{more} more of its tables are broken: not used");
            defects(&Defect { table: list, address: Some(address), offset: None, reason });
        }
        if let (2.., Some(madt)) = (self.madts, self.tables.madt) {
            let reason =
                format_args!("one of {}: the one that lists the most usable CPUs is used", self.madts);
            defects(&Defect { table: "MADT", address: Some(madt.address), offset: None, reason });
        }
    }
}

/// Why a table is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TableFault {
    /// It cannot lie there.
    Address(AddressFault),
    /// It is another table, or none.
    Signature {
        /// Its first four bytes.
        found: [u8; 4],
    },
    /// The length in its header is less than the header, or more than any table has.
    Length {
        /// The length.
        stated: u32,
    },
    /// The sum of its bytes is not 0.
    Checksum,
    /// The list has led to too much already.
    TooMuch,
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableFault::Address(fault) => fault.fmt(f),
            TableFault::Signature { found } => write!(f, "signature \"{}\"", found.escape_ascii()),
            TableFault::Length { stated } => {
                write!(f, "a length of {stated} bytes, not {HEADER_BYTES} to {MAX_TABLE_BYTES}")
            }
            TableFault::Checksum => f.write_str("the checksum is wrong"),
            TableFault::TooMuch => {
                write!(f, "beyond the {} MiB of tables that are checked", MAX_CHECKED_BYTES >> 20)
            }
        }
    }
}

/// The beginning of a table.
#[derive(Clone, Copy)]
struct Header {
    address: u64,
    signature: Signature,
    /// The signature's bytes, which need not be text.
    name: [u8; 4],
    length: u32,
}

impl Header {
    fn peek<'a>(memory: &impl TableMemory<'a>, address: u64) -> Result<Header, TableFault> {
        let mut bytes = [0; HEADER_BYTES];
        memory.peek(address, &mut bytes).map_err(TableFault::Address)?;
        let [s0, s1, s2, s3, ..] = bytes;
        let SdtHeader { signature, length, .. } = zero_extended(&bytes);
        Ok(Header { address, signature, name: [s0, s1, s2, s3], length })
    }

    /// The header, if it can be that of a table in a list: a name, and not that of a list.
    fn checked(self) -> Result<Header, TableFault> {
        let is_name = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let is_list = [Signature::XSDT, Signature::RSDT].contains(&self.signature);
        if is_list || !self.name.iter().all(is_name) {
            return Err(TableFault::Signature { found: self.name });
        }
        Ok(self)
    }

    /// All of the table, if it is sound. `budget` is what may still be summed up, in bytes.
    fn open<'a>(self, memory: &impl TableMemory<'a>, budget: &mut u64) -> Result<Table<'a>, TableFault> {
        let Header { address, length, .. } = self;
        if !(HEADER_BYTES as u32..=MAX_TABLE_BYTES).contains(&length) {
            return Err(TableFault::Length { stated: length });
        }
        *budget = budget.checked_sub(length.into()).ok_or(TableFault::TooMuch)?;
        let bytes = memory.map(address, length.into()).map_err(TableFault::Address)?;
        if sum(bytes) != 0 {
            return Err(TableFault::Checksum);
        }
        Ok(Table { address, bytes })
    }
}
