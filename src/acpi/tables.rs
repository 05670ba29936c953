//! Finding tables, by the `acpi` crate, from the RSDP down; each found table is checked by its checksum.
//!
//! The crate believes every length that it reads. So [`Reader`], through which it sees memory, shows it a page of
//! zeros in the place of anything whose length cannot be true; zeros bear no signature, and it passes on.

use core::ptr::NonNull;

use acpi::rsdp::Rsdp;
use acpi::sdt::{SdtHeader, Signature};
use acpi::{AcpiError, AcpiHandler, AcpiTable, AcpiTables, PhysicalMapping};

use crate::memory;

/// Larger than any table; firmware's largest, the DSDT, has some hundred KiB.
const MAX_TABLE_BYTES: usize = 1 << 20;

/// The RSDP's size from revision 2 on; more would be a later revision's.
const MAX_RSDP_BYTES: u32 = 4096;

/// What an RSDP begins with.
const RSDP_SIGNATURE: [u8; 8] = *b"RSD PTR ";

/// Where a BIOS keeps the RSDP, on a multiple of 16 (ACPI 6.5 §5.2.5.1): the first KiB of its extended data area, or
/// its read-only memory.
const BIOS_AREA: core::ops::Range<u64> = 0xe_0000..0x10_0000;

/// The tables that tell what is near to what, which the crate does not know.
macro_rules! tables {
    ($($(#[$about:meta])* $Table:ident = $SIGNATURE:ident;)*) => {$(
        $(#[$about])*
        #[repr(transparent)]
        pub struct $Table(SdtHeader);

        // SAFETY: a table begins with its header, and more of it is not looked at through this type.
        unsafe impl AcpiTable for $Table {
            const SIGNATURE: Signature = Signature::$SIGNATURE;

            fn header(&self) -> &SdtHeader {
                &self.0
            }
        }
    )*};
}

tables! {
    /// Which CPUs and which memory are of one proximity domain.
    Srat = SRAT;
    /// How far those are apart.
    Slit = SLIT;
}

/// The first `bytes` bytes of this are what a place reads as that cannot be true.
static ZEROS: [u8; MAX_RSDP_BYTES as usize] = [0; MAX_RSDP_BYTES as usize];

/// The crate's view of physical memory.
#[derive(Clone, Debug)]
pub struct Reader;

impl Reader {
    /// What lies there, if it can.
    fn look(address: usize, bytes: usize) -> Option<NonNull<u8>> {
        if address == 0 || bytes > MAX_TABLE_BYTES {
            return None;
        }
        let at = memory::map_firmware(address as u64, bytes as u64)?;
        // An RSDP is as long as a header; what else is asked for in that length is one, and the crate is about to
        // believe its length.
        // SAFETY: that many bytes are mapped, and firmware's tables are plain bytes that nobody writes.
        if bytes == size_of::<SdtHeader>() && unsafe { at.cast::<[u8; 8]>().read() } != RSDP_SIGNATURE {
            // SAFETY: as above.
            let length = unsafe { at.cast::<SdtHeader>().read_unaligned() }.length as usize;
            if !(size_of::<SdtHeader>()..=MAX_TABLE_BYTES).contains(&length) {
                return None;
            }
        }
        Some(at)
    }
}

impl AcpiHandler for Reader {
    unsafe fn map_physical_region<T>(&self, address: usize, bytes: usize) -> PhysicalMapping<Self, T> {
        let at = Reader::look(address, bytes).unwrap_or(NonNull::from(&ZEROS).cast());
        // SAFETY: mapped for good, or the zeros. The crate reads a table's header, which the zeros hold, before it
        // reads more, and a header of zeros bears no table's signature.
        unsafe { PhysicalMapping::new(address, at.cast(), bytes, bytes, self.clone()) }
    }

    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}
}

/// Finds the tables: at the RSDP that the loader named, else where a BIOS keeps it, whose extended data area begins at
/// `extended_bios_data`. Also returns the RSDP's address.
pub fn find(named: Option<u64>, extended_bios_data: u64) -> Result<(AcpiTables<Reader>, u64), AcpiError> {
    let mut error = AcpiError::NoValidRsdp;
    let candidates = named.into_iter().chain(BIOS_AREA.step_by(16)).chain(first_kib(extended_bios_data));
    for address in candidates {
        if !may_be_rsdp(address) {
            continue;
        }
        // SAFETY: the RSDP is mapped, and as long as it says.
        match unsafe { AcpiTables::from_rsdp(Reader, address as usize) } {
            Ok(tables) => return Ok((tables, address)),
            Err(found) => {
                log::warn!("the RSDP at {address:#x} leads nowhere: {found:?}");
                error = found;
            }
        }
    }
    Err(error)
}

/// Where an RSDP can be in an extended BIOS data area, if that can be one: a machine without a BIOS has anything there.
fn first_kib(start: u64) -> impl Iterator<Item = u64> {
    let end = if (0x8_0000..0xa_0000).contains(&start) { start + 1024 } else { start };
    (start..end).step_by(16)
}

/// Whether the signature is there and the length can be true; the crate checks the checksum, of as many bytes as the
/// structure says.
fn may_be_rsdp(address: u64) -> bool {
    let Some(at) = memory::map_firmware(address, size_of::<Rsdp>() as u64) else { return false };
    // SAFETY: mapped for that many bytes, and firmware's tables are plain bytes that nobody writes.
    let bytes = unsafe { at.cast::<[u8; size_of::<Rsdp>()]>().read() };
    let revision = bytes[15];
    let length = u32::from_le_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
    bytes.starts_with(&RSDP_SIGNATURE)
        && (revision == 0
            || (size_of::<Rsdp>() as u32 <= length
                && length <= MAX_RSDP_BYTES
                && memory::map_firmware(address, u64::from(length)).is_some()))
}

/// A table's bytes, header and all.
pub fn bytes_of<T: AcpiTable>(tables: &AcpiTables<Reader>) -> Result<&'static [u8], AcpiError> {
    let table = tables.find_table::<T>()?;
    // SAFETY: `Reader` mapped all of it for good and never unmaps, and nobody writes to firmware's tables.
    Ok(unsafe { core::slice::from_raw_parts(table.virtual_start().as_ptr().cast(), table.region_length()) })
}
