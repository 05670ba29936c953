//! The way into long mode for the other CPUs: a page below 1 MiB that they wake up in, and tables of their own that show
//! it where it lies. The kernel's tree never has anything in the lower half, so nothing has to be taken out of it.

use super::frames::FrameNumber;
use super::init::{LOW_RAM_END, MemoryError, tables};
use super::paging::{MapError, PageTables, Rights};
use crate::boot::direct_map::EARLY_LIMIT;
use crate::boot::memory_map::{FRAME_BYTES, MemoryMap, PhysRange, ReservedReason};

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

/// Page tables to enter long mode with: the kernel's half, and one page of the lower half at its physical address.
#[derive(Debug)]
pub struct Passage {
    low: LowMemory,
    root: u64,
}

impl LowMemory {
    /// Takes what is needed out of the map; `None` where there is no page below 1 MiB.
    pub(super) fn reserve(map: &mut MemoryMap) -> Option<LowMemory> {
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
        let kernel = tables().lock();
        let kernel = kernel.as_ref().ok_or(MapError::OutOfFrames)?;
        for slot in 256..512u64 {
            let address = 0xffff_0000_0000_0000 | slot << 39;
            passage.share_root_entry(address, kernel.root_entry(address));
        }
        Ok(Passage { low: self, root: passage.root() })
    }

    /// Gives the page and the tables' frames to the frame allocator.
    ///
    /// # Safety
    /// No CPU uses either any more, or ever will.
    pub unsafe fn give_back(self) -> Result<(), MemoryError> {
        let frames = super::frames();
        let tables = self.tables.whole_frames();
        for frame in tables.chain(PhysRange::new(self.page, self.page + FRAME_BYTES).whole_frames()) {
            let frame = frame as usize;
            let _guard = crate::cpu::IrqGuard::new();
            // SAFETY: usable RAM that `LowMemory::reserve` took from the map; the caller vouches that it is free.
            unsafe { frames.insert(FrameNumber::new(frame)..FrameNumber::new(frame + 1)) }
                .map_err(MemoryError::Insert)?;
        }
        Ok(())
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
    /// As for [`LowMemory::give_back`].
    pub unsafe fn close(self) -> Result<(), MemoryError> {
        // SAFETY: the caller vouches.
        unsafe { self.low.give_back() }
    }
}
