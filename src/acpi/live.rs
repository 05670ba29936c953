//! Tables in the machine's own memory.

use core::cell::{Cell, RefCell};

use super::rsdp::TableMemory;
use crate::boot::direct_map::{self, EARLY_LIMIT};
use crate::boot::io_regions::IoRegions;
use crate::boot::memory_map::{MemoryMap, PhysRange, ReservedReason};
use crate::boot::physical::{AddressFault, PhysicalLayout, Purpose};
use crate::memory;

/// Memory from the memory stage on.
pub struct Live;

impl TableMemory<'static> for Live {
    fn peek(&self, address: u64, bytes: &mut [u8]) -> Result<(), AddressFault> {
        memory::peek_table(address, bytes)
    }

    fn map(&self, address: u64, bytes: u64) -> Result<&'static [u8], AddressFault> {
        memory::map_table(address, bytes)
    }
}

/// How many ranges are reserved for tables at most: each may split a region of the memory map.
const MAX_EARLY_RANGES: u32 = 64;

/// Memory before the memory stage, on rt0's page tables. What is mapped of it is reserved: firmware may have left tables
/// in memory that it calls usable.
pub struct Early<'m> {
    map: RefCell<&'m mut MemoryMap>,
    ranges: Cell<u32>,
    address_bits: u8,
}

impl<'m> Early<'m> {
    /// The machine's, whose memory has that map and whose addresses have so many bits.
    ///
    /// # Safety
    /// On rt0's page tables; nothing is written to memory outside the image as long as what [`TableMemory::map`] returns is
    /// in use.
    pub unsafe fn new(map: &'m mut MemoryMap, address_bits: u8) -> Early<'m> {
        Early { map: RefCell::new(map), ranges: Cell::new(0), address_bits }
    }

    fn check(&self, address: u64, bytes: u64) -> Result<PhysRange, AddressFault> {
        let map = self.map.borrow();
        let io_regions = IoRegions::new();
        let layout = PhysicalLayout {
            regions: map.regions(),
            io_regions: &io_regions,
            address_bits: self.address_bits,
        };
        let range = layout.check(address, bytes, Purpose::EarlyTable)?;
        if range.end <= EARLY_LIMIT { Ok(range) } else { Err(AddressFault::OutOfReach) }
    }
}

impl<'a> TableMemory<'a> for Early<'_> {
    fn peek(&self, address: u64, bytes: &mut [u8]) -> Result<(), AddressFault> {
        self.check(address, bytes.len() as u64)?;
        // SAFETY: rt0's tables map the first 4 GiB, within which `check` has found memory, and nothing writes there: the
        // caller of `new` guarantees it.
        bytes.copy_from_slice(unsafe {
            core::slice::from_raw_parts(direct_map::pointer::<u8>(address), bytes.len())
        });
        Ok(())
    }

    fn map(&self, address: u64, bytes: u64) -> Result<&'a [u8], AddressFault> {
        let range = self.check(address, bytes)?;
        if self.ranges.get() >= MAX_EARLY_RANGES {
            return Err(AddressFault::TooManyIoRegions);
        }
        self.ranges.set(self.ranges.get() + 1);
        // Only what is usable is taken.
        let _ = self.map.borrow_mut().reserve(range, ReservedReason::AcpiTables);
        // SAFETY: `check` has found memory within the first 4 GiB, which rt0's tables map; nothing writes there while the slice is
        // in use, guaranteed by the caller of `new` (see # Safety).
        Ok(unsafe { core::slice::from_raw_parts(direct_map::pointer(address), bytes as usize) })
    }
}
