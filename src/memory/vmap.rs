//! Temporary mappings: frames from anywhere, shown side by side for a while.
//!
//! All of them lie in one region of [`REGION_PAGES`] pages above the stacks, which one page table shows. Its pages are
//! not global, so that a reload of CR3 forgets them and nothing else.
//!
//! To unmap is the first of two steps. Until every CPU has dropped what its TLB may hold, the frames must not go back and
//! the addresses must not be used again; so [`Mapping::unmap`] gives a [`StaleRange`], and the entries, no longer present,
//! still name the frames. `smp::shootdown` takes the second step. A range that it is not given, or that it cannot
//! settle, is lost, which is a leak and nothing worse.

use core::fmt;

use super::frames::{FrameNumber, FreeError, Order};
use super::init::{table_frame, tables};
use super::paging::{MapError, Rights};
use super::{free, stacks};
use crate::boot::memory_map::FRAME_BYTES;
use crate::config::MAX_CPUS;
use crate::sync::IrqMutex;

/// Pages of the region: as many as one page table shows, so that only the first mapping ever needs memory for tables.
pub const REGION_PAGES: usize = 512;

const REGION_BYTES: u64 = REGION_PAGES as u64 * FRAME_BYTES;

/// One bit for each page that is mapped or stale.
static USED: IrqMutex<[u64; REGION_PAGES / 64]> = IrqMutex::new([0; REGION_PAGES / 64]);
crate::name_lock!(USED);

/// Why frames could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmapError {
    /// So many pages in a row are not free in the region.
    NoRoom {
        /// How many.
        pages: usize,
    },
    /// The page tables.
    Map(MapError),
}

impl fmt::Display for VmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VmapError::NoRoom { pages } => {
                write!(f, "{pages} pages in a row are not free of {REGION_PAGES} for temporary mappings")
            }
            VmapError::Map(error) => write!(f, "a temporary mapping: {error}"),
        }
    }
}

/// The region: its first address, and one past its last. The page above the stacks stays empty.
pub fn region() -> (u64, u64) {
    let start = (stacks::region(MAX_CPUS as usize).1 + FRAME_BYTES).next_multiple_of(REGION_BYTES);
    (start, start + REGION_BYTES)
}

/// Frames that lie side by side, in ascending order, to be read and written. It owns them.
#[derive(Debug)]
#[must_use = "what is not unmapped is lost, with its frames"]
pub struct Mapping {
    page: usize,
    pages: usize,
}

/// Addresses that lead nowhere any more, though a CPU's TLB may still say otherwise, and the frames behind them.
#[derive(Debug)]
#[must_use = "only `smp::shootdown` gives the frames and the addresses back"]
pub struct StaleRange {
    page: usize,
    pages: usize,
}

/// Maps single frames, which from then on belong to the mapping. Interrupts may be on or off; waits for locks.
///
/// # Errors
/// [`VmapError`]; the frames are still the caller's.
pub fn vmap(frames: &[FrameNumber]) -> Result<Mapping, VmapError> {
    let pages = frames.len();
    let page = take_pages(pages).ok_or(VmapError::NoRoom { pages })?;
    let mut tables = tables().lock();
    let result = tables.as_mut().ok_or(MapError::OutOfFrames).and_then(|tables| {
        for (index, frame) in frames.iter().enumerate() {
            let physical = frame.address() as u64;
            // SAFETY: the address is this mapping's alone, and no TLB holds anything of it: it was never mapped, or was
            // settled since. The frame is the caller's, to be read and written.
            unsafe {
                tables.map(
                    address_of(page + index),
                    physical,
                    FRAME_BYTES,
                    Rights::Temporary,
                    &mut table_frame,
                )
            }?;
        }
        Ok(())
    });
    match result {
        Ok(()) => Ok(Mapping { page, pages }),
        Err(error) => {
            // Only the first page can need a table, so none is mapped.
            give_pages(page, pages);
            Err(VmapError::Map(error))
        }
    }
}

impl Mapping {
    /// Where it begins.
    pub fn pointer(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.address() as usize)
    }

    /// Where it begins.
    pub fn address(&self) -> u64 {
        address_of(self.page)
    }

    /// How many pages it has.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Takes it out of the page tables. Interrupts may be on or off; waits for a lock.
    pub fn unmap(self) -> StaleRange {
        if let Some(tables) = tables().lock().as_mut() {
            for page in self.page..self.page + self.pages {
                tables.hide(address_of(page));
            }
        }
        StaleRange { page: self.page, pages: self.pages }
    }
}

impl StaleRange {
    /// Where it begins.
    pub fn address(&self) -> u64 {
        address_of(self.page)
    }

    /// How many pages it has.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Gives back the frames and the addresses. Interrupts may be on or off.
    ///
    /// # Errors
    /// The first frame that the allocator did not take back, because it was free already.
    ///
    /// # Safety
    /// Since the range became stale, every CPU that may have used it has dropped it from its TLB.
    pub unsafe fn settle(self) -> Result<(), FreeError> {
        let mut outcome = Ok(());
        for page in self.page..self.page + self.pages {
            let frame = tables().lock().as_mut().and_then(|tables| tables.forget(address_of(page)));
            let Some(frame) = frame else { continue };
            let freed = free(FrameNumber::new((frame / FRAME_BYTES) as usize), Order::FRAME);
            outcome = outcome.and(freed);
        }
        give_pages(self.page, self.pages);
        outcome
    }
}

fn address_of(page: usize) -> u64 {
    region().0 + page as u64 * FRAME_BYTES
}

/// The first free pages in a row.
fn take_pages(pages: usize) -> Option<usize> {
    let mut used = USED.lock();
    let is_used = |used: &[u64], page: usize| used[page / 64] & 1 << (page % 64) != 0;
    let mut run = 0;
    for page in 0..REGION_PAGES {
        run = if is_used(&*used, page) { 0 } else { run + 1 };
        if run >= pages.max(1) {
            let first = page + 1 - run;
            (first..first + pages).for_each(|page| used[page / 64] |= 1 << (page % 64));
            return Some(first);
        }
    }
    None
}

fn give_pages(first: usize, pages: usize) {
    let mut used = USED.lock();
    (first..first + pages).for_each(|page| used[page / 64] &= !(1 << (page % 64)));
}
