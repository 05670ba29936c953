//! Temporary mappings: frames from anywhere, mapped at adjacent addresses for a limited time.
//!
//! They are in one region of [`REGION_PAGES`] pages above the stacks, which one page table maps. Their pages are not global, so a load of
//! CR3 flushes them and nothing else.
//!
//! To unmap takes two steps. Until every CPU has flushed its TLB, the frames must not be freed and the addresses must not be used again. So
//! [`Mapping::unmap`] returns a [`StaleRange`], which owns both. The entries are not present any more, but still contain the frames.
//! `smp::shootdown` takes the second step. A mapping or a stale range that is dropped instead stays stale until the next shootdown on any
//! CPU.
//!
//! A page of the region is in one of four states: *free*; *mapped*, owned by a [`Mapping`]; *stale*, owned by a [`StaleRange`]; *abandoned*:
//! stale, without an owner. In all but the first state its frame is not the allocator's. A handle that is leaked leaks its addresses and
//! frames; nothing else follows.

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
use crate::sync::SpinLockIrq;

/// Pages of the region: as many as one page table maps. So only the first mapping needs memory for page tables.
pub const REGION_PAGES: usize = 512;

const REGION_BYTES: u64 = REGION_PAGES as u64 * FRAME_BYTES;

/// One bit for each page of the region.
type PageBits = [u64; REGION_PAGES / 64];

/// The pages that are not free, and those of them that are abandoned.
static PAGES: SpinLockIrq<Pages> = SpinLockIrq::new(Pages { used: [0; 8], abandoned: [0; 8] });
crate::name_lock!(PAGES);

struct Pages {
    used: PageBits,
    abandoned: PageBits,
}

/// Why frames could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmapError {
    /// The region has no free range of so many pages. A shootdown may free some: `smp::purge_mappings`.
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
                write!(f, "no {pages} contiguous pages are free of {REGION_PAGES} for temporary mappings")
            }
            VmapError::Map(error) => write!(f, "a temporary mapping: {error}"),
        }
    }
}

impl core::error::Error for VmapError {}

/// The region of temporary mappings: its first address and its end. The page between the stacks and the region is never mapped.
pub(crate) fn region() -> (u64, u64) {
    let start = (stacks::region(MAX_CPUS as usize).1 + FRAME_BYTES).next_multiple_of(REGION_BYTES);
    (start, start + REGION_BYTES)
}

/// Adjacent pages of the region, by number.
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

/// Frames that are mapped at adjacent addresses for reads and writes. It owns the frames and the addresses. Its drop unmaps them; they are
/// free after the next shootdown.
///
/// **Context.** Thread or interrupt context, interrupts on or off: all of its functions wait for a lock. Not in an NMI handler,
/// where they panic if the NMI interrupted the lock's holder.
#[derive(Debug)]
#[must_use = "a mapping that is dropped is unmapped"]
pub struct Mapping(PageRange);

/// Addresses that are not mapped any more, for which a TLB may still have entries, and their frames. It owns both. `smp::shootdown` frees
/// them; the next shootdown frees one that was dropped.
#[derive(Debug)]
#[must_use = "only `smp::shootdown` frees the frames and the addresses at once"]
pub struct StaleRange(PageRange);

/// Maps the frames of the batch at adjacent addresses, in the order of the batch. The mapping owns them from then on.
///
/// **Context:** as for [`Mapping`].
///
/// # Errors
/// [`VmapError`], and the frames that were not mapped.
pub fn vmap(mut frames: FrameBatch<'_>) -> Result<Mapping, (VmapError, FrameBatch<'_>)> {
    let count = frames.len();
    let Some(first) = take_pages(count) else { return Err((VmapError::NoRoom { pages: count }, frames)) };
    // The last page first, because a batch gives frames from its end.
    while let Some(frame) = frames.pop() {
        let page = first + frames.len();
        if let Err(error) = map_page(page, &frame) {
            // There is room: the frame came out of this batch.
            let _ = frames.push(frame);
            let (unused, mapped) = (page + 1 - first, first + count - (page + 1));
            PAGES.lock().free(PageRange { first, count: unused });
            // Only the first page can need a page table, so this mapping is usually empty. If it is not, its frames go with it.
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
    // SAFETY: `take_pages` has given the page to this call alone. No TLB has an entry for it: it was never mapped, or `free` has freed
    // it after every CPU had flushed it. The caller owns the frame.
    unsafe { tables.map(address, physical, FRAME_BYTES, Rights::Temporary, &mut table_frame) }
}

impl Mapping {
    /// A pointer to the first byte, valid for reads and writes of [`bytes`](Self::bytes) on every CPU while the mapping lives.
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

    /// The memory, as the previous owners of the frames left it.
    pub fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: `vmap` has mapped all of it for reads and writes, each page to a frame of its own that the mapping owns. The exclusive
        // borrow of the mapping is one of its memory.
        unsafe { core::slice::from_raw_parts_mut(self.as_ptr().cast(), self.bytes()) }
    }

    /// Removes it from the page tables.
    pub fn unmap(self) -> StaleRange {
        let PageRange { first, count } = ManuallyDrop::new(self).0;
        let range = PageRange { first, count };
        if let Some(tables) = tables().lock().as_mut() {
            range.pages().for_each(|page| tables.unmap(address_of(page)));
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

    /// Frees the frames and the addresses.
    ///
    /// **Context:** thread or interrupt context, interrupts enabled or disabled.
    ///
    /// # Errors
    /// The first error of the frame allocator; that frame is leaked.
    ///
    /// # Safety
    /// Since the range became stale, every CPU that may have used it has flushed it from its TLB.
    pub(crate) unsafe fn free(self) -> Result<(), FreeError> {
        let PageRange { first, count } = ManuallyDrop::new(self).0;
        let pages = PageRange { first, count };
        // SAFETY: this stale range owned the pages and ends here; every CPU has flushed them, guaranteed by the caller (see # Safety).
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

/// Abandoned pages, which it owns. If it is dropped, they are abandoned again.
pub(crate) struct AbandonedPages(PageBits);

impl AbandonedPages {
    /// Takes all abandoned pages.
    pub(crate) fn take() -> AbandonedPages {
        AbandonedPages(core::mem::take(&mut PAGES.lock().abandoned))
    }

    /// How many pages it owns.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// Frees the frames and the addresses.
    ///
    /// **Context:** thread or interrupt context.
    ///
    /// # Errors
    /// The first error of the frame allocator; that frame is leaked.
    ///
    /// # Safety
    /// Since [`take`](Self::take), every CPU has flushed the whole region from its TLB.
    pub(crate) unsafe fn free(self) -> Result<(), FreeError> {
        let bits = ManuallyDrop::new(self).0;
        let pages = (0..REGION_PAGES).filter(|page| bits[page / 64] & 1 << (page % 64) != 0);
        // SAFETY: `take` has removed these pages from the list, so that no other call frees them, and every CPU has flushed them
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

/// Frees the frames of stale pages, and clears their entries.
///
/// # Safety
/// The caller owns the stale pages, and every CPU has flushed them since they became stale.
unsafe fn free_frames_of(pages: impl Iterator<Item = usize>) -> Result<(), FreeError> {
    let mut outcome = Ok(());
    for page in pages {
        let frame = tables().lock().as_mut().and_then(|tables| tables.release_entry(address_of(page)));
        let Some(frame) = frame else { continue };
        // SAFETY: the page has owned the frame since `vmap`. Its entry, which contained it, is cleared, and no TLB has it, guaranteed by
        // the caller (see # Safety).
        let freed = unsafe { free(FrameNumber::containing(frame as usize), Order::FRAME) };
        outcome = outcome.and(freed);
    }
    outcome
}

fn address_of(page: usize) -> u64 {
    region().0 + page as u64 * FRAME_BYTES
}

/// Takes the first free range of so many pages; its first page.
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
