//! The handles: [`Mapping`] and [`StaleRange`].

use core::fmt;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::sync::atomic::Ordering;

use x86_64::structures::paging::PageTableFlags as Flags;

use super::batches::{add_hidden, release_one, unmap_lazily};
use super::contents::{
    BULK, Source, allocate_small, enter_all, enter_one, enter_run, hide, map_large, stale_with,
};
use super::own::{put, with_own};
use super::region::{
    RegionEntries, add_directories, add_page_table, address_of, page_entry, region_pages, with_shared,
};
use super::slots::{SEGMENT_PAGES, Slot, order_for, segments_for};
use crate::boot::memory_map::FRAME_BYTES;
use crate::memory::cache::{alloc, alloc_bulk, alloc_run_at_hand, free, free_bulk};
use crate::memory::frame_batch::FrameBatch;
use crate::memory::frames::{FrameNumber, FreeError, Order};
use crate::memory::paging::entry::Entry;
use crate::memory::paging::tables::MapError;
use crate::sync::tlb::Stale;

/// Why a mapping could not be made. Nothing is mapped then, and no frame is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmapError {
    /// A mapping without pages.
    Empty,
    /// The region has no free addresses for so many pages.
    NoRoom {
        /// How many.
        pages: usize,
    },
    /// Too few frames, for the pages or for page tables.
    Map(MapError),
}

impl fmt::Display for VmapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VmapError::Empty => f.write_str("a mapping must have at least one page"),
            VmapError::NoRoom { pages } => {
                write!(f, "no addresses for a mapping of {pages} pages: the region has {}", region_pages())
            }
            VmapError::Map(error) => write!(f, "a mapping: {error}"),
        }
    }
}

impl core::error::Error for VmapError {}

/// The flags of entries that are present later, for reads and writes. They are not global, so that a load of CR3 flushes them.
const DATA: Flags = Flags::WRITABLE.union(Flags::NO_EXECUTE);

/// Frames that are mapped at adjacent addresses for reads and writes. It owns the frames and the addresses. The page before the first
/// and the page behind the last are never mapped. Its drop unmaps the pages; they are free after a later flush of all TLBs, which many
/// mappings share.
///
/// **Context.** Thread or interrupt, interrupts on or off; not NMI. A drop in an interrupt handler may send interrupts to other CPUs.
#[derive(Debug)]
#[must_use = "a mapping that is dropped is unmapped"]
pub struct Mapping(Slot);

/// Addresses that are not mapped any more, for which a TLB may still have entries, and their frames. It owns both. `smp::shootdown` frees
/// them at once; a drop leaves them to a later flush.
#[derive(Debug)]
#[must_use = "only `smp::shootdown` frees the frames and the addresses at once"]
pub struct StaleRange(Slot);

/// Maps the frames of the batch at adjacent addresses, in the order of the batch. The mapping owns them from then on.
///
/// **Context:** as for [`Mapping`].
///
/// # Errors
/// [`VmapError`], and the frames.
pub fn vmap(frames: FrameBatch<'_>) -> Result<Mapping, (VmapError, FrameBatch<'_>)> {
    let slot = match take_slot(frames.len()) {
        Ok(slot) => slot,
        Err(error) => return Err((error, frames)),
    };
    if slot.is_large() {
        // SAFETY: `take_slot` has given the slot to this call alone, for as many pages as the batch has frames, which it owns.
        if let Err(error) = unsafe { map_large(slot, &Source::Given(frames.numbers()), DATA) } {
            put(slot);
            return Err((VmapError::Map(error), frames));
        }
    } else {
        // SAFETY: `take_slot` has given the slot to this call alone, unmapped, and the batch owns its frames until `into_raw` below.
        unsafe { enter_all(slot, frames.numbers(), DATA) };
    }
    frames.into_raw();
    Ok(Mapping(slot))
}

/// Takes addresses for so many pages.
#[inline(always)]
pub(super) fn take_slot(pages: usize) -> Result<Slot, VmapError> {
    let no_room = VmapError::NoRoom { pages };
    if pages >= region_pages() {
        return Err(no_room);
    }
    let pages = pages as u32;
    let order = order_for(pages);
    // Also where there are no pages.
    if order == 0 { take_segments(pages) } else { take_small(pages, order) }
}

/// Takes a slot of this order.
#[inline(always)]
fn take_small(pages: u32, order: u8) -> Result<Slot, VmapError> {
    let taken = with_own(|ranges| {
        ranges.counts.maps += 1;
        ranges.take(&RegionEntries, order, pages)
    });
    match taken {
        Some(slot) => Ok(slot),
        None => take_from_shared(pages, order),
    }
}

/// Takes addresses from what the CPUs share.
#[cold]
#[inline(never)]
fn take_from_shared(pages: u32, order: u8) -> Result<Slot, VmapError> {
    // An interrupt handler may take the last slot between the refill and the search.
    loop {
        let refilled = with_own(|ranges| {
            if let Some(slot) = ranges.take(&RegionEntries, order, pages) {
                return Ok(Some(slot));
            }
            with_shared(|shared| ranges.refill(&RegionEntries, order, shared, add_page_table))?;
            Ok(ranges.take(&RegionEntries, order, pages))
        });
        match refilled {
            Ok(Some(slot)) => return Ok(slot),
            Ok(None) => {}
            Err(None) => return Err(VmapError::NoRoom { pages: pages as usize }),
            Err(Some(error)) => return Err(VmapError::Map(error)),
        }
    }
}

/// Takes whole segments.
#[cold]
#[inline(never)]
fn take_segments(pages: u32) -> Result<Slot, VmapError> {
    if pages == 0 {
        return Err(VmapError::Empty);
    }
    with_own(|ranges| ranges.counts.maps += 1);
    let first = with_shared(|shared| shared.segments.take(segments_for(pages)));
    let first = first.ok_or(VmapError::NoRoom { pages: pages as usize })?;
    let count = segments_for(pages);
    if let Err(error) = add_directories(first, count) {
        with_shared(|shared| shared.segments.release(first, count));
        return Err(VmapError::Map(error));
    }
    Ok(Slot::new(&RegionEntries, first * SEGMENT_PAGES, pages, 0))
}

impl Mapping {
    /// Allocates so many frames and maps them at adjacent addresses. A mapping of 2 MiB or more has pages of 2 MiB where whole blocks
    /// are free. The content is unspecified.
    ///
    /// **Context:** as for [`Mapping`]. With interrupts on it may wait for other CPUs, as an allocation of frames.
    ///
    /// # Errors
    /// [`VmapError`].
    #[inline]
    pub fn new(pages: usize) -> Result<Mapping, VmapError> {
        if pages == 1 {
            return Mapping::one();
        }
        if pages > BULK {
            return Mapping::new_large(pages);
        }
        // Frames before addresses: an allocation may wait for other CPUs and flush what they have unmapped. One run costs less than
        // many frames.
        if pages.is_power_of_two()
            && let Some(order) = Order::new(pages.trailing_zeros() as u8)
            && let Some(run) = alloc_run_at_hand(order)
        {
            // The slot has the run's pages and a guard: its order is one more.
            return match take_small(pages as u32, order.get() + 1) {
                Ok(slot) => {
                    // SAFETY: `take_small` has given the slot to this call alone, unmapped, and the run was allocated above. The slot's order
                    // is one more than the run's.
                    unsafe { enter_run(slot, run, DATA) };
                    Ok(Mapping(slot))
                }
                Err(error) => {
                    free_run(run, order);
                    Err(error)
                }
            };
        }
        let mut buffer = [const { MaybeUninit::<FrameNumber>::uninit() }; BULK];
        let frames = alloc_frames(&mut buffer, pages).ok_or(VmapError::Map(MapError::OutOfFrames))?;
        match take_slot(pages) {
            Ok(slot) => {
                // SAFETY: `take_slot` has given the slot to this call alone, unmapped, and the frames were allocated above.
                unsafe { enter_all(slot, frames, DATA) };
                Ok(Mapping(slot))
            }
            Err(error) => {
                free_frames(frames);
                Err(error)
            }
        }
    }

    /// A mapping of one page.
    #[inline(always)]
    fn one() -> Result<Mapping, VmapError> {
        let frame = alloc(Order::FRAME).ok_or(VmapError::Map(MapError::OutOfFrames))?;
        match take_small(1, 1) {
            Ok(slot) => {
                // SAFETY: `take_small` has given the slot to this call alone, unmapped, and the frame was allocated above.
                unsafe { enter_one(slot, frame, DATA) };
                Ok(Mapping(slot))
            }
            Err(error) => {
                free_frames(&[frame]);
                Err(error)
            }
        }
    }

    #[inline(never)]
    fn new_large(pages: usize) -> Result<Mapping, VmapError> {
        let slot = take_slot(pages)?;
        let mapped = if slot.is_large() {
            // SAFETY: `take_slot` has given the slot to this call alone, unmapped.
            unsafe { map_large(slot, &Source::New, DATA) }
        } else {
            // SAFETY: `take_slot` has given the slot to this call alone, unmapped.
            unsafe { allocate_small(slot, DATA) }
        };
        match mapped {
            Ok(()) => Ok(Mapping(slot)),
            Err(error) => {
                put(slot);
                Err(VmapError::Map(error))
            }
        }
    }

    pub(super) fn slot(&self) -> Slot {
        self.0
    }

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
        self.0.pages as usize
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.pages() * FRAME_BYTES as usize
    }

    /// Returns how many pages at the end of the mapping were written, without a page between that was not. `known`: so many were, as far as
    /// the caller knows. By the dirty bits, which other CPUs may set meanwhile.
    #[inline(always)]
    pub(crate) fn written_pages_from_end(&self, known: u32) -> u32 {
        let is_written =
            |page: u32| Entry(page_entry(self.0.first + page).load(Ordering::Relaxed)).has(Flags::DIRTY);
        let mut written = known;
        while written < self.0.pages && is_written(self.0.pages - 1 - written) {
            written += 1;
        }
        written
    }

    /// The memory, as the previous owners of the frames left it.
    pub fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: all of it is mapped for reads and writes, each page to a frame of its own that the mapping owns (`vmap`, `new`). The
        // exclusive borrow of the mapping is one of its memory.
        unsafe { core::slice::from_raw_parts_mut(self.as_ptr().cast(), self.bytes()) }
    }

    /// Unmaps it, for `smp::shootdown`, which frees frames and addresses at once.
    pub fn unmap(self) -> StaleRange {
        let slot = ManuallyDrop::new(self).0;
        // SAFETY: this mapping owned the slot and ends here, and every borrow of its pages with it.
        unsafe { hide(slot) };
        StaleRange(slot)
    }
}

impl Drop for Mapping {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this mapping owned the slot and ends here, and every borrow of its pages with it.
        unsafe { unmap_lazily(self.0) };
    }
}

impl StaleRange {
    /// The first address.
    pub fn address(&self) -> u64 {
        address_of(self.0.first)
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.0.pages as usize
    }

    /// What is freed with it.
    pub(crate) fn stale(&self) -> Stale {
        stale_with(self.0)
    }

    /// Frees the frames and the addresses.
    ///
    /// **Context:** thread or interrupt context, interrupts enabled or disabled.
    ///
    /// # Errors
    /// The first error of the frame allocator; that frame is leaked.
    ///
    /// # Safety
    /// A generation has begun since the range became stale, and every CPU covers it for [`stale`](Self::stale).
    pub(crate) unsafe fn free(self) -> Result<(), FreeError> {
        let slot = ManuallyDrop::new(self).0;
        // SAFETY: this stale range owned the slot and ends here; every CPU has flushed it, guaranteed by the caller (see # Safety).
        unsafe { release_one(slot) }
    }
}

impl Drop for StaleRange {
    fn drop(&mut self) {
        // SAFETY: this stale range owned the slot, which `Mapping::unmap` has unmapped, and ends here.
        unsafe { add_hidden(self.0, stale_with(self.0)) };
    }
}

/// Allocates so many frames into the buffer, or none.
#[inline(always)]
fn alloc_frames(buffer: &mut [MaybeUninit<FrameNumber>; BULK], pages: usize) -> Option<&[FrameNumber]> {
    let wanted = &mut buffer[..pages];
    wanted.fill(MaybeUninit::new(FrameNumber::new(0)));
    // SAFETY: all elements were written above.
    let wanted = unsafe { wanted.assume_init_mut() };
    let mut taken = alloc_bulk(wanted);
    while taken < pages {
        // Waits for other CPUs, where the context allows that.
        let Some(frame) = alloc(Order::FRAME) else {
            free_frames(&wanted[..taken]);
            return None;
        };
        wanted[taken] = frame;
        taken += 1;
    }
    Some(wanted)
}

#[cold]
#[inline(never)]
fn free_run(run: FrameNumber, order: Order) {
    // SAFETY: the caller has just allocated the run, and nothing uses it.
    if let Err(error) = unsafe { free(run, order) } {
        log::error!("frames leaked: {error}");
    }
}

#[cold]
#[inline(never)]
fn free_frames(frames: &[FrameNumber]) {
    // SAFETY: the caller has just allocated these frames, and nothing uses them.
    if let Err(error) = unsafe { free_bulk(frames) } {
        log::error!("frames leaked: {error}");
    }
}
