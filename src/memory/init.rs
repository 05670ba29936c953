//! From the loader's memory map to the final page tables and the frame allocator.

use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

#[cfg(feature = "faults")]
use super::boot_alloc::table_frame;
use super::early_frames::EarlyFrames;
use super::frames::global;
use super::frames::{FrameNumber, Frames, InsertError, LOW_ZONE_END};
use super::mmio;
use super::paging::kernel;
use super::paging::tables::{MapError, PageTables, Rights};
#[cfg(feature = "faults")]
use super::stacks;
use super::trampoline_tables::LowMemory;
use crate::boot::direct_map::{self, EARLY_LIMIT};
use crate::boot::memory_map::{FRAME_BYTES, MemoryMap, PhysRange, ReservedReason};
use crate::boot::physical::{BIOS_ROM, DISPLAY};
use crate::boot::{BootInfo, image};
use crate::cpu::Features;

/// Why memory could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// No usable memory below 4 GiB.
    NoMemory,
    /// The page tables.
    Map(MapError),
    /// No usable range holds the frame allocator's tables.
    NoRoomForFrameTables {
        /// Their size.
        bytes: usize,
    },
    /// The frame allocator refused a range.
    Insert(InsertError),
    /// The frame allocator has another number of frames than the memory map has to give.
    Books {
        /// Usable in the map.
        usable: u64,
        /// Under the allocator's care.
        taken: u64,
    },
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryError::NoMemory => f.write_str("too little memory: no usable frame below 4 GiB"),
            MemoryError::Map(MapError::OutOfFrames) => f.write_str("too little memory for the page tables"),
            MemoryError::Map(error) => write!(f, "the page tables: {error}"),
            MemoryError::NoRoomForFrameTables { bytes } => {
                write!(
                    f,
                    "too little memory: no {bytes} usable bytes in a row for the frame allocator's tables"
                )
            }
            MemoryError::Insert(error) => write!(f, "the frame allocator: {error}"),
            MemoryError::Books { usable, taken } => {
                write!(f, "{usable} frames are usable, and the frame allocator has {taken}")
            }
        }
    }
}

/// Sets up memory: reserves what is in use, builds and loads the final page tables, and hands all usable memory that
/// is left, but for what [`add_low_memory`] gives later, to the frame allocator. Once, by the boot processor, on rt0's tables.
/// `None` for [`LowMemory`] where there is no page below 1 MiB: then no other CPU can be started.
pub fn init(boot: &mut BootInfo, features: &Features) -> Result<Option<LowMemory>, MemoryError> {
    let map = &mut *boot.map;
    // Where firmware calls it usable it is wrong: what the kernel writes there would be seen, or would not be kept.
    let _ = map.reserve(PhysRange::new(DISPLAY.start, BIOS_ROM.end), ReservedReason::LegacyWindows);
    // Before anything is reserved: what is given back later lies below this too.
    let end = FrameNumber::new(map.highest_usable().unwrap_or(0).div_ceil(FRAME_BYTES) as usize);
    let low = LowMemory::reserve(map);

    let mut early = EarlyFrames::new(map, EARLY_LIMIT).ok_or(MemoryError::NoMemory)?;
    let tables = map_everything(map, features, &mut early).map_err(MemoryError::Map)?;
    // SAFETY: they map the image, on whose boot stack this runs, as rt0's tables did.
    unsafe { tables.load() };
    *kernel::tables().lock() = Some(tables);
    early.finish(map);

    // The tables themselves take a piece out of a range, which makes two edges more.
    let partial_blocks = Frames::partial_blocks(runs_of(map)) + 2;
    let bytes = Frames::metadata_bytes(end, partial_blocks);
    let metadata = map
        .find_usable_below(direct_map::MAX_PHYSICAL, bytes as u64, FRAME_BYTES)
        .ok_or(MemoryError::NoRoomForFrameTables { bytes })?;
    let _ = map.reserve(metadata, ReservedReason::FrameTables);
    let metadata = NonNull::new(direct_map::pointer::<u8>(metadata.start)).ok_or(MemoryError::NoMemory)?;
    // SAFETY: the range has just been taken from the map for this; it is mapped, and `usable_frames` leaves it out. RAM
    // holds whatever it holds, which is what counts as initialised here; to clear it all would take seconds for
    // terabytes of memory.
    let frames = unsafe { Frames::new(metadata, end, partial_blocks, direct_map::base() as usize) };
    for run in runs_of(map) {
        log::debug!("usable: frames {:#x}..{:#x}", run.start.get(), run.end.get());
        // SAFETY: usable RAM that nothing has reserved, mapped for good.
        unsafe { frames.insert(run.start.max(LOW_ZONE_END)..run.end.max(LOW_ZONE_END)) }
            .map_err(MemoryError::Insert)?;
    }
    global::set_frames(frames);
    mmio::set_layout(map, features.physical_bits).ok_or(MemoryError::NoMemory)?;
    Ok(low)
}

/// Hands the memory to the frame allocator that [`init`] held back: that of the lowest zone, so that nothing took it before
/// it was known for what it is. Once, when memory has been divided. Interrupts are off.
///
/// # Errors
/// If the allocator refuses it, or does not have now what the map has to give.
pub fn add_low_memory(map: &MemoryMap) -> Result<(), MemoryError> {
    let frames = global::frames();
    for run in runs_of(map) {
        // SAFETY: usable RAM that nothing has reserved, mapped for good, and held back until now.
        unsafe { frames.insert(run.start.min(LOW_ZONE_END)..run.end.min(LOW_ZONE_END)) }
            .map_err(MemoryError::Insert)?;
    }
    let (usable, taken) = (map.usable_frame_count(), frames.total_frames() as u64);
    if usable == taken { Ok(()) } else { Err(MemoryError::Books { usable, taken }) }
}

/// The runs of usable frames.
fn runs_of(map: &MemoryMap) -> impl Iterator<Item = Range<FrameNumber>> {
    map.usable_frames().map(|run| FrameNumber::new(run.start as usize)..FrameNumber::new(run.end as usize))
}

fn map_everything(
    map: &MemoryMap,
    features: &Features,
    early: &mut EarlyFrames,
) -> Result<PageTables, MapError> {
    let mut source = || early.alloc();
    let mut tables = PageTables::new(features.pages_1g, &mut source)?;
    let mut map_range = |range: PhysRange, rights| {
        let (start, bytes) = (range.start, range.end - range.start);
        // SAFETY: the tree is not live yet; what it will lead to is the machine's memory, each part with the rights
        // that it needs: the image's parts by their kind, and no executable page anywhere else.
        unsafe { tables.map(direct_map::virt(start), start, bytes, rights, &mut source) }
    };
    map_range(image::text(), Rights::Text)?;
    map_range(image::constants(), Rights::Constants)?;
    map_range(image::interrupt_tables(), Rights::Constants)?;
    map_range(DISPLAY, Rights::Device)?;
    map_range(BIOS_ROM, Rights::Constants)?;
    mmio::add_legacy_windows();

    // All other memory is data, the image's own included, so that large pages span every border that is not one of
    // rights. Neighbouring regions become one range, and regions that share a page map it once.
    let without_rights = [
        PhysRange::new(0, FRAME_BYTES),
        // Mapped above, even where the loader calls some of it memory and has left something there.
        PhysRange::new(DISPLAY.start, BIOS_ROM.end),
        PhysRange::new(image::text().start, image::constants().end),
        PhysRange::new(image::interrupt_tables().start, image::boot_stack_guard_page().end),
    ];
    let mut map_data = |range: PhysRange| {
        let mut start = range.start;
        for hole in without_rights {
            let piece = PhysRange::new(start, range.end.min(hole.start));
            if !piece.is_empty() {
                map_range(piece, Rights::Data)?;
            }
            start = if hole.end > range.start { start.max(hole.end) } else { start };
        }
        let rest = PhysRange::new(start, range.end);
        if rest.is_empty() { Ok(()) } else { map_range(rest, Rights::Data) }
    };
    let mut pending = PhysRange::new(0, 0);
    for region in map.regions().iter().filter(|region| region.owner.is_memory()) {
        let start = (region.range.start & !(FRAME_BYTES - 1)).max(pending.end);
        let end = region.range.end.next_multiple_of(FRAME_BYTES);
        if end <= start {
            continue;
        }
        if start > pending.end {
            map_data(pending)?;
            pending = PhysRange::new(start, end);
        } else {
            pending.end = end;
        }
    }
    map_data(pending)?;
    Ok(tables)
}

/// Shows the first page of the kernel's code a second time, to be written: above all stacks, where nothing else is. For
/// the test that wants to see the audit fail.
#[cfg(feature = "faults")]
pub fn map_text_writable() -> Result<(), MapError> {
    let mut tables = kernel::tables().lock();
    let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
    let address = stacks::region(crate::config::MAX_CPUS as usize).1;
    // SAFETY: nobody uses the address.
    unsafe { tables.map(address, image::text().start, FRAME_BYTES, Rights::Data, &mut table_frame) }
}
