//! The check of untrusted physical addresses: those of firmware's tables, of the boot loader and of the command line.
//!
//! The kernel maps, reads or writes such an address only after [`PhysicalLayout::check`]. It compares the range with the width of
//! the processor's physical addresses, with the memory map, and with the list of pages that belong to devices. An existing
//! mapping is no proof that the address is valid: its access rights and memory type can be wrong for this use. This module uses
//! no hardware. `memory::mmio` has the kernel's layout.

use core::fmt;

use super::io_regions::{Device, IoRegion, IoRegions};
use super::memory_map::{FRAME_BYTES, Owner, PhysRange, Region, RegionKind, ReservedReason};

#[cfg(test)]
mod tests;

/// The width of the physical addresses that the direct map has room for, in bits.
pub(crate) const REACH_BITS: u8 = 46;

/// The video memory below 1 MiB.
pub(crate) const DISPLAY: PhysRange = PhysRange::new(0xa_0000, 0xc_0000);

/// The ROM of the BIOS and of its extensions.
pub(crate) const BIOS_ROM: PhysRange = PhysRange::new(0xc_0000, 0x10_0000);

/// The flash that holds the firmware, up to the reset vector (Intel ICH and PCH datasheets, "BIOS decode enable"). A write
/// there can be a command to the flash.
pub(crate) const FLASH: PhysRange = PhysRange::new(0xff00_0000, 0x1_0000_0000);

/// The use of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Registers of this device: read and written, uncached.
    Registers(Device),
    /// A framebuffer: written.
    Screen,
    /// A firmware table: read, after the frame allocator has taken the usable memory.
    Table,
    /// A firmware table: read, before the frame allocator exists.
    EarlyTable,
    /// A module of the boot loader: read.
    Module,
}

/// Why a range is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFault {
    /// The range is empty, or its end exceeds 64 bits.
    NoRange,
    /// The range exceeds the processor's physical address width.
    TooHigh {
        /// That width in bits.
        bits: u8,
    },
    /// The range exceeds the direct map.
    OutOfReach,
    /// The range begins in page 0, which is not mapped.
    FirstPage,
    /// The registers are not aligned as the device needs.
    Misaligned {
        /// The alignment in bytes.
        align: u64,
    },
    /// The range contains memory with another use.
    Memory(Owner),
    /// The range contains firmware's ROM.
    Rom,
    /// The range contains video memory.
    Display,
    /// The range contains the framebuffer.
    Screen,
    /// A page of the range contains firmware tables.
    Tables,
    /// A page of the range contains registers of another device.
    Device(Device),
    /// The memory map has no memory there.
    Nothing,
    /// The list of used ranges is full.
    TooManyIoRegions,
}

impl fmt::Display for AddressFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressFault::NoRange => f.write_str("no such range"),
            AddressFault::TooHigh { bits } => write!(f, "beyond the {bits} bits of physical addresses"),
            AddressFault::OutOfReach => write!(f, "beyond the direct map's {REACH_BITS} bits"),
            AddressFault::FirstPage => f.write_str("in page 0"),
            AddressFault::Misaligned { align } => write!(f, "not at a multiple of {align}"),
            AddressFault::Memory(owner) => write!(f, "in memory: {owner}"),
            AddressFault::Rom => f.write_str("in firmware's ROM"),
            AddressFault::Display => f.write_str("in video memory"),
            AddressFault::Screen => f.write_str("in the framebuffer"),
            AddressFault::Tables => f.write_str("in a page of ACPI tables"),
            AddressFault::Device(device) => write!(f, "in a page of the {device}"),
            AddressFault::Nothing => f.write_str("not in memory"),
            AddressFault::TooManyIoRegions => f.write_str("too many separate ranges"),
        }
    }
}

impl core::error::Error for AddressFault {}

/// The kind of mapping of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// As memory: the page contains memory.
    Memory,
    /// As a used range outside memory.
    IoRegion(IoRegion),
}

/// The known uses of the machine's physical addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhysicalLayout<'a> {
    /// The memory map.
    pub regions: &'a [Region],
    /// The used ranges outside memory.
    pub io_regions: &'a IoRegions,
    /// The width of the processor's physical addresses, in bits.
    pub address_bits: u8,
}

impl PhysicalLayout<'_> {
    /// Checks a range of `bytes` bytes and returns it.
    ///
    /// # Errors
    /// The first fault, in the order of [`AddressFault`].
    pub(crate) fn check(
        &self,
        address: u64,
        bytes: u64,
        purpose: Purpose,
    ) -> Result<PhysRange, AddressFault> {
        let range = self.checked_range(address, bytes)?;
        if address < FRAME_BYTES {
            return Err(AddressFault::FirstPage);
        }
        match purpose {
            Purpose::Registers(device) => self.check_device(range, IoRegion::Device(device))?,
            Purpose::Screen => self.check_device(range, IoRegion::Screen)?,
            Purpose::Table | Purpose::EarlyTable | Purpose::Module => self.check_content(range, purpose)?,
        }
        Ok(range)
    }

    /// Checks that the pages of the range contain nothing else.
    fn check_device(&self, range: PhysRange, io_region: IoRegion) -> Result<(), AddressFault> {
        if let IoRegion::Device(device) = io_region
            && !range.start.is_multiple_of(device.align())
        {
            return Err(AddressFault::Misaligned { align: device.align() });
        }
        let pages = range.rounded_out();
        let is_display = io_region == IoRegion::Screen && pages.is_within(DISPLAY);
        if pages.overlaps(DISPLAY) && !is_display {
            return Err(AddressFault::Display);
        }
        if pages.overlaps(BIOS_ROM) || pages.overlaps(FLASH) {
            return Err(AddressFault::Rom);
        }
        let holds_memory = |owner: Owner| {
            owner.is_memory()
                || matches!(owner, Owner::Firmware(RegionKind::Persistent | RegionKind::Unusable))
        };
        let in_the_way = self.regions_from(pages.start);
        let mut in_the_way = in_the_way.take_while(|region| region.range.start < pages.end);
        if let Some(region) = in_the_way.find(|region| holds_memory(region.owner)) {
            return Err(AddressFault::Memory(region.owner));
        }
        let mut others = self.io_regions.overlapping(pages).filter(|(_, other)| *other != io_region);
        match others.next() {
            None => Ok(()),
            Some((_, IoRegion::Device(Device::Display))) if is_display => Ok(()),
            Some((_, IoRegion::Device(device))) => Err(AddressFault::Device(device)),
            Some((_, IoRegion::Screen)) => Err(AddressFault::Screen),
            Some((_, IoRegion::Firmware)) => Err(AddressFault::Tables),
        }
    }

    /// Checks that the whole range is memory of the right kind.
    fn check_content(&self, range: PhysRange, purpose: Purpose) -> Result<(), AddressFault> {
        let mut at = range.start;
        let mut regions = self.regions_from(range.start);
        while at < range.end {
            if purpose != Purpose::Module && (BIOS_ROM.start..BIOS_ROM.end).contains(&at) {
                at = BIOS_ROM.end;
                continue;
            }
            let region = regions.find(|region| region.range.end > at);
            let region = region.filter(|region| region.range.start <= at).ok_or(AddressFault::Nothing)?;
            if !holds_content(region.owner, purpose) {
                return Err(AddressFault::Memory(region.owner));
            }
            at = region.range.end;
        }
        let others = self.io_regions.overlapping(range.rounded_out());
        for (_, io_region) in others {
            match io_region {
                IoRegion::Device(device) => return Err(AddressFault::Device(device)),
                IoRegion::Screen => return Err(AddressFault::Screen),
                IoRegion::Firmware => {}
            }
        }
        Ok(())
    }

    /// Returns the kind of mapping of a page; `None` if it contains neither memory nor a used range.
    pub(crate) fn backing(&self, page: u64) -> Option<Backing> {
        if let Some((io_region, _)) = self.io_regions.at(page) {
            return Some(Backing::IoRegion(io_region));
        }
        // A page with memory and another use is mapped as memory.
        let mut in_page =
            self.regions_from(page).take_while(|region| region.range.start < page + FRAME_BYTES);
        in_page.any(|region| region.owner.is_memory()).then_some(Backing::Memory)
    }

    /// Returns the first of so many whole pages that contains memory or is in a used range, if there is one.
    ///
    /// # Errors
    /// [`AddressFault::NoRange`], [`AddressFault::TooHigh`] or [`AddressFault::OutOfReach`]: the pages do not exist.
    pub(crate) fn first_in_use(&self, address: u64, pages: u64) -> Result<Option<u64>, AddressFault> {
        let bytes = pages.checked_mul(FRAME_BYTES).ok_or(AddressFault::NoRange)?;
        let range = self.checked_range(address, bytes)?;
        let first_page = |used: PhysRange| used.rounded_out().start.max(address);
        let memory = self
            .regions_from(address)
            .take_while(|region| region.range.start < range.end)
            .find(|region| region.owner.is_memory());
        let memory = memory.map(|region| first_page(region.range));
        let used = self.io_regions.overlapping(range).map(|(used, _)| first_page(used)).min();
        Ok(memory.into_iter().chain(used).min())
    }

    /// Returns the range, if the processor and the direct map have room for it.
    fn checked_range(&self, address: u64, bytes: u64) -> Result<PhysRange, AddressFault> {
        let end = address.checked_add(bytes).filter(|_| bytes > 0).ok_or(AddressFault::NoRange)?;
        if self.address_bits < 64 && end > 1 << self.address_bits {
            return Err(AddressFault::TooHigh { bits: self.address_bits });
        }
        if end > 1 << REACH_BITS {
            return Err(AddressFault::OutOfReach);
        }
        Ok(PhysRange::new(address, end))
    }

    /// Returns the regions whose last page ends above an address, in ascending order.
    fn regions_from(&self, address: u64) -> impl Iterator<Item = &Region> {
        let first =
            self.regions.partition_point(|region| region.range.end.next_multiple_of(FRAME_BYTES) <= address);
        self.regions[first..].iter()
    }
}

/// Whether a region may contain data for that purpose.
fn holds_content(owner: Owner, purpose: Purpose) -> bool {
    use RegionKind::*;
    match (owner, purpose) {
        (Owner::Firmware(Unusable), _) => false,
        (Owner::Firmware(Usable), Purpose::Table) => false,
        (Owner::Firmware(Usable | AcpiReclaimable | AcpiNvs), _) => true,
        (Owner::Firmware(Reserved | Persistent), _) => purpose != Purpose::Module,
        // Other memory that the kernel has reserved holds its own data. Two modules may share a frame.
        (Owner::Kernel(ReservedReason::LoaderInfo), _) => true,
        (Owner::Kernel(ReservedReason::AcpiTables | ReservedReason::CommandLine), _) => {
            purpose != Purpose::Module
        }
        (Owner::Kernel(_), _) => false,
    }
}
