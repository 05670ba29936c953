//! Access to tables in the machine's own memory.

use core::cell::{Cell, RefCell};

use super::rsdp::TableMemory;
use crate::boot::direct_map::{self, EARLY_LIMIT};
use crate::boot::io_regions::IoRegions;
use crate::boot::memory_map::{MemoryMap, PhysRange, ReservedReason};
use crate::boot::physical::{AddressFault, PhysicalLayout, Purpose};
use crate::memory;

/// Memory access from the memory stage on.
pub(crate) struct LiveMemory;

impl TableMemory<'static> for LiveMemory {
    fn peek(&self, address: u64, bytes: &mut [u8]) -> Result<(), AddressFault> {
        memory::peek_table(address, bytes)
    }

    fn map(&self, address: u64, bytes: u64) -> Result<&'static [u8], AddressFault> {
        memory::map_table(address, bytes)
    }
}

/// The maximum number of ranges that are reserved for tables: each may split a region of the memory map.
const MAX_EARLY_RANGES: u32 = 64;

/// Memory access before the memory stage, by rt0's page tables. Mapped ranges are reserved in the memory map, because
/// firmware may have left tables in memory that it reports as usable.
pub(crate) struct EarlyMemory<'m> {
    map: RefCell<&'m mut MemoryMap>,
    ranges: Cell<u32>,
    address_bits: u8,
}

impl<'m> EarlyMemory<'m> {
    /// Creates access to the memory described by `map`, with physical addresses of `address_bits` bits.
    ///
    /// # Safety
    /// rt0's page tables are in use. Nothing is written to memory outside the image while the result of
    /// [`TableMemory::map`] is in use.
    pub(crate) unsafe fn new(map: &'m mut MemoryMap, address_bits: u8) -> EarlyMemory<'m> {
        EarlyMemory { map: RefCell::new(map), ranges: Cell::new(0), address_bits }
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

impl<'a> TableMemory<'a> for EarlyMemory<'_> {
    fn peek(&self, address: u64, bytes: &mut [u8]) -> Result<(), AddressFault> {
        self.check(address, bytes.len() as u64)?;
        // SAFETY: rt0's page tables map the first 4 GiB, in which `check` has found memory. Nothing writes there,
        // guaranteed by the caller of `new` (see # Safety).
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
        // Only usable memory is reserved.
        let _ = self.map.borrow_mut().reserve(range, ReservedReason::AcpiTables);
        // SAFETY: `check` has found memory within the first 4 GiB, which rt0's page tables map. Nothing writes there
        // while the slice is in use, guaranteed by the caller of `new` (see # Safety).
        Ok(unsafe { core::slice::from_raw_parts(direct_map::pointer(address), bytes as usize) })
    }
}
