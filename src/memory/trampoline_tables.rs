//! The way into long mode for the other CPUs: two pages below 1 MiB that they wake up in, and tables of their own that show
//! them where they lie. The kernel's tree never has anything in the lower half, so nothing has to be taken out of it.
//!
//! The first page is code. From [`TrampolineTables::seal`] on, which comes before any CPU is started, no mapping of it can be
//! written: the tables here show it executable, the direct map read-only. The second is data, executable nowhere.

use core::sync::atomic::{AtomicU64, Ordering};

use super::paging::entry::{ENTRIES, LEVELS, span};
use super::paging::kernel::tables;
use super::paging::tables::{MapError, PageTables, Rights};
use crate::boot::direct_map::{self, EARLY_LIMIT};
use crate::boot::memory_map::{FRAME_BYTES, MemoryMap, PhysRange, ReservedReason};
use crate::boot::physical::DISPLAY;
use crate::cpu::{UPPER_HALF, tlb};

/// What the other CPUs need in order to wake up: frames in reach of real mode and of 32-bit code. Kept for good, for a
/// CPU may come late, or be called later.
#[derive(Debug)]
pub struct LowMemory {
    /// The first of two pages below 1 MiB.
    page: u64,
    /// Frames below 4 GiB for the page tables of [`TrampolineTables`].
    tables: PhysRange,
}

/// The trampoline's pages: code, then data.
const PAGES: u64 = 2;

/// The page of code once it is sealed; 0 before.
static SEALED: AtomicU64 = AtomicU64::new(0);

/// The trampoline's page of code, which nothing may write any more; empty before it is sealed.
pub(super) fn sealed() -> PhysRange {
    let page = SEALED.load(Ordering::Acquire);
    PhysRange::new(page, if page == 0 { 0 } else { page + FRAME_BYTES })
}

/// Pages on either side of the trampoline's that are reserved with it. A kernel for tests has them to see that they stay
/// as they are.
const NEIGHBOURS: u64 = cfg!(feature = "faults") as u64;

/// How many page tables lead to two neighbouring pages below 1 MiB, which one table of the lowest level shows.
const PASSAGE_TABLES: u64 = 4;

/// Page tables to enter long mode with: the kernel's half, and two pages of the lower half at their physical addresses.
#[derive(Debug)]
pub struct TrampolineTables {
    low: LowMemory,
    root: u64,
}

impl LowMemory {
    /// Takes what is needed out of the map; `None` where there is no page below 1 MiB.
    pub(super) fn reserve(map: &mut MemoryMap) -> Option<LowMemory> {
        let pages =
            map.find_usable_below(DISPLAY.start, (PAGES + 2 * NEIGHBOURS) * FRAME_BYTES, FRAME_BYTES)?;
        let _ = map.reserve(pages, ReservedReason::Trampoline);
        let tables = map.find_usable_below(EARLY_LIMIT, PASSAGE_TABLES * FRAME_BYTES, FRAME_BYTES)?;
        let _ = map.reserve(tables, ReservedReason::Trampoline);
        Some(LowMemory { page: pages.start + NEIGHBOURS * FRAME_BYTES, tables })
    }

    /// Builds the passage. What the kernel maps later in parts of its half that are empty now is not in it.
    pub fn open(self) -> Result<TrampolineTables, MapError> {
        let mut next = (self.tables.start..self.tables.end).step_by(FRAME_BYTES as usize);
        let mut source = || next.next();
        let mut passage = PageTables::new(false, &mut source)?;
        let data = self.page + FRAME_BYTES;
        // SAFETY: the tree is not live; both pages are this structure's own, and each has one kind of rights.
        unsafe {
            passage.map(self.page, self.page, FRAME_BYTES, Rights::Text, &mut source)?;
            passage.map(data, data, FRAME_BYTES, Rights::Data, &mut source)?;
        }
        let kernel = tables().lock();
        let kernel = kernel.as_ref().ok_or(MapError::OutOfFrames)?;
        for index in ENTRIES / 2..ENTRIES {
            let address = UPPER_HALF + (index - ENTRIES / 2) as u64 * span(LEVELS);
            passage.share_root_entry(address, kernel.root_entry(address));
        }
        Ok(TrampolineTables { low: self, root: passage.root() })
    }

    /// The physical address of the first page.
    pub fn page(&self) -> u64 {
        self.page
    }
}

impl TrampolineTables {
    /// The physical address of the first page, which holds code: below 1 MiB, executable in the passage's tables, and
    /// writable in the direct map until it is [sealed](TrampolineTables::seal). The second page, behind it, is writable in both.
    pub fn page(&self) -> u64 {
        self.low.page
    }

    /// Makes the page of code read-only in the direct map. Once, when it is filled, by the boot processor, before any other
    /// CPU runs: no other TLB has to forget the old rights.
    ///
    /// # Errors
    /// [`MapError::Occupied`] if a larger page shows it. None does, because page 0, in the same 2 MiB, is not mapped.
    pub fn seal(&self) -> Result<(), MapError> {
        let address = direct_map::virt(self.low.page);
        let mut tables = tables().lock();
        let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
        if !tables.make_read_only(address) {
            return Err(MapError::Occupied { address });
        }
        tlb::forget(address, 1, 1);
        SEALED.store(self.low.page, Ordering::Release);
        Ok(())
    }

    /// The root of the tables, below 4 GiB, as CR3 takes it.
    pub fn root(&self) -> u32 {
        self.root as u32
    }

    /// The pages on either side of the trampoline's, where they are reserved too: physical addresses.
    pub fn neighbours(&self) -> impl Iterator<Item = u64> {
        let beside = [self.low.page - FRAME_BYTES, self.low.page + PAGES * FRAME_BYTES];
        beside.into_iter().take(2 * NEIGHBOURS as usize)
    }
}
