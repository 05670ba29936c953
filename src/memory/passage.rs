//! The way into long mode for the other CPUs: a page below 1 MiB that they wake up in, and tables of their own that show
//! it where it lies. The kernel's tree never has anything in the lower half, so nothing has to be taken out of it.

use super::init::{LOW_RAM_END, tables};
use super::paging::{MapError, PageTables, Rights};
use crate::boot::direct_map::EARLY_LIMIT;
use crate::boot::memory_map::{FRAME_BYTES, MemoryMap, PhysRange, ReservedReason};

/// What the other CPUs need in order to wake up: frames in reach of real mode and of 32-bit code. Kept for good, for a
/// CPU may come late, or be called later.
#[derive(Debug)]
pub struct LowMemory {
    /// A page below 1 MiB.
    page: u64,
    /// Frames below 4 GiB for the page tables of [`Passage`].
    tables: PhysRange,
}

/// Pages on either side of the trampoline's that are reserved with it. A kernel for tests has them to see that they stay
/// as they are.
const NEIGHBOURS: u64 = cfg!(feature = "faults") as u64;

/// How many page tables lead to one page in the lower half.
const PASSAGE_TABLES: u64 = 4;

/// Page tables to enter long mode with: the kernel's half, and one page of the lower half at its physical address.
#[derive(Debug)]
pub struct Passage {
    low: LowMemory,
    root: u64,
}

impl LowMemory {
    /// Takes what is needed out of the map; `None` where there is no page below 1 MiB.
    pub(super) fn reserve(map: &mut MemoryMap) -> Option<LowMemory> {
        let pages = map.find_usable_below(LOW_RAM_END, (1 + 2 * NEIGHBOURS) * FRAME_BYTES, FRAME_BYTES)?;
        let _ = map.reserve(pages, ReservedReason::Trampoline);
        let tables = map.find_usable_below(EARLY_LIMIT, PASSAGE_TABLES * FRAME_BYTES, FRAME_BYTES)?;
        let _ = map.reserve(tables, ReservedReason::Trampoline);
        Some(LowMemory { page: pages.start + NEIGHBOURS * FRAME_BYTES, tables })
    }

    /// Builds the passage. What the kernel maps later in parts of its half that are empty now is not in it.
    pub fn open(self) -> Result<Passage, MapError> {
        let mut next = (self.tables.start..self.tables.end).step_by(FRAME_BYTES as usize);
        let mut source = || next.next();
        let mut passage = PageTables::new(false, &mut source)?;
        // SAFETY: the tree is not live; the page is this structure's own.
        unsafe { passage.map(self.page, self.page, FRAME_BYTES, Rights::Text, &mut source) }?;
        let kernel = tables().lock();
        let kernel = kernel.as_ref().ok_or(MapError::OutOfFrames)?;
        for slot in 256..512u64 {
            let address = 0xffff_0000_0000_0000 | slot << 39;
            passage.share_root_entry(address, kernel.root_entry(address));
        }
        Ok(Passage { low: self, root: passage.root() })
    }

    /// The page's physical address.
    pub fn page(&self) -> u64 {
        self.page
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

    /// The pages on either side of the trampoline's, where they are reserved too: physical addresses.
    pub fn neighbours(&self) -> impl Iterator<Item = u64> {
        let beside = [self.low.page - FRAME_BYTES, self.low.page + FRAME_BYTES];
        beside.into_iter().take(2 * NEIGHBOURS as usize)
    }
}
