//! Mappings beside memory: devices' registers, a screen's pixels, and firmware's tables, all in the direct map. Each passes
//! [`PhysicalLayout::check`] first, and each page is mapped with the rights and the memory type of its one use.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};

use spin::Once;
use x86_64::VirtAddr;
use x86_64::instructions::tlb;

use crate::boot::direct_map;
use crate::boot::memory_map::{FRAME_BYTES, MemoryMap, PhysRange, Region};
use crate::boot::physical::{AddressFault, BIOS_ROM, Backing, DISPLAY, PhysicalLayout, Purpose, REACH_BITS};
use crate::boot::windows::{Device, Window, Windows};
use crate::cpu::Controls;
use crate::memory::boot_alloc::{alloc_slice_from, table_frame};
use crate::memory::paging::entry::MemoryType;
use crate::memory::paging::kernel::tables;
use crate::memory::paging::tables::{MapError, PageTables, Rights};
use crate::sync::IrqMutex;

const _: () = assert!(1 << REACH_BITS == direct_map::MAX_PHYSICAL);

/// What is known beside memory.
static WINDOWS: IrqMutex<Windows> = IrqMutex::new(Windows::new());
crate::name_lock!(WINDOWS);

/// What is known of memory, from [`set_layout`] on.
static KNOWN: Once<Known> = Once::new();

struct Known {
    regions: &'static [Region],
    address_bits: u8,
}

/// How often [`peek_table`] maps a page for one look. No firmware has so many tables; a list of bogus addresses has, and
/// each may cost a page table.
const MAX_PEEKS: u32 = 1024;

/// Mappings made by [`peek_table`] so far.
static PEEKS: AtomicU32 = AtomicU32::new(0);

/// Keeps account of what the final page tables map beside memory from the beginning. Once, by the BSP.
pub(in crate::memory) fn add_legacy_windows() {
    let mut windows = WINDOWS.lock();
    // Never an error: the list is empty.
    let _ = windows.add(DISPLAY, Window::Device(Device::Display));
    let _ = windows.add(BIOS_ROM, Window::Firmware);
}

/// Makes known what later addresses are checked against: the memory map as it is now, and the width of addresses. Once,
/// by the BSP, when there are frames. `None` without memory for a copy of the map.
pub(in crate::memory) fn set_layout(map: &MemoryMap, address_bits: u8) -> Option<()> {
    let regions = alloc_slice_from(map.regions().iter().copied())?;
    KNOWN.call_once(|| Known { regions, address_bits });
    Some(())
}

/// What is known beside memory.
pub(in crate::memory) fn windows() -> &'static IrqMutex<Windows> {
    &WINDOWS
}

fn layout(windows: &Windows) -> PhysicalLayout<'_> {
    let (regions, address_bits) =
        KNOWN.get().map_or((&[][..], 0), |known| (known.regions, known.address_bits));
    PhysicalLayout { regions, windows, address_bits }
}

/// Keeps the pages of a device's registers for that device, without mapping them.
///
/// **Context**: any but NMI; waits for the list's lock.
///
/// # Errors
/// Why the registers cannot be there.
pub fn claim_device(device: Device, address: u64, bytes: u64) -> Result<(), AddressFault> {
    let mut windows = WINDOWS.lock();
    let range = layout(&windows).check(address, bytes, Purpose::Registers(device))?;
    let added = windows.add(range.rounded_out(), Window::Device(device));
    added.map_err(|_| AddressFault::TooManyWindows)
}

/// Maps a device's registers, readable and writable past all caches, and keeps their pages for that device.
///
/// **Context**: any but NMI; waits for the page tables' lock.
///
/// # Errors
/// [`MapError::Address`] says why the registers cannot be there.
pub fn map_device(device: Device, address: u64, bytes: u64) -> Result<NonNull<u8>, MapError> {
    map(address, bytes, Purpose::Registers(device), Window::Device(device)).map(|mapped| mapped.pointer)
}

/// Takes back a mapping of [`map_device`] whose registers proved to be none.
///
/// **Context**: before the APs run: only this CPU's TLB is flushed.
///
/// # Safety
/// No other registers in use lie in these pages, and the pointer is not used again.
pub unsafe fn unmap_device(address: u64, bytes: u64) {
    let pages = PhysRange::new(address, address.saturating_add(bytes)).rounded_out();
    let mut tables = tables().lock();
    if let Some(tables) = tables.as_mut() {
        unmap(tables, &mut WINDOWS.lock(), pages);
    }
}

/// Makes a table of firmware's readable where it lies, for the kernel's lifetime.
///
/// **Context**: any but NMI; waits for the page tables' lock.
///
/// # Errors
/// Why a table cannot be there.
pub fn map_table(address: u64, bytes: u64) -> Result<&'static [u8], AddressFault> {
    let mapped = map(address, bytes, Purpose::Table, Window::Firmware).map_err(fault_of)?;
    // SAFETY: `map` has checked that all of the range is mapped readable, and it is never unmapped: `peek_table` unmaps only
    // pages that it has mapped itself. The check has excluded memory that the kernel writes: `holds_content` in `physical`.
    Ok(unsafe { core::slice::from_raw_parts(mapped.pointer.as_ptr(), bytes as usize) })
}

/// Reads the beginning of what may be a table of firmware's, and leaves no mapping behind.
///
/// **Context**: before the APs run: only this CPU's TLB is flushed. Waits for the page tables' lock.
///
/// # Errors
/// Why a table cannot be there.
///
/// # Panics
/// If `bytes` is longer than a page.
pub fn peek_table(address: u64, bytes: &mut [u8]) -> Result<(), AddressFault> {
    // At most two pages, so what `map` has mapped has no hole that belongs to somebody else.
    assert!(bytes.len() as u64 <= FRAME_BYTES);
    let mapped = map(address, bytes.len() as u64, Purpose::Table, Window::Firmware).map_err(fault_of)?;
    // SAFETY: `map` has checked that all of the range is mapped readable, and that nothing writes there: see `map_table`.
    let found = unsafe { core::slice::from_raw_parts(mapped.pointer.as_ptr(), bytes.len()) };
    bytes.copy_from_slice(found);
    if !mapped.fresh.is_empty() {
        PEEKS.fetch_add(1, Ordering::Relaxed);
        let mut tables = tables().lock();
        if let Some(tables) = tables.as_mut() {
            unmap(tables, &mut WINDOWS.lock(), mapped.fresh);
        }
    }
    Ok(())
}

/// Maps a screen's pixels, write-combining where processors have page attributes.
///
/// **Context**: any but NMI; waits for the page tables' lock.
///
/// # Errors
/// [`MapError::Address`] says why a screen cannot be there.
pub(in crate::memory) fn map_screen(address: u64, bytes: u64) -> Result<NonNull<u8>, MapError> {
    map(address, bytes, Purpose::Screen, Window::Screen).map(|mapped| mapped.pointer)
}

struct Mapped {
    pointer: NonNull<u8>,
    /// The pages that were not mapped before.
    fresh: PhysRange,
}

fn map(address: u64, bytes: u64, purpose: Purpose, window: Window) -> Result<Mapped, MapError> {
    let mut tables = tables().lock();
    let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
    let mut windows = WINDOWS.lock();
    let range = layout(&windows).check(address, bytes, purpose).map_err(MapError::Address)?;
    let mut fresh = PhysRange::new(0, 0);
    let result = map_pages(tables, &mut windows, range, purpose, window, &mut fresh);
    if let Err(error) = result {
        if !fresh.is_empty() && purpose == Purpose::Table {
            unmap(tables, &mut windows, fresh);
        }
        return Err(error);
    }
    let pointer = NonNull::new(direct_map::pointer(address));
    Ok(Mapped { pointer: pointer.ok_or(MapError::Address(AddressFault::NoRange))?, fresh })
}

/// Maps what is not mapped yet of a range that has been checked. `fresh` begins and ends with pages that were not, also where
/// a page could not be mapped.
fn map_pages(
    tables: &mut PageTables,
    windows: &mut Windows,
    range: PhysRange,
    purpose: Purpose,
    window: Window,
    fresh: &mut PhysRange,
) -> Result<(), MapError> {
    for page in (range.rounded_out().start..range.end).step_by(FRAME_BYTES as usize) {
        // What is there already has been checked to be of this use, or memory or a window in which this use may be.
        let shown = match layout(windows).backing(page) {
            Some(Backing::Memory) => continue,
            Some(Backing::Window(_)) if tables.is_mapped(direct_map::virt(page)) => continue,
            Some(Backing::Window(shown)) => shown,
            None => {
                if purpose == Purpose::Table && PEEKS.load(Ordering::Relaxed) >= MAX_PEEKS {
                    return Err(MapError::Address(AddressFault::TooManyWindows));
                }
                let added = windows.add(PhysRange::new(page, page + FRAME_BYTES), window);
                added.map_err(|_| MapError::Address(AddressFault::TooManyWindows))?;
                window
            }
        };
        // SAFETY: nothing is mapped there, so no reference leads there; the rights are those of the page's one use.
        let mapped = unsafe {
            tables.map(direct_map::virt(page), page, FRAME_BYTES, rights_of(shown), &mut table_frame)
        };
        mapped.inspect_err(|_| windows.remove(PhysRange::new(page, page + FRAME_BYTES)))?;
        *fresh = PhysRange::new(if fresh.is_empty() { page } else { fresh.start }, page + FRAME_BYTES);
    }
    Ok(())
}

fn unmap(tables: &mut PageTables, windows: &mut Windows, pages: PhysRange) {
    for page in (pages.start..pages.end).step_by(FRAME_BYTES as usize) {
        // One by one: they may have become part of the windows on either side.
        windows.remove(PhysRange::new(page, page + FRAME_BYTES));
        let virt = direct_map::virt(page);
        tables.hide(virt);
        tlb::flush(VirtAddr::new(virt));
        // What the entry led to is no frame of the allocator's.
        let _ = tables.forget(virt);
    }
}

fn rights_of(window: Window) -> Rights {
    // Entry 5 is write-combining where there is a page attribute table of our own; elsewhere its bit must not be set.
    let has_types = || MemoryType::of(Controls::read().pat, 5) == MemoryType::WRITE_COMBINING;
    match window {
        Window::Screen if has_types() => Rights::Screen,
        Window::Device(_) | Window::Screen => Rights::Device,
        Window::Firmware => Rights::Constants,
    }
}

/// A table that cannot be mapped is one that cannot be there, also where only memory for page tables lacks.
fn fault_of(error: MapError) -> AddressFault {
    match error {
        MapError::Address(fault) => fault,
        _ => AddressFault::TooManyWindows,
    }
}
