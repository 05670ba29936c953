//! The boot stage of memory: from the memory map to the final page tables and the frame allocator.

use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

#[cfg(feature = "faults")]
use super::boot_alloc::table_frame;
use super::early_frames::EarlyFrames;
use super::frames::global;
use super::frames::{FrameNumber, Frames, InsertError, LOW_ZONE_END};
use super::mappings;
use super::mmio;
use super::paging::kernel;
use super::paging::tables::{MapError, PageTables, Rights};
#[cfg(feature = "faults")]
use super::stacks;
use super::trampoline_tables::LowMemory;
use crate::boot::direct_map::{self, EARLY_LIMIT};
use crate::boot::memory_map::{FRAME_BYTES, MemoryMap, Owner, PhysRange, ReservedReason};
use crate::boot::physical::{BIOS_ROM, DISPLAY};
use crate::boot::{BootInfo, image};
use crate::cpu::{Features, IrqGuard};

/// Why memory could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryError {
    /// No usable memory below 4 GiB.
    NoMemory,
    /// The page tables could not be built.
    Map(MapError),
    /// No usable range has room for the metadata of the frame allocator.
    NoRoomForFrameTables {
        /// Its size in bytes.
        bytes: usize,
    },
    /// The frame allocator has refused a range.
    Insert(InsertError),
    /// The frame allocator manages another number of frames than the memory map has usable ones.
    FrameCount {
        /// Usable frames in the map.
        usable: u64,
        /// Managed frames.
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
                    "too little memory: no {bytes} contiguous usable bytes for the metadata of the frame allocator"
                )
            }
            MemoryError::Insert(error) => write!(f, "the frame allocator: {error}"),
            MemoryError::FrameCount { usable, taken } => {
                write!(f, "{usable} frames are usable, but the frame allocator manages {taken}")
            }
        }
    }
}

/// Sets up memory: reserves what is in use, builds and loads the final page tables, and adds all other usable memory to the frame allocator,
/// except for the low zone, which [`add_low_memory`] adds later. Returns no [`LowMemory`] if there is no free page below 1 MiB: then no AP can
/// be started.
///
/// **Context:** boot, on the BSP, once, with rt0's tables in CR3.
///
/// # Errors
/// [`MemoryError`].
pub(crate) fn init(boot: &mut BootInfo, features: &Features) -> Result<Option<LowMemory>, MemoryError> {
    let map = &mut *boot.map;
    // Firmware that calls these ranges usable is wrong: writes there would appear on the display, or be lost.
    let _ = map.reserve(PhysRange::new(DISPLAY.start, BIOS_ROM.end), ReservedReason::LegacyArea);
    // Computed before the reservations: memory that is freed later is below this end, too.
    let end = FrameNumber::new(map.highest_usable().unwrap_or(0).div_ceil(FRAME_BYTES) as usize);
    let low = LowMemory::reserve(map);

    let mut early = EarlyFrames::new(map, EARLY_LIMIT).ok_or(MemoryError::NoMemory)?;
    let tables = map_everything(map, features, &mut early).map_err(MemoryError::Map)?;
    // SAFETY: `map_everything` has mapped the image, which has this code and its stack, as rt0's tables do.
    unsafe { tables.load() };
    *kernel::tables().lock() = Some(tables);
    early.finish(map);

    // The metadata is taken out of a usable range, which makes two more edges.
    let partial_blocks = Frames::partial_blocks(runs_of(map)) + 2;
    let bytes = Frames::metadata_bytes(end, partial_blocks);
    let metadata = map
        .find_usable_below(direct_map::MAX_PHYSICAL, bytes as u64, FRAME_BYTES)
        .ok_or(MemoryError::NoRoomForFrameTables { bytes })?;
    let _ = map.reserve(metadata, ReservedReason::FrameTables);
    let metadata = NonNull::new(direct_map::pointer::<u8>(metadata.start)).ok_or(MemoryError::NoMemory)?;
    // SAFETY: the range was reserved in the map for this alone, and the direct map contains it. Its content is unspecified, which the
    // allocator accepts; to clear it would take seconds with terabytes of memory.
    let frames = unsafe { Frames::new(metadata, end, partial_blocks) };
    for run in runs_of(map) {
        log::debug!("usable: frames {:#x}..{:#x}", run.start.get(), run.end.get());
        // SAFETY: usable RAM of the map, which nothing has reserved, and which the direct map contains permanently.
        unsafe { frames.insert(run.start.max(LOW_ZONE_END)..run.end.max(LOW_ZONE_END)) }
            .map_err(MemoryError::Insert)?;
    }
    global::set_frames(frames);
    mmio::set_layout(map, features.physical_bits).ok_or(MemoryError::NoMemory)?;
    Ok(low)
}

/// Adds the memory of the low zone to the frame allocator, and sets up the region of mappings. [`init`] leaves it out, so that no other allocation takes it before the zones are
/// set.
///
/// **Context:** boot, on the BSP, once, after [`set_zones`](super::set_zones), interrupts disabled.
///
/// # Errors
/// [`MemoryError`] if the allocator refuses it, or does not manage all usable frames of the map then.
pub(crate) fn add_low_memory(map: &MemoryMap) -> Result<(), MemoryError> {
    let frames = global::frames();
    for run in runs_of(map) {
        // SAFETY: usable RAM of the map, which nothing has reserved, which the direct map contains permanently, and which `init` has left out.
        unsafe { frames.insert(run.start.min(LOW_ZONE_END)..run.end.min(LOW_ZONE_END)) }
            .map_err(MemoryError::Insert)?;
    }
    let (usable, taken) = (map.usable_frame_count(), frames.total_frames() as u64);
    if usable != taken {
        return Err(MemoryError::FrameCount { usable, taken });
    }
    mappings::init(frames.total_frames()).map_err(MemoryError::Map)?;
    mappings::end_lazy(&IrqGuard::new());
    Ok(())
}

/// The contiguous ranges of usable frames.
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
        // SAFETY: no CPU uses the tree yet. It will map the machine's memory, each part with the rights that it needs; only the image's
        // code is executable.
        unsafe { tables.map(direct_map::virt(start), start, bytes, rights, &mut source) }
    };
    map_range(image::text(), Rights::Text)?;
    map_range(image::constants(), Rights::Constants)?;
    map_range(image::interrupt_tables(), Rights::Constants)?;
    map_range(DISPLAY, Rights::Device)?;
    map_range(BIOS_ROM, Rights::Constants)?;
    mmio::add_legacy_regions();

    // All other memory is data, also that of the image, so that large pages span all borders between equal rights. Adjacent regions become
    // one range, and a page that two regions share is mapped once.
    let without_rights = [
        PhysRange::new(0, FRAME_BYTES),
        // Mapped above, also where the loader calls a part of it memory.
        PhysRange::new(DISPLAY.start, BIOS_ROM.end),
        PhysRange::new(image::text().start, image::constants().end),
        PhysRange::new(image::interrupt_tables().start, image::boot_stack_guard_page().end),
    ];
    let mut map_memory = |range: PhysRange, rights| {
        let mut start = range.start;
        for hole in without_rights {
            let piece = PhysRange::new(start, range.end.min(hole.start));
            if !piece.is_empty() {
                map_range(piece, rights)?;
            }
            start = if hole.end > range.start { start.max(hole.end) } else { start };
        }
        let rest = PhysRange::new(start, range.end);
        if rest.is_empty() { Ok(()) } else { map_range(rest, rights) }
    };
    let mut pending = PhysRange::new(0, 0);
    for region in map.regions().iter().filter(|region| region.owner.is_memory()) {
        let is_module = region.owner == Owner::Kernel(ReservedReason::LoaderInfo);
        let first = region.range.start & !(FRAME_BYTES - 1);
        if is_module {
            // A page that begins with other memory is read-only as well: it is no whole frame, so nothing is allocated there.
            pending.end = pending.end.min(first).max(pending.start);
        }
        let start = first.max(pending.end);
        let end = region.range.end.next_multiple_of(FRAME_BYTES);
        if end <= start {
            continue;
        }
        if is_module {
            map_memory(pending, Rights::Data)?;
            map_memory(PhysRange::new(start, end), Rights::Constants)?;
            pending = PhysRange::new(end, end);
        } else if start > pending.end {
            map_memory(pending, Rights::Data)?;
            pending = PhysRange::new(start, end);
        } else {
            pending.end = end;
        }
    }
    map_memory(pending, Rights::Data)?;
    Ok(tables)
}

/// Fault injection: maps the first page of the kernel's code a second time, writable, at an unused address above all stacks.
///
/// # Errors
/// [`MapError`].
#[cfg(feature = "faults")]
pub(crate) fn map_text_writable() -> Result<(), MapError> {
    let mut tables = kernel::tables().lock();
    let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
    let address = stacks::region(crate::config::MAX_CPUS as usize).1;
    // SAFETY: nothing uses the address, and the test that injects this fault does not write there.
    unsafe { tables.map(address, image::text().start, FRAME_BYTES, Rights::Data, &mut table_frame) }
}
