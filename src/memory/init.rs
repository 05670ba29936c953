//! From the loader's memory map to the final page tables and the frame allocator.

use core::fmt;
use core::ptr::NonNull;

use super::early::EarlyFrames;
use super::frames::{FrameNumber, Frames, InsertError, Order};
use super::paging::{MapError, PageTables, Rights};
use super::per_cpu_frames::{self, alloc_without_waiting};
use super::stacks::{self, Stack};
use crate::boot::direct_map::{self, EARLY_LIMIT};
use crate::boot::memory_map::{FRAME_BYTES, MemoryMap, Owner, PhysRange, RegionKind, ReservedReason};
use crate::boot::{BootInfo, image};
use crate::cpu::{CpuId, Features};
use crate::sync::IrqMutex;

/// The kernel's page tables.
static TABLES: IrqMutex<Option<PageTables>> = IrqMutex::new(None);

/// Where a PC's RAM below 1 MiB ends at the latest, and where its read-only memory begins. Between them lie the
/// windows of the display.
const LOW_RAM_END: u64 = 0xa_0000;
const BIOS_ROM: u64 = 0xc_0000;
const LOW_END: u64 = 0x10_0000;

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
        }
    }
}

/// What the other CPUs need in order to wake up: frames in reach of real mode and of 32-bit code. To be given back.
#[derive(Debug)]
pub struct LowMemory {
    /// A page below 1 MiB.
    page: u64,
    /// Frames below 4 GiB for the page tables of [`Passage`].
    tables: PhysRange,
}

/// How many page tables lead to one page in the lower half.
const PASSAGE_TABLES: u64 = 4;

/// Sets up memory: reserves what is in use, builds and loads the final page tables, and hands all usable memory that
/// is left to the frame allocator. Once, by the boot processor, on rt0's tables. `None` for [`LowMemory`] where there
/// is no page below 1 MiB: then no other CPU can be started.
pub fn init(boot: &mut BootInfo, features: &Features) -> Result<Option<LowMemory>, MemoryError> {
    let map = &mut *boot.map;
    // Before anything is reserved: what is given back later lies below this too.
    let end = FrameNumber::new(map.highest_usable().unwrap_or(0).div_ceil(FRAME_BYTES) as usize);
    let low = LowMemory::reserve(map);

    let mut early = EarlyFrames::new(map).ok_or(MemoryError::NoMemory)?;
    let tables = map_everything(map, features, &mut early).map_err(MemoryError::Map)?;
    // SAFETY: they map the image, on whose boot stack this runs, as rt0's tables did.
    unsafe { tables.load() };
    *TABLES.lock() = Some(tables);
    early.finish(map);

    let bytes = Frames::metadata_bytes(end);
    let metadata = map
        .find_usable_below(direct_map::MAX_PHYSICAL, bytes as u64, FRAME_BYTES)
        .ok_or(MemoryError::NoRoomForFrameTables { bytes })?;
    let _ = map.reserve(metadata, ReservedReason::FrameTables);
    let metadata = NonNull::new(direct_map::pointer::<u8>(metadata.start)).ok_or(MemoryError::NoMemory)?;
    // SAFETY: the range has just been taken from the map for this; it is mapped, and `usable_frames` leaves it out.
    let frames = unsafe {
        metadata.write_bytes(0, bytes);
        Frames::new(metadata, end, direct_map::base() as usize)
    };
    for run in map.usable_frames() {
        let run = FrameNumber::new(run.start as usize)..FrameNumber::new(run.end as usize);
        // SAFETY: usable RAM that nothing has reserved, mapped for good.
        unsafe { frames.insert(run) }.map_err(MemoryError::Insert)?;
    }
    per_cpu_frames::set_frames(frames);
    Ok(low)
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
    map_range(image::data_below_guard(), Rights::Data)?;
    map_range(image::data_above_guard(), Rights::Data)?;

    // Page 0 stays out.
    map_range(PhysRange::new(FRAME_BYTES, LOW_RAM_END), Rights::Data)?;
    map_range(PhysRange::new(LOW_RAM_END, BIOS_ROM), Rights::Device)?;
    map_range(PhysRange::new(BIOS_ROM, LOW_END), Rights::Constants)?;

    // Neighbouring regions become one range, so that large pages span their borders, and regions that share a page
    // map it once.
    let mut pending = PhysRange::new(LOW_END, LOW_END);
    for region in map.regions().iter().filter(|region| is_memory(region.owner)) {
        let start = (region.range.start & !(FRAME_BYTES - 1)).max(pending.end);
        let end = region.range.end.next_multiple_of(FRAME_BYTES);
        if end <= start {
            continue;
        }
        if start > pending.end {
            map_range(pending, Rights::Data)?;
            pending = PhysRange::new(start, end);
        } else {
            pending.end = end;
        }
    }
    map_range(pending, Rights::Data)?;
    Ok(tables)
}

/// Whether a region belongs in the direct map as memory. The image is mapped by its parts.
fn is_memory(owner: Owner) -> bool {
    match owner {
        Owner::Firmware(kind) => {
            matches!(kind, RegionKind::Usable | RegionKind::AcpiReclaimable | RegionKind::AcpiNvs)
        }
        Owner::Kernel(reason) => reason != ReservedReason::Kernel,
    }
}

/// The root of the kernel's page tables, as CR3 takes it.
pub fn root() -> u64 {
    TABLES.lock().as_ref().map_or(0, PageTables::root)
}

/// Maps device registers in the direct map, uncached. Interrupts may be on or off; waits for the tables' lock.
pub fn map_device(physical: u64, bytes: u64) -> Result<NonNull<u8>, MapError> {
    map_missing(physical, bytes, Rights::Device)
}

/// Lets firmware's tables be read where they lie, wherever that is. `None` where they cannot lie there.
pub fn map_firmware(physical: u64, bytes: u64) -> Option<NonNull<u8>> {
    map_missing(physical, bytes, Rights::Constants).ok()
}

fn map_missing(physical: u64, bytes: u64, rights: Rights) -> Result<NonNull<u8>, MapError> {
    let end = physical.checked_add(bytes).filter(|end| *end <= direct_map::MAX_PHYSICAL);
    let end = end.ok_or(MapError::OutOfReach { end: physical.saturating_add(bytes) })?;
    let mut tables = TABLES.lock();
    let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
    let mut page = physical & !(FRAME_BYTES - 1);
    while page < end {
        if !tables.is_mapped(direct_map::virt(page)) {
            // SAFETY: nothing is mapped there yet, so no reference leads there.
            unsafe { tables.map(direct_map::virt(page), page, FRAME_BYTES, rights, &mut table_frame) }?;
        }
        page += FRAME_BYTES;
    }
    NonNull::new(direct_map::pointer(physical)).ok_or(MapError::OutOfReach { end })
}

fn table_frame() -> Option<u64> {
    alloc_without_waiting(Order::FRAME).map(|frame| frame.address() as u64)
}

/// Maps a CPU's stacks, on frames that nobody else has.
pub fn map_stacks(cpu: CpuId) -> Result<(), MapError> {
    let mut tables = TABLES.lock();
    let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
    for stack in Stack::ALL {
        let bottom = stacks::bottom(cpu, stack);
        for page in (bottom..bottom + stack.bytes()).step_by(FRAME_BYTES as usize) {
            let frame = table_frame().ok_or(MapError::OutOfFrames)?;
            // SAFETY: a fresh frame, at an address that is this stack's alone.
            unsafe { tables.map(page, frame, FRAME_BYTES, Rights::Data, &mut table_frame) }?;
        }
    }
    Ok(())
}

/// Page tables to enter long mode with: the kernel's half, and one page of the lower half at its physical address.
#[derive(Debug)]
pub struct Passage {
    low: LowMemory,
    root: u64,
}

impl LowMemory {
    fn reserve(map: &mut MemoryMap) -> Option<LowMemory> {
        let page = map.find_usable_below(LOW_RAM_END, FRAME_BYTES, FRAME_BYTES)?;
        let _ = map.reserve(page, ReservedReason::Trampoline);
        let tables = map.find_usable_below(EARLY_LIMIT, PASSAGE_TABLES * FRAME_BYTES, FRAME_BYTES)?;
        let _ = map.reserve(tables, ReservedReason::Trampoline);
        Some(LowMemory { page: page.start, tables })
    }

    /// Builds the passage. What the kernel maps later in parts of its half that are empty now is not in it.
    pub fn open(self) -> Result<Passage, MapError> {
        let mut next = (self.tables.start..self.tables.end).step_by(FRAME_BYTES as usize);
        let mut source = || next.next();
        let mut passage = PageTables::new(false, &mut source)?;
        // SAFETY: the tree is not live; the page is this structure's own.
        unsafe { passage.map(self.page, self.page, FRAME_BYTES, Rights::Text, &mut source) }?;
        let kernel = TABLES.lock();
        let kernel = kernel.as_ref().ok_or(MapError::OutOfFrames)?;
        for slot in 256..512u64 {
            let address = 0xffff_0000_0000_0000 | slot << 39;
            passage.share_root_entry(address, kernel.root_entry(address));
        }
        Ok(Passage { low: self, root: passage.root() })
    }
}

impl Passage {
    /// The page's physical address: below 1 MiB, executable in the passage's tables, writable in the direct map.
    pub fn page(&self) -> u64 {
        self.low.page
    }

    /// The root of the tables, below 4 GiB, as CR3 takes it.
    pub fn root(&self) -> u32 {
        self.root as u32
    }

    /// Gives the page and the tables to the frame allocator.
    ///
    /// # Safety
    /// No CPU uses either any more, or ever will.
    pub unsafe fn close(self) -> Result<(), MemoryError> {
        let frames = super::frames();
        let tables = self.low.tables.whole_frames();
        for frame in tables.chain(PhysRange::new(self.low.page, self.low.page + FRAME_BYTES).whole_frames()) {
            let frame = frame as usize;
            let _guard = crate::cpu::IrqGuard::new();
            // SAFETY: usable RAM that `LowMemory::reserve` took from the map; the caller vouches that it is free.
            unsafe { frames.insert(FrameNumber::new(frame)..FrameNumber::new(frame + 1)) }
                .map_err(MemoryError::Insert)?;
        }
        Ok(())
    }
}
