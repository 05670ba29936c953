//! The one check of physical addresses that come from outside: from firmware's tables, the boot loader or the command
//! line.
//!
//! An address from outside is a claim. Before anything is mapped, read or written there, [`PhysicalLayout::check`] holds it
//! against what is known of the machine: how wide its addresses are, what its memory map says, and which pages belong to
//! which device already. "It is mapped" proves nothing: a mapping has rights and a memory type, and those that one use
//! needs are wrong for another. Pure; `memory::mmio` has the kernel's own layout.

use core::fmt;

use super::io_regions::{Device, IoRegion, IoRegions};
use super::memory_map::{FRAME_BYTES, Owner, PhysRange, Region, RegionKind, ReservedReason};

#[cfg(test)]
mod tests;

/// How many physical addresses the direct map has room for, in bits.
pub const REACH_BITS: u8 = 46;

/// The display's window below 1 MiB.
pub const DISPLAY: PhysRange = PhysRange::new(0xa_0000, 0xc_0000);

/// The read-only memory of the BIOS and of its extensions.
pub const BIOS_ROM: PhysRange = PhysRange::new(0xc_0000, 0x10_0000);

/// Where chipsets decode the flash that holds the firmware, up to the reset vector (Intel ICH and PCH datasheets, "BIOS
/// decode enable"). A write there can be a command to the flash.
pub const FLASH: PhysRange = PhysRange::new(0xff00_0000, 0x1_0000_0000);

/// What a range is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Registers of that device, which are read and written past the caches.
    Registers(Device),
    /// A screen's pixels, which are written.
    Screen,
    /// A table of firmware's, which is read, at a time when usable memory belongs to the frame allocator.
    Table,
    /// The same before there is a frame allocator.
    EarlyTable,
    /// A module of the boot loader's, which is read.
    Module,
}

/// Why a range cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFault {
    /// No byte, or the end lies past the end of all addresses.
    NoRange,
    /// The range ends above what this processor can address.
    TooHigh {
        /// The width of its physical addresses, in bits.
        bits: u8,
    },
    /// The range ends above what the direct map has room for.
    OutOfReach,
    /// The range begins in page 0, which is never mapped.
    FirstPage,
    /// The registers do not begin at a multiple of what such a device needs.
    Misaligned {
        /// The multiple, in bytes.
        align: u64,
    },
    /// Memory lies there that is in use for something else, or is not for this use.
    Memory(Owner),
    /// Firmware's read-only memory lies there.
    Rom,
    /// The display's window lies there.
    Display,
    /// A screen lies there.
    Screen,
    /// Firmware's tables lie there.
    Tables,
    /// Another device's registers are in the same page.
    Device(Device),
    /// The memory map has nothing there that could hold a table or a module.
    Nothing,
    /// The kernel keeps account of only so many separate ranges.
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
            AddressFault::Rom => f.write_str("in firmware's read-only memory"),
            AddressFault::Display => f.write_str("in the display's window"),
            AddressFault::Screen => f.write_str("in the screen"),
            AddressFault::Tables => f.write_str("in a page of ACPI tables"),
            AddressFault::Device(device) => write!(f, "in a page of the {device}"),
            AddressFault::Nothing => f.write_str("not in memory"),
            AddressFault::TooManyIoRegions => f.write_str("too many separate ranges"),
        }
    }
}

impl core::error::Error for AddressFault {}

/// How a page is mapped, or is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// As memory, since memory is in the page.
    Memory,
    /// As what is kept account of beside memory.
    IoRegion(IoRegion),
}

/// What is known of the machine's physical addresses.
#[derive(Clone, Copy, Debug)]
pub struct PhysicalLayout<'a> {
    /// The memory map.
    pub regions: &'a [Region],
    /// What is known beside memory.
    pub io_regions: &'a IoRegions,
    /// The width of a physical address, in bits.
    pub address_bits: u8,
}

impl PhysicalLayout<'_> {
    /// Checks a range of `bytes` bytes; returns it.
    ///
    /// # Errors
    /// The first reason against it, in the order of [`AddressFault`].
    pub fn check(&self, address: u64, bytes: u64, purpose: Purpose) -> Result<PhysRange, AddressFault> {
        let end = address.checked_add(bytes).filter(|_| bytes > 0).ok_or(AddressFault::NoRange)?;
        if self.address_bits < 64 && end > 1 << self.address_bits {
            return Err(AddressFault::TooHigh { bits: self.address_bits });
        }
        if end > 1 << REACH_BITS {
            return Err(AddressFault::OutOfReach);
        }
        if address < FRAME_BYTES {
            return Err(AddressFault::FirstPage);
        }
        let range = PhysRange::new(address, end);
        match purpose {
            Purpose::Registers(device) => self.check_device(range, IoRegion::Device(device))?,
            Purpose::Screen => self.check_device(range, IoRegion::Screen)?,
            Purpose::Table | Purpose::EarlyTable | Purpose::Module => self.check_content(range, purpose)?,
        }
        Ok(range)
    }

    /// Whether a device can be there: in no page that has anything else.
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

    /// Whether memory of the right kind is there, to the last byte.
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

    /// How a page is mapped; `None` where neither memory nor a window is known.
    pub fn backing(&self, page: u64) -> Option<Backing> {
        if let Some((io_region, _)) = self.io_regions.at(page) {
            return Some(Backing::IoRegion(io_region));
        }
        // A page that memory shares with something else is mapped as memory.
        let mut in_page =
            self.regions_from(page).take_while(|region| region.range.start < page + FRAME_BYTES);
        in_page.any(|region| region.owner.is_memory()).then_some(Backing::Memory)
    }

    /// The regions whose last page ends past an address, in ascending order.
    fn regions_from(&self, address: u64) -> impl Iterator<Item = &Region> {
        let first =
            self.regions.partition_point(|region| region.range.end.next_multiple_of(FRAME_BYTES) <= address);
        self.regions[first..].iter()
    }
}

/// Whether a region may hold what is read for that purpose.
fn holds_content(owner: Owner, purpose: Purpose) -> bool {
    use RegionKind::*;
    match (owner, purpose) {
        (Owner::Firmware(Unusable), _) => false,
        (Owner::Firmware(Usable), Purpose::Table) => false,
        (Owner::Firmware(Usable | AcpiReclaimable | AcpiNvs), _) => true,
        (Owner::Firmware(Reserved | Persistent), _) => purpose != Purpose::Module,
        // What the kernel itself put to use holds its data. A module may share the frame of another.
        (Owner::Kernel(ReservedReason::LoaderInfo), _) => true,
        (Owner::Kernel(ReservedReason::AcpiTables | ReservedReason::CommandLine), _) => {
            purpose != Purpose::Module
        }
        (Owner::Kernel(_), _) => false,
    }
}
