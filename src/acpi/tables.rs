//! The search for the tables that the kernel reads, from the RSDP through the XSDT or the RSDT.
//!
//! All of memory is untrusted. A table is used only if it lies completely in allowed memory (`TableMemory`), its length
//! is valid and its checksum is right. OEM fields are bytes, and any alignment is allowed. An error is reported with the
//! table's address, and only that table is ignored. After an invalid XSDT the RSDT of the same RSDP is read; after an
//! RSDP without a usable list the next RSDP. The work is bounded for any list: see [`MAX_CHECKED_BYTES`].

use core::fmt;

use ::acpi::sdt::{SdtHeader, Signature};

use super::cpu_list::count_usable;
use super::entries::{u32_at, u64_at};
use super::layout::zero_extended;
use super::madt::Madt;
use super::rsdp::{Rsdp, RsdpSource, TableMemory, in_bios, sum};
use crate::boot::defect::{Defect, DefectSink};
use crate::boot::physical::AddressFault;

#[cfg(test)]
mod tests;

/// Bytes of the header common to all tables (ACPI 6.5 §5.2.6, table 5.4).
pub(crate) const HEADER_BYTES: usize = size_of::<SdtHeader>();

/// The maximum length of a table in bytes. Firmware's largest, the DSDT, has some hundred KiB.
pub(crate) const MAX_TABLE_BYTES: u32 = 1 << 20;

/// The maximum number of bytes that are summed up for checksums. Without it a list that names a large table many times
/// would keep the kernel busy for minutes.
pub(crate) const MAX_CHECKED_BYTES: u64 = 32 << 20;

/// The maximum number of RSDPs that are tried in a BIOS's memory. A BIOS has one. Each may lead to two lists of 250,000
/// entries.
const MAX_BIOS_RSDPS: usize = 4;

/// The maximum number of invalid tables of one list that are reported individually.
const MAX_BROKEN_REPORTED: u32 = 4;

/// A table with a correct checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table<'a> {
    /// Its physical address.
    pub address: u64,
    /// Its bytes, as many as its header states.
    pub bytes: &'a [u8],
}

/// The tables that the kernel reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables<'a> {
    /// The physical address of the RSDP; `None` for a copy.
    pub rsdp: Option<u64>,
    /// The MADT: CPUs, I/O APICs and interrupt routing. Of several the one with the most usable CPUs.
    pub madt: Option<Table<'a>>,
    /// The FADT: fixed hardware. Of several tables of each other kind the first is used.
    pub fadt: Option<Table<'a>>,
    /// The HPET's table.
    pub hpet: Option<Table<'a>>,
    /// The SRAT: proximity domains.
    pub srat: Option<Table<'a>>,
    /// The SLIT: distances between proximity domains.
    pub slit: Option<Table<'a>>,
}

/// The reason why there are no tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTables {
    /// No RSDP was found: a machine without ACPI.
    NoRsdp,
    /// RSDPs were named or found, but none leads to a table.
    Unusable,
}

impl fmt::Display for NoTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoTables::NoRsdp => "no ACPI tables: no RSDP found",
            NoTables::Unusable => "no ACPI tables: no RSDP has a usable table list",
        })
    }
}

impl core::error::Error for NoTables {}

/// Finds the tables from the RSDPs that are `named`, in that order, otherwise from those of a BIOS, whose EBDA begins at
/// `extended_area`.
///
/// # Errors
/// [`NoTables`]; `defects` receives the reasons.
pub(crate) fn find<'a, 'b>(
    memory: &impl TableMemory<'a>,
    named: impl Iterator<Item = RsdpSource<'b>> + Clone,
    extended_area: u64,
    defects: DefectSink<'_>,
) -> Result<Tables<'a>, NoTables> {
    let mut no_tables = NoTables::NoRsdp;
    // The boot loader may name the BIOS's RSDP, which has been tried then.
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
        let reason = format_args!("{source}: no usable table: not used");
        defects(&Defect { table: "RSDP", address: source.address(), offset: None, reason });
    }
    Err(no_tables)
}

fn by_rsdp<'a>(rsdp: Rsdp, memory: &impl TableMemory<'a>, defects: DefectSink<'_>) -> Option<Tables<'a>> {
    let xsdt = rsdp.xsdt.map(|address| TableList {
        name: "XSDT",
        signature: Signature::XSDT,
        address,
        entry_bytes: 8,
    });
    let rsdt = rsdp.rsdt.map(|address| TableList {
        name: "RSDT",
        signature: Signature::RSDT,
        address,
        entry_bytes: 4,
    });
    [xsdt, rsdt].into_iter().flatten().find_map(|list| list.read(memory, defects))
}

/// An XSDT or an RSDT.
#[derive(Clone, Copy)]
struct TableList {
    name: &'static str,
    signature: Signature,
    address: u64,
    entry_bytes: usize,
}

impl TableList {
    /// Reads the tables that it names. Returns `None` if it cannot be read or names no table.
    fn read<'a>(self, memory: &impl TableMemory<'a>, defects: DefectSink<'_>) -> Option<Tables<'a>> {
        let TableList { name, signature, address, entry_bytes } = self;
        let list = match TableHeader::peek(memory, address).and_then(|header| {
            if header.signature != signature {
                return Err(TableError::Signature { found: header.name });
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
        let mut collected = TableCollector { budget: MAX_CHECKED_BYTES, ..TableCollector::default() };
        let mut bad_entries = BadEntries::default();
        let entries = list[HEADER_BYTES..].chunks_exact(entry_bytes);
        let rest = entries.remainder().len();
        for (index, entry) in entries.enumerate() {
            let at = if entry_bytes == 8 { u64_at(entry, 0) } else { u32_at(entry, 0).into() };
            // Firmware may leave entries empty instead of omitting them.
            if at == 0 {
                continue;
            }
            let offset = HEADER_BYTES + index * entry_bytes;
            match TableHeader::peek(memory, at).and_then(TableHeader::checked) {
                Ok(header) => collected.take(header, memory, defects),
                Err(fault) => bad_entries.count(offset, at, fault),
            }
        }
        if let Some((offset, at, fault)) = bad_entries.first {
            let count = bad_entries.count;
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
        collected.report(name, address, defects);
        if !collected.any {
            let reason = format_args!("no usable table: not used");
            defects(&Defect { table: name, address: Some(address), offset: None, reason });
            return None;
        }
        Some(collected.tables)
    }
}

/// The entries of a list that lead to no table.
#[derive(Default)]
struct BadEntries {
    count: u32,
    first: Option<(usize, u64, TableError)>,
}

impl BadEntries {
    fn count(&mut self, offset: usize, address: u64, fault: TableError) {
        self.count += 1;
        self.first.get_or_insert((offset, address, fault));
    }
}

/// Collects the tables of a list.
#[derive(Default)]
struct TableCollector<'a> {
    tables: Tables<'a>,
    /// A table of any kind was found.
    any: bool,
    /// The number of bytes that may still be summed up.
    budget: u64,
    /// Invalid tables of the kinds that the kernel reads.
    broken: u32,
    madts: u32,
    madt_cpus: usize,
}

impl<'a> TableCollector<'a> {
    fn take(&mut self, header: TableHeader, memory: &impl TableMemory<'a>, defects: DefectSink<'_>) {
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
        // The list names it twice, or it is a second table of a kind of which only the first counts.
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
            let reason = format_args!("{more} more invalid tables: not used");
            defects(&Defect { table: list, address: Some(address), offset: None, reason });
        }
        if let (2.., Some(madt)) = (self.madts, self.tables.madt) {
            let reason = format_args!("one of {} MADTs: using the one with the most usable CPUs", self.madts);
            defects(&Defect { table: "MADT", address: Some(madt.address), offset: None, reason });
        }
    }
}

/// The reason why a table is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TableError {
    /// No table can lie at the address.
    Address(AddressFault),
    /// It has another signature.
    Signature {
        /// Its first four bytes.
        found: [u8; 4],
    },
    /// The length in its header is less than the header, or above [`MAX_TABLE_BYTES`].
    Length {
        /// The length.
        stated: u32,
    },
    /// The sum of its bytes is not 0.
    Checksum,
    /// The list has exceeded [`MAX_CHECKED_BYTES`].
    TooMuch,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableError::Address(fault) => fault.fmt(f),
            TableError::Signature { found } => write!(f, "signature \"{}\"", found.escape_ascii()),
            TableError::Length { stated } => {
                write!(f, "a length of {stated} bytes, not {HEADER_BYTES} to {MAX_TABLE_BYTES}")
            }
            TableError::Checksum => f.write_str("the checksum is wrong"),
            TableError::TooMuch => {
                write!(f, "beyond the {} MiB of tables that are checked", MAX_CHECKED_BYTES >> 20)
            }
        }
    }
}

/// The header of a table.
#[derive(Clone, Copy)]
struct TableHeader {
    address: u64,
    signature: Signature,
    /// The signature's bytes, which may not be text.
    name: [u8; 4],
    length: u32,
}

impl TableHeader {
    fn peek<'a>(memory: &impl TableMemory<'a>, address: u64) -> Result<TableHeader, TableError> {
        let mut bytes = [0; HEADER_BYTES];
        memory.peek(address, &mut bytes).map_err(TableError::Address)?;
        let [s0, s1, s2, s3, ..] = bytes;
        let SdtHeader { signature, length, .. } = zero_extended(&bytes);
        Ok(TableHeader { address, signature, name: [s0, s1, s2, s3], length })
    }

    /// Returns the header if a list may name its table: the signature is text, and not that of a list.
    fn checked(self) -> Result<TableHeader, TableError> {
        let is_name = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let is_list = [Signature::XSDT, Signature::RSDT].contains(&self.signature);
        if is_list || !self.name.iter().all(is_name) {
            return Err(TableError::Signature { found: self.name });
        }
        Ok(self)
    }

    /// Maps and checks the complete table. `budget` is the number of bytes that may still be summed up.
    fn open<'a>(self, memory: &impl TableMemory<'a>, budget: &mut u64) -> Result<Table<'a>, TableError> {
        let TableHeader { address, length, .. } = self;
        if !(HEADER_BYTES as u32..=MAX_TABLE_BYTES).contains(&length) {
            return Err(TableError::Length { stated: length });
        }
        *budget = budget.checked_sub(length.into()).ok_or(TableError::TooMuch)?;
        let bytes = memory.map(address, length.into()).map_err(TableError::Address)?;
        if sum(bytes) != 0 {
            return Err(TableError::Checksum);
        }
        Ok(Table { address, bytes })
    }
}
