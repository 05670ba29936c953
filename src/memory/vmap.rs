//! Temporary mappings: frames from anywhere, mapped side by side for a while.
//!
//! All of them lie in one region of [`REGION_PAGES`] pages above the stacks, which one page table maps. Its pages are
//! not global, so that a reload of CR3 flushes them and nothing else.
//!
//! Unmapping is the first of two steps. Until every CPU has flushed what its TLB may hold, the frames must not be freed and
//! the addresses must not be used again; so [`Mapping::unmap`] returns a [`StaleRange`], which owns both, and the entries, no
//! longer present, still hold the frames. `smp::shootdown` takes the second step. A mapping or a stale range that is dropped
//! instead stays stale, and the next shootdown on any CPU settles it too.
//!
//! A page of the region is thus in one of four states: *free*; *mapped*, owned by a [`Mapping`]; *stale*, owned by a
//! [`StaleRange`]; *abandoned*: stale, without an owner. Its frame is the allocator's in the first state alone. A handle that is
//! leaked leaves its pages as they are: addresses and frames are lost, and nothing else follows.

use core::fmt;
use core::mem::{ManuallyDrop, MaybeUninit};

use super::boot_alloc::table_frame;
use super::cache::free;
use super::frame_batch::FrameBatch;
use super::frames::{FrameNumber, FreeError, Order};
use super::owned::OwnedFrame;
use super::paging::kernel::tables;
use super::paging::tables::{MapError, Rights};
use super::stacks;
use crate::boot::memory_map::FRAME_BYTES;
use crate::config::MAX_CPUS;
use crate::sync::IrqMutex;

/// Pages of the region: as many as one page table maps, so that only the first mapping ever needs memory for tables.
pub const REGION_PAGES: usize = 512;

const REGION_BYTES: u64 = REGION_PAGES as u64 * FRAME_BYTES;

/// One bit for each page of the region.
type PageBits = [u64; REGION_PAGES / 64];

/// The pages that are not free, and those of them that are abandoned.
static PAGES: IrqMutex<Pages> = IrqMutex::new(Pages { used: [0; 8], abandoned: [0; 8] });
crate::name_lock!(PAGES);

struct Pages {
    used: PageBits,
    abandoned: PageBits,
}

/// Why frames could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmapError {
    /// So many pages in a row are not free in the region. A shootdown may free some: `smp::purge_mappings`.
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

impl core::error::Error for VmapError {}

/// The region: its first address, and one past its last. The page above the stacks stays empty.
pub(crate) fn region() -> (u64, u64) {
    let start = (stacks::region(MAX_CPUS as usize).1 + FRAME_BYTES).next_multiple_of(REGION_BYTES);
    (start, start + REGION_BYTES)
}

/// Adjacent pages of the region, by their numbers.
#[derive(Debug)]
struct PageRange {
    first: usize,
    count: usize,
}

impl PageRange {
    fn pages(&self) -> core::ops::Range<usize> {
        self.first..self.first + self.count
    }
}

/// Frames mapped side by side, to be read and written. It owns them, and the addresses. Its drop unmaps them; frames and
/// addresses are free again after the next shootdown.
///
/// **Context.** Thread or interrupt context, interrupts on or off: all of its functions wait for a lock. Not in an NMI handler,
/// where they panic if the NMI interrupted the lock's holder.
#[derive(Debug)]
#[must_use = "a mapping that is dropped is unmapped"]
pub struct Mapping(PageRange);

/// Addresses that are not mapped any more, though a CPU's TLB may still hold entries for them, and the frames behind them. It
/// owns both. `smp::shootdown` frees them; one that is dropped is left to the next shootdown.
#[derive(Debug)]
#[must_use = "only `smp::shootdown` frees the frames and the addresses at once"]
pub struct StaleRange(PageRange);

/// Maps the frames of the batch side by side, in its order. They belong to the mapping from then on.
///
/// **Context:** as for [`Mapping`].
///
/// # Errors
/// [`VmapError`], and the frames.
pub fn vmap(mut frames: FrameBatch<'_>) -> Result<Mapping, (VmapError, FrameBatch<'_>)> {
    let count = frames.len();
    let Some(first) = take_pages(count) else { return Err((VmapError::NoRoom { pages: count }, frames)) };
    // The last page first: each frame leaves the end of the batch when its page is mapped.
    while let Some(frame) = frames.pop() {
        let page = first + frames.len();
        if let Err(error) = map_page(page, &frame) {
            // There is room: the frame came from there.
            let _ = frames.push(frame);
            let (unused, mapped) = (page + 1 - first, first + count - (page + 1));
            PAGES.lock().free(PageRange { first, count: unused });
            // Only the first page mapped can need a table, so mostly there is none. If there is, its frames go with it.
            drop(Mapping(PageRange { first: page + 1, count: mapped }));
            return Err((VmapError::Map(error), frames));
        }
        frame.into_raw();
    }
    Ok(Mapping(PageRange { first, count }))
}

fn map_page(page: usize, frame: &OwnedFrame) -> Result<(), MapError> {
    let mut tables = tables().lock();
    let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
    let (address, physical) = (address_of(page), frame.physical_address());
    // SAFETY: `take_pages` has given the page to this call alone, and no TLB holds an entry for it: it was never mapped, or
    // it was freed by `settle`, after every CPU had flushed it. The frame is owned, to be read and written.
    unsafe { tables.map(address, physical, FRAME_BYTES, Rights::Temporary, &mut table_frame) }
}

impl Mapping {
    /// The first address, valid for reads and writes of [`bytes`](Self::bytes) on every CPU as long as the mapping lives.
    pub fn as_ptr(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.address() as usize)
    }

    /// The first address.
    pub fn address(&self) -> u64 {
        address_of(self.0.first)
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.0.count
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.0.count * FRAME_BYTES as usize
    }

    /// The memory, as the frames' last owners left it.
    pub fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: `vmap` has mapped all of it, to be read and written, to frames that the mapping owns and of which each page
        // has its own; the exclusive borrow of the mapping is one of its memory.
        unsafe { core::slice::from_raw_parts_mut(self.as_ptr().cast(), self.bytes()) }
    }

    /// Takes it out of the page tables.
    pub fn unmap(self) -> StaleRange {
        let PageRange { first, count } = ManuallyDrop::new(self).0;
        let range = PageRange { first, count };
        if let Some(tables) = tables().lock().as_mut() {
            range.pages().for_each(|page| tables.hide(address_of(page)));
        }
        StaleRange(range)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let PageRange { first, count } = self.0;
        // The stale range is abandoned at once.
        let _ = Mapping(PageRange { first, count }).unmap();
    }
}

impl StaleRange {
    /// The first address.
    pub fn address(&self) -> u64 {
        address_of(self.0.first)
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.0.count
    }

    /// Frees the frames and the addresses. Interrupts may be on or off.
    ///
    /// # Errors
    /// The first error of the frame allocator; that frame is leaked.
    ///
    /// # Safety
    /// Since the range became stale, every CPU that may have used it has flushed it from its TLB.
    pub(crate) unsafe fn settle(self) -> Result<(), FreeError> {
        let PageRange { first, count } = ManuallyDrop::new(self).0;
        let pages = PageRange { first, count };
        // SAFETY: these pages were this stale range's, which is gone, and every CPU has flushed them (the caller's promise).
        let outcome = unsafe { free_frames_of(pages.pages()) };
        PAGES.lock().free(pages);
        outcome
    }
}

impl Drop for StaleRange {
    fn drop(&mut self) {
        let mut pages = PAGES.lock();
        self.0.pages().for_each(|page| pages.abandoned[page / 64] |= 1 << (page % 64));
    }
}

/// Pages that were stale and without an owner. It owns them; if it is dropped, they are abandoned again.
pub(crate) struct AbandonedPages(PageBits);

impl AbandonedPages {
    /// Takes all that there are now.
    pub(crate) fn take() -> AbandonedPages {
        AbandonedPages(core::mem::take(&mut PAGES.lock().abandoned))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// Frees the frames and the addresses.
    ///
    /// # Errors
    /// The first error of the frame allocator; that frame is leaked.
    ///
    /// # Safety
    /// Since [`take`](Self::take), every CPU has flushed the whole region from its TLB.
    pub(crate) unsafe fn settle(self) -> Result<(), FreeError> {
        let bits = ManuallyDrop::new(self).0;
        let pages = (0..REGION_PAGES).filter(|page| bits[page / 64] & 1 << (page % 64) != 0);
        // SAFETY: `take` has taken these pages from the list, so that no other call frees them, and every CPU has flushed them
        // (the caller's promise).
        let outcome = unsafe { free_frames_of(pages.clone()) };
        let mut all = PAGES.lock();
        pages.for_each(|page| all.free(PageRange { first: page, count: 1 }));
        outcome
    }
}

impl Drop for AbandonedPages {
    fn drop(&mut self) {
        let mut pages = PAGES.lock();
        pages.abandoned.iter_mut().zip(self.0).for_each(|(bits, more)| *bits |= more);
    }
}

/// Frees the frames behind stale pages, and makes their entries unused.
///
/// # Safety
/// The caller owns the stale pages, and every CPU has flushed them since they became stale.
unsafe fn free_frames_of(pages: impl Iterator<Item = usize>) -> Result<(), FreeError> {
    let mut outcome = Ok(());
    for page in pages {
        let frame = tables().lock().as_mut().and_then(|tables| tables.forget(address_of(page)));
        let Some(frame) = frame else { continue };
        // SAFETY: the page owned the frame since `vmap`; its entry, which held it until now, is unused, and no TLB holds it any
        // more (the caller's promise).
        let freed = unsafe { free(FrameNumber::containing(frame as usize), Order::FRAME) };
        outcome = outcome.and(freed);
    }
    outcome
}

fn address_of(page: usize) -> u64 {
    region().0 + page as u64 * FRAME_BYTES
}

/// The first free pages in a row.
fn take_pages(count: usize) -> Option<usize> {
    let mut pages = PAGES.lock();
    let mut run = 0;
    for page in 0..REGION_PAGES {
        run = if pages.is_used(page) { 0 } else { run + 1 };
        if run >= count.max(1) {
            let first = page + 1 - run;
            (first..first + count).for_each(|page| pages.used[page / 64] |= 1 << (page % 64));
            return Some(first);
        }
    }
    None
}

impl Pages {
    fn is_used(&self, page: usize) -> bool {
        self.used[page / 64] & 1 << (page % 64) != 0
    }

    fn free(&mut self, range: PageRange) {
        range.pages().for_each(|page| self.used[page / 64] &= !(1 << (page % 64)));
    }
}
