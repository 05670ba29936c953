//! Maps device registers, framebuffers and firmware tables in the direct map. [`PhysicalLayout::check`] checks each range first. Each page
//! has the rights and the memory type of its one use.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tlb;

use crate::boot::direct_map;
use crate::boot::io_regions::{Device, IoRegion, IoRegions};
use crate::boot::memory_map::{FRAME_BYTES, MemoryMap, PhysRange, Region};
use crate::boot::physical::{AddressFault, BIOS_ROM, Backing, DISPLAY, PhysicalLayout, Purpose, REACH_BITS};
use crate::cpu::ControlRegisters;
use crate::memory::boot_alloc::{alloc_slice_from, table_frame};
use crate::memory::paging::entry::MemoryType;
use crate::memory::paging::kernel::tables;
use crate::memory::paging::tables::{MapError, PageTables, Rights};
use crate::sync::SpinLockIrq;

const _: () = assert!(1 << REACH_BITS == direct_map::MAX_PHYSICAL);

/// The ranges beside RAM that are in use.
static IO_REGIONS: SpinLockIrq<IoRegions> = SpinLockIrq::new(IoRegions::new());
crate::name_lock!(IO_REGIONS);

/// The memory map and the address width, once [`set_layout`] has set them.
static KNOWN: Once<Known> = Once::new();

struct Known {
    regions: &'static [Region],
    address_bits: u8,
}

/// How many pages [`peek_table`] maps in total. No firmware has so many tables, but a list of bogus addresses may, and each may need a page
/// table.
const MAX_PEEKS: u32 = 1024;

/// Mappings made by [`peek_table`] so far.
static PEEKS: AtomicU32 = AtomicU32::new(0);

/// Registers the legacy ranges that the final page tables map from the start. Once, by the BSP.
pub(in crate::memory) fn add_legacy_regions() {
    let mut io_regions = IO_REGIONS.lock();
    // There is room: the list is empty.
    let _ = io_regions.add(DISPLAY, IoRegion::Device(Device::Display));
    let _ = io_regions.add(BIOS_ROM, IoRegion::Firmware);
}

/// Sets what later ranges are checked against: the memory map as it is now, and the address width in bits. Once, by the BSP, when the frame
/// allocator works. `None` if there is no memory for a copy of the map.
pub(in crate::memory) fn set_layout(map: &MemoryMap, address_bits: u8) -> Option<()> {
    let regions = alloc_slice_from(map.regions().iter().copied())?;
    KNOWN.call_once(|| Known { regions, address_bits });
    Some(())
}

/// The ranges beside RAM that are in use.
pub(in crate::memory) fn io_regions() -> &'static SpinLockIrq<IoRegions> {
    &IO_REGIONS
}

fn layout(io_regions: &IoRegions) -> PhysicalLayout<'_> {
    let (regions, address_bits) =
        KNOWN.get().map_or((&[][..], 0), |known| (known.regions, known.address_bits));
    PhysicalLayout { regions, io_regions, address_bits }
}

/// The first of so many physical pages that is RAM, or a device's that the kernel uses, if there is one.
///
/// **Context:** any but NMI; waits for a lock.
///
/// # Errors
/// [`AddressFault`]: the processor has no such pages, or the kernel cannot address them.
pub(in crate::memory) fn first_in_use(physical: u64, pages: u64) -> Result<Option<u64>, AddressFault> {
    layout(&IO_REGIONS.lock()).first_in_use(physical, pages)
}

/// Reserves the pages of a device's registers for that device, without mapping them.
///
/// **Context:** any but NMI; waits for a lock.
///
/// # Errors
/// [`AddressFault`]: why the registers cannot be there.
pub(crate) fn claim_device(device: Device, address: u64, bytes: u64) -> Result<(), AddressFault> {
    let mut io_regions = IO_REGIONS.lock();
    let range = layout(&io_regions).check(address, bytes, Purpose::Registers(device))?;
    let added = io_regions.add(range.rounded_out(), IoRegion::Device(device));
    added.map_err(|_| AddressFault::TooManyIoRegions)
}

/// Maps a device's registers, uncacheable, for reads and writes, and reserves their pages for that device.
///
/// **Context:** any but NMI; waits for the lock of the page tables.
///
/// # Errors
/// [`MapError::Address`] says why the registers cannot be there.
pub(crate) fn map_device(device: Device, address: u64, bytes: u64) -> Result<NonNull<u8>, MapError> {
    map(address, bytes, Purpose::Registers(device), IoRegion::Device(device)).map(|mapped| mapped.pointer)
}

/// Unmaps a mapping of [`map_device`], when a probe has found no such device.
///
/// **Context:** boot, before the APs run: only this CPU's TLB is flushed.
///
/// # Safety
/// No other registers in use lie in these pages, and the pointer is not used again.
pub(crate) unsafe fn unmap_device(address: u64, bytes: u64) {
    let pages = PhysRange::new(address, address.saturating_add(bytes)).rounded_out();
    let mut tables = tables().lock();
    if let Some(tables) = tables.as_mut() {
        unmap(tables, &mut IO_REGIONS.lock(), pages);
    }
}

/// Maps a firmware table read-only, for the kernel's lifetime.
///
/// **Context:** any but NMI; waits for the lock of the page tables.
///
/// # Errors
/// [`AddressFault`]: why a table cannot be there.
pub(crate) fn map_table(address: u64, bytes: u64) -> Result<&'static [u8], AddressFault> {
    let mapped = map(address, bytes, Purpose::Table, IoRegion::Firmware).map_err(fault_of)?;
    // SAFETY: `map` has checked that all of the range is mapped readable, and it is never unmapped: `peek_table` unmaps only
    // pages that it has mapped itself. The check has excluded memory that the kernel writes: `holds_content` in `physical`.
    Ok(unsafe { core::slice::from_raw_parts(mapped.pointer.as_ptr(), bytes as usize) })
}

/// Reads the start of a possible firmware table, and leaves no mapping behind.
///
/// **Context:** boot, before the APs run: only this CPU's TLB is flushed. Waits for the lock of the page tables.
///
/// # Errors
/// [`AddressFault`]: why a table cannot be there.
///
/// # Panics
/// If `bytes` is longer than a page.
pub(crate) fn peek_table(address: u64, bytes: &mut [u8]) -> Result<(), AddressFault> {
    // At most two pages, so the pages that `map` has mapped are adjacent, with no page of another use between them.
    assert!(bytes.len() as u64 <= FRAME_BYTES);
    let mapped = map(address, bytes.len() as u64, Purpose::Table, IoRegion::Firmware).map_err(fault_of)?;
    // SAFETY: `map` has checked that all of the range is mapped readable, and that nothing writes there: see `map_table`.
    let found = unsafe { core::slice::from_raw_parts(mapped.pointer.as_ptr(), bytes.len()) };
    bytes.copy_from_slice(found);
    if !mapped.fresh.is_empty() {
        PEEKS.fetch_add(1, Ordering::Relaxed);
        let mut tables = tables().lock();
        if let Some(tables) = tables.as_mut() {
            unmap(tables, &mut IO_REGIONS.lock(), mapped.fresh);
        }
    }
    Ok(())
}

/// Maps a framebuffer, write-combining if the processors have a PAT.
///
/// **Context:** any but NMI; waits for the lock of the page tables.
///
/// # Errors
/// [`MapError::Address`] says why a framebuffer cannot be there.
pub(in crate::memory) fn map_framebuffer(address: u64, bytes: u64) -> Result<NonNull<u8>, MapError> {
    map(address, bytes, Purpose::Screen, IoRegion::Screen).map(|mapped| mapped.pointer)
}

struct Mapped {
    pointer: NonNull<u8>,
    /// The pages that were not mapped before.
    fresh: PhysRange,
}

fn map(address: u64, bytes: u64, purpose: Purpose, io_region: IoRegion) -> Result<Mapped, MapError> {
    let mut tables = tables().lock();
    let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
    let mut io_regions = IO_REGIONS.lock();
    let range = layout(&io_regions).check(address, bytes, purpose).map_err(MapError::Address)?;
    let mut fresh = PhysRange::new(0, 0);
    let result = map_pages(tables, &mut io_regions, range, purpose, io_region, &mut fresh);
    if let Err(error) = result {
        if !fresh.is_empty() && purpose == Purpose::Table {
            unmap(tables, &mut io_regions, fresh);
        }
        return Err(error);
    }
    let pointer = NonNull::new(direct_map::pointer(address));
    Ok(Mapped { pointer: pointer.ok_or(MapError::Address(AddressFault::NoRange))?, fresh })
}

/// Maps the pages of a checked range that are not mapped yet. `fresh` becomes the range from the first to the last page that it has mapped,
/// also after an error.
fn map_pages(
    tables: &mut PageTables,
    io_regions: &mut IoRegions,
    range: PhysRange,
    purpose: Purpose,
    io_region: IoRegion,
    fresh: &mut PhysRange,
) -> Result<(), MapError> {
    for page in (range.rounded_out().start..range.end).step_by(FRAME_BYTES as usize) {
        // `check` has accepted what is there already: it is of this use, or RAM, or a range in which this use may be.
        let shown = match layout(io_regions).backing(page) {
            Some(Backing::Memory) => continue,
            Some(Backing::IoRegion(_)) if tables.is_mapped(direct_map::virt(page)) => continue,
            Some(Backing::IoRegion(shown)) => shown,
            None => {
                if purpose == Purpose::Table && PEEKS.load(Ordering::Relaxed) >= MAX_PEEKS {
                    return Err(MapError::Address(AddressFault::TooManyIoRegions));
                }
                let added = io_regions.add(PhysRange::new(page, page + FRAME_BYTES), io_region);
                added.map_err(|_| MapError::Address(AddressFault::TooManyIoRegions))?;
                io_region
            }
        };
        // SAFETY: nothing is mapped there, so there is no reference to it; the rights are those of the page's one use.
        let mapped = unsafe {
            tables.map(direct_map::virt(page), page, FRAME_BYTES, rights_of(shown), &mut table_frame)
        };
        mapped.inspect_err(|_| io_regions.remove(PhysRange::new(page, page + FRAME_BYTES)))?;
        *fresh = PhysRange::new(if fresh.is_empty() { page } else { fresh.start }, page + FRAME_BYTES);
    }
    Ok(())
}

fn unmap(tables: &mut PageTables, io_regions: &mut IoRegions, pages: PhysRange) {
    for page in (pages.start..pages.end).step_by(FRAME_BYTES as usize) {
        // One by one: a page may have been merged with the ranges on either side.
        io_regions.remove(PhysRange::new(page, page + FRAME_BYTES));
        let virt = direct_map::virt(page);
        tables.unmap(virt);
        tlb::flush(VirtAddr::new(virt));
        // The page is not a frame of the allocator.
        let _ = tables.release_entry(virt);
    }
}

fn rights_of(io_region: IoRegion) -> Rights {
    // PAT entry 5 is write-combining if this kernel has set the PAT. Without a PAT, the entry's bit must not be set.
    let has_types = || MemoryType::of(ControlRegisters::read().pat, 5) == MemoryType::WRITE_COMBINING;
    match io_region {
        IoRegion::Screen if has_types() => Rights::Screen,
        IoRegion::Device(_) | IoRegion::Screen => Rights::Device,
        IoRegion::Firmware => Rights::Constants,
    }
}

/// The fault to report for a firmware table that could not be mapped, also for lack of memory for page tables.
fn fault_of(error: MapError) -> AddressFault {
    match error {
        MapError::Address(fault) => fault,
        _ => AddressFault::TooManyIoRegions,
    }
}
