//! The memory and the page tables of the AP trampoline: two pages below 1 MiB in which the APs start, and tables that map them at their
//! physical addresses. The kernel's own tree never has anything in the lower half, so nothing has to be unmapped from it.
//!
//! The first page has the code. [`TrampolineTables::protect_code`] makes it read-only in the direct map before any AP starts; from then on
//! no mapping of it is writable. The second page has the data, which no mapping makes executable.

use x86_64::VirtAddr;

use super::paging::entry::{ENTRIES, LEVELS, span};
use super::paging::kernel::tables;
use super::paging::tables::{MapError, PageTables, Rights};
use crate::boot::direct_map::{self, EARLY_LIMIT};
use crate::boot::memory_map::{FRAME_BYTES, MemoryMap, PhysRange, ReservedReason};
use crate::boot::physical::DISPLAY;
use crate::cpu::UPPER_HALF;

/// The memory that APs need to start: frames that real mode and 32-bit code can address. It is never freed, because an AP may start late,
/// or again after it was offline.
#[derive(Debug)]
pub(crate) struct LowMemory {
    /// The first of two pages below 1 MiB.
    page: u64,
    /// Frames below 4 GiB for the page tables.
    tables: PhysRange,
}

/// The trampoline's pages: code, then data.
const PAGES: u64 = 2;

/// Pages on either side of the trampoline that are reserved with it. With fault injection the tests check that they do not change.
const NEIGHBOURS: u64 = cfg!(feature = "faults") as u64;

/// Page tables on the way to two adjacent pages below 1 MiB, which one table of the lowest level maps.
const TABLES_NEEDED: u64 = 4;

/// The page tables with which an AP enters long mode: the kernel's upper half, and the two pages of the trampoline at their physical
/// addresses.
#[derive(Debug)]
pub(crate) struct TrampolineTables {
    low: LowMemory,
    root: u64,
}

impl LowMemory {
    /// Reserves the memory in the map; `None` if there are no pages below 1 MiB.
    pub(super) fn reserve(map: &mut MemoryMap) -> Option<LowMemory> {
        let pages =
            map.find_usable_below(DISPLAY.start, (PAGES + 2 * NEIGHBOURS) * FRAME_BYTES, FRAME_BYTES)?;
        let _ = map.reserve(pages, ReservedReason::Trampoline);
        let tables = map.find_usable_below(EARLY_LIMIT, TABLES_NEEDED * FRAME_BYTES, FRAME_BYTES)?;
        let _ = map.reserve(tables, ReservedReason::Trampoline);
        Some(LowMemory { page: pages.start + NEIGHBOURS * FRAME_BYTES, tables })
    }

    /// Builds the page tables. They share the kernel's root entries of this moment: what needs a new one later is not mapped in them.
    ///
    /// # Errors
    /// [`MapError::OutOfFrames`].
    pub(crate) fn build(self) -> Result<TrampolineTables, MapError> {
        let mut next = (self.tables.start..self.tables.end).step_by(FRAME_BYTES as usize);
        let mut source = || next.next();
        let mut tree = PageTables::new(false, &mut source)?;
        let data = self.page + FRAME_BYTES;
        // SAFETY: no CPU uses the tree yet; `reserve` has taken the page for this alone, and it is text only.
        unsafe { tree.map(self.page, self.page, FRAME_BYTES, Rights::Text, &mut source) }?;
        // SAFETY: no CPU uses the tree yet; `reserve` has taken the page for this alone, and it is data only.
        unsafe { tree.map(data, data, FRAME_BYTES, Rights::Data, &mut source) }?;
        let kernel = tables().lock();
        let kernel = kernel.as_ref().ok_or(MapError::OutOfFrames)?;
        for index in ENTRIES / 2..ENTRIES {
            let address = UPPER_HALF + (index - ENTRIES / 2) as u64 * span(LEVELS);
            tree.share_root_entry(address, kernel.root_entry(address));
        }
        Ok(TrampolineTables { low: self, root: tree.root() })
    }

    /// The physical address of the first page.
    pub(crate) fn page(&self) -> u64 {
        self.page
    }
}

impl TrampolineTables {
    /// The physical address of the page of code, below 1 MiB. It is executable in these tables, and writable in the direct map until
    /// [`protect_code`](Self::protect_code). The page of data follows it, and is writable in both.
    pub(crate) fn page(&self) -> u64 {
        self.low.page
    }

    /// Makes the page of code read-only in the direct map, once it is filled.
    ///
    /// **Context:** boot, on the BSP, before any AP runs: only this CPU's TLB is flushed.
    ///
    /// # Errors
    /// [`MapError::Occupied`] if a larger page maps it. None does, because page 0, in the same 2 MiB, is not mapped.
    pub(crate) fn protect_code(&self) -> Result<(), MapError> {
        let address = direct_map::virt(self.low.page);
        let mut tables = tables().lock();
        let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
        if !tables.make_read_only(address) {
            return Err(MapError::Occupied { address });
        }
        x86_64::instructions::tlb::flush(VirtAddr::new(address));
        Ok(())
    }

    /// The page of code, physical.
    pub(crate) fn code(&self) -> PhysRange {
        PhysRange::new(self.low.page, self.low.page + FRAME_BYTES)
    }

    /// The physical address of the root table, below 4 GiB, as CR3 takes it.
    pub(crate) fn root(&self) -> u32 {
        self.root as u32
    }

    /// The pages on either side of the trampoline, if they are reserved: physical addresses.
    pub(crate) fn neighbours(&self) -> impl Iterator<Item = u64> {
        let beside = [self.low.page - FRAME_BYTES, self.low.page + PAGES * FRAME_BYTES];
        beside.into_iter().take(2 * NEIGHBOURS as usize)
    }
}
