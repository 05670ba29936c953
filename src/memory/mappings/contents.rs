//! The entries of a slot: frames that are mapped, and taken out again.
//!
//! A mapping is made in two steps. The frames are entered by entries that are not present; then all entries become present. So a call
//! that fails has shown nothing, and takes its frames back without a flush. An unmapped entry keeps its frame until the flush.

use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::structures::paging::PageTableFlags as Flags;

use super::region::{
    new_page_table, only_entry, page_entries, page_table_freed, segment_entry, slot_entries,
};
use super::slots::{SEGMENT_PAGES, Slot};
use crate::boot::memory_map::FRAME_BYTES;
use crate::memory::cache::{alloc_bulk, alloc_nowait, free, free_bulk};
use crate::memory::frames::{FrameNumber, FreeError, Order};
use crate::memory::paging::entry::{Entry, SMALL_PAGE_PAT};
use crate::memory::paging::kernel::tables;
use crate::memory::paging::tables::{MapError, entry_of};
use crate::sync::tlb::Stale;

/// In an entry: the frame is not the mapping's own, as it is a device's. The processor ignores the bit (SDM Vol. 3A, table 4-20).
pub(super) const BORROWED: Flags = Flags::BIT_9;

/// Frames that are allocated or freed in one call.
pub(super) const BULK: usize = 64;

/// Frames that are freed, many at once.
pub(super) struct Freed {
    buffer: [FrameNumber; BULK],
    len: usize,
    /// The first error of the allocator; that frame is leaked.
    outcome: Result<(), FreeError>,
}

impl Freed {
    pub(super) fn new() -> Freed {
        Freed { buffer: [FrameNumber::new(0); BULK], len: 0, outcome: Ok(()) }
    }

    /// Adds the frame of an entry.
    ///
    /// # Safety
    /// The frame is the caller's, allocated as a single one, unless the entry has [`BORROWED`]. Nothing leads to it, and no TLB has it.
    #[inline(always)]
    unsafe fn add(&mut self, entry: Entry) {
        if entry.has(BORROWED) {
            return;
        }
        if self.len == BULK {
            self.free();
        }
        self.buffer[self.len] = FrameNumber::containing(entry.address() as usize);
        self.len += 1;
    }

    #[inline(never)]
    fn free(&mut self) {
        // SAFETY: `add` alone fills the buffer, and its callers have given up frames of their own that nothing leads to (see its # Safety).
        let freed = unsafe { free_bulk(&self.buffer[..self.len]) };
        self.len = 0;
        self.note(freed);
    }

    fn note(&mut self, freed: Result<(), FreeError>) {
        if let Err(error) = freed {
            log::error!("frames of a mapping leaked: {error}");
            self.outcome = self.outcome.and(Err(error));
        }
    }

    /// Frees the rest. Returns the first error.
    pub(super) fn finish(mut self) -> Result<(), FreeError> {
        if self.len > 0 {
            self.free();
        }
        self.outcome
    }
}

/// Enters frames from a page on, without making them present. The pages have a page table.
///
/// # Safety
/// The caller owns the pages' slot, no page of it is present, and it owns the frames.
unsafe fn enter(first: u32, frames: &[FrameNumber], flags: Flags) {
    for (place, frame) in page_entries(first, frames.len() as u32).iter().zip(frames) {
        place.store(Entry::new(frame.address() as u64, flags).0, Ordering::Relaxed);
    }
}

/// Maps frames to a small slot, which has as many pages.
///
/// # Safety
/// The caller owns the slot, no page of it is present, and it owns the frames.
#[inline(always)]
pub(super) unsafe fn enter_all(slot: Slot, frames: &[FrameNumber], flags: Flags) {
    for (place, frame) in slot_entries(slot).iter().zip(frames) {
        place.store(Entry::new(frame.address() as u64, flags | Flags::PRESENT).0, Ordering::Relaxed);
    }
}

/// Maps a frame to a slot of one page.
///
/// # Safety
/// As for [`enter_all`].
#[inline(always)]
pub(super) unsafe fn enter_one(slot: Slot, frame: FrameNumber, flags: Flags) {
    only_entry(slot).store(Entry::new(frame.address() as u64, flags | Flags::PRESENT).0, Ordering::Relaxed);
}

/// Maps contiguous frames, which were allocated together, to a small slot of as many pages.
///
/// # Safety
/// As for [`enter_all`]. The run has half as many frames as the slot has pages with its guard.
#[inline(always)]
pub(super) unsafe fn enter_run(slot: Slot, run: FrameNumber, flags: Flags) {
    let entries = slot_entries(slot);
    let mut entry = Entry::new(run.address() as u64, flags | Flags::PRESENT).0;
    for place in entries {
        place.store(entry, Ordering::Relaxed);
        entry += FRAME_BYTES;
    }
    if let Some(first) = entries.first() {
        first.store(first.load(Ordering::Relaxed) | RUN.bits(), Ordering::Relaxed);
    }
}

/// Allocates frames for `pages` pages from `first` on, whose segments have page tables, and enters them. Returns how many it has entered
/// if there are too few frames.
///
/// # Errors
/// The number of pages that have frames.
///
/// # Safety
/// The caller owns the pages' slot, and no page of it is present.
unsafe fn allocate_into(first: u32, pages: u32, flags: Flags) -> Result<(), u32> {
    let mut done = 0;
    while done < pages {
        let mut buffer = [FrameNumber::new(0); BULK];
        let wanted = ((pages - done) as usize).min(BULK);
        let mut taken = alloc_bulk(&mut buffer[..wanted]);
        if taken == 0 {
            // Waits for other CPUs, where the context allows that.
            let Some(frame) = crate::memory::cache::alloc(Order::FRAME) else { return Err(done) };
            buffer[0] = frame;
            taken = 1;
        }
        // SAFETY: the caller owns the slot (see # Safety), and the frames were allocated above.
        unsafe { enter(first + done, &buffer[..taken], flags) };
        done += taken as u32;
    }
    Ok(())
}

/// Allocates frames for a small slot of more than [`BULK`] pages, and maps them.
///
/// # Errors
/// Too few frames. All are free again.
///
/// # Safety
/// The caller owns the slot, and no page of it is present.
pub(super) unsafe fn allocate_small(slot: Slot, flags: Flags) -> Result<(), MapError> {
    // SAFETY: the caller owns the slot (see # Safety).
    if let Err(entered) = unsafe { allocate_into(slot.first, slot.pages, flags) } {
        let mut freed = Freed::new();
        // SAFETY: `allocate_into` has entered frames of the slot's own for so many pages, none of which was ever present.
        unsafe { remove_pages(Slot { pages: entered, ..slot }, &mut freed) };
        let _ = freed.finish();
        return Err(MapError::OutOfFrames);
    }
    for place in slot_entries(slot) {
        place.store(place.load(Ordering::Relaxed) | Flags::PRESENT.bits(), Ordering::Relaxed);
    }
    Ok(())
}

/// The frames of a large mapping.
pub(super) enum Source<'a> {
    /// New frames, blocks of 2 MiB where there are any.
    New,
    /// These frames.
    Given(&'a [FrameNumber]),
    /// Physical memory from this address on, which is not the mapping's own.
    Physical(u64),
}

/// Maps a large slot.
///
/// # Errors
/// Too few frames. New frames are free again, given ones are not touched.
///
/// # Safety
/// The caller owns the slot, and its segments' entries are 0. It owns the given frames, which are as many as the slot has pages.
/// Accesses to physical memory by the mapping are its user's responsibility.
pub(super) unsafe fn map_large(slot: Slot, source: &Source<'_>, flags: Flags) -> Result<(), MapError> {
    let first = slot.first / SEGMENT_PAGES;
    let segments = slot.pages.div_ceil(SEGMENT_PAGES);
    for index in 0..segments {
        let done = index * SEGMENT_PAGES;
        let pages = (slot.pages - done).min(SEGMENT_PAGES);
        // SAFETY: the segment is the slot's, which the caller owns (see # Safety).
        if let Err(error) = unsafe { enter_segment(first + index, done, pages, source, flags) } {
            // Nothing is present yet, so no flush is needed.
            let mut freed = Freed::new();
            let is_given = matches!(source, Source::Given(_));
            for segment in first..first + index {
                // SAFETY: `enter_segment` has filled the segment, whose entry was never present, with what it has allocated.
                unsafe { remove_segment(segment, is_given, &mut freed) };
            }
            let _ = freed.finish();
            return Err(error);
        }
    }
    for segment in first..first + segments {
        let place = segment_entry(segment);
        // Release: the table is filled before its entry becomes present.
        place.store(place.load(Ordering::Relaxed) | Flags::PRESENT.bits(), Ordering::Release);
    }
    Ok(())
}

/// Fills a segment of a large mapping. Its entry is not present yet. If it fails, the entry is 0.
///
/// # Safety
/// As for [`map_large`], for this segment.
unsafe fn enter_segment(
    segment: u32,
    done: u32,
    pages: u32,
    source: &Source<'_>,
    flags: Flags,
) -> Result<(), MapError> {
    let place = segment_entry(segment);
    let huge = Flags::HUGE_PAGE | flags;
    if pages == SEGMENT_PAGES {
        match source {
            Source::New => {
                if let Some(block) = alloc_nowait(Order::BLOCK) {
                    place.store(Entry::new(block.address() as u64, huge).0, Ordering::Relaxed);
                    return Ok(());
                }
            }
            Source::Given(frames) => {
                let frames = &frames[done as usize..][..SEGMENT_PAGES as usize];
                let is_block = frames[0].is_aligned_to(Order::BLOCK)
                    && frames.iter().enumerate().all(|(index, frame)| *frame == frames[0] + index);
                if is_block {
                    // The frames were allocated one by one and are freed one by one, which `free` of a block refuses.
                    let huge = huge | SINGLES;
                    place.store(Entry::new(frames[0].address() as u64, huge).0, Ordering::Relaxed);
                    return Ok(());
                }
            }
            Source::Physical(address) => {
                let address = address + u64::from(done) * FRAME_BYTES;
                // The PAT bit of a large page is another one.
                if address.is_multiple_of(u64::from(SEGMENT_PAGES) * FRAME_BYTES)
                    && !flags.contains(SMALL_PAGE_PAT)
                {
                    place.store(Entry::new(address, huge).0, Ordering::Relaxed);
                    return Ok(());
                }
            }
        }
    }
    let table = new_page_table()?;
    // Not linked yet: its entries may be present.
    let fill = |index: u32, frame: FrameNumber| {
        let entry = Entry::new(frame.address() as u64, flags | Flags::PRESENT);
        // SAFETY: the table was made above, and only this call uses it.
        unsafe { entry_of(table.address(), index as usize) }.store(entry.0, Ordering::Relaxed);
    };
    let entered = match source {
        Source::Given(frames) => {
            let frames = &frames[done as usize..][..pages as usize];
            (0..).zip(frames).for_each(|(index, frame)| fill(index, *frame));
            pages
        }
        Source::Physical(address) => {
            let first = FrameNumber::containing((address + u64::from(done) * FRAME_BYTES) as usize);
            (0..pages).for_each(|index| fill(index, first + index as usize));
            pages
        }
        Source::New => (0..pages)
            .find(|index| match crate::memory::cache::alloc(Order::FRAME) {
                Some(frame) => {
                    fill(*index, frame);
                    false
                }
                None => true,
            })
            .unwrap_or(pages),
    };
    place.store(table.0 & !Flags::PRESENT.bits(), Ordering::Relaxed);
    if entered < pages {
        let mut freed = Freed::new();
        // SAFETY: only new frames can be too few. The segment's entry, stored above, was never present.
        unsafe { remove_segment(segment, false, &mut freed) };
        let _ = freed.finish();
        return Err(MapError::OutOfFrames);
    }
    Ok(())
}

/// In the entry of the first page: the frames of all pages were allocated as one run, and are freed as one.
const RUN: Flags = Flags::BIT_11;

/// In the entry of a large page: its frames are freed one by one.
const SINGLES: Flags = Flags::BIT_10;

/// Maps contiguous physical memory, which is not the mapping's own, to a small slot.
///
/// # Safety
/// The caller owns the slot, no page of it is present, and the flags have [`BORROWED`].
pub(super) unsafe fn enter_physical(slot: Slot, physical: u64, flags: Flags) {
    for (index, place) in (0..).zip(slot_entries(slot)) {
        let entry = Entry::new(physical + index * FRAME_BYTES, flags | Flags::PRESENT);
        place.store(entry.0, Ordering::Relaxed);
    }
}

/// Clears and sets flags of all pages of a slot that is mapped.
///
/// # Safety
/// The caller owns the slot, and what it allows its users agrees with the new flags. The frames and sizes of pages stay as they are.
pub(super) unsafe fn change_flags(slot: Slot, clear: Flags, set: Flags) {
    let change = |place: &AtomicU64| {
        // One operation: a processor may set the accessed or the dirty bit at the same time.
        place.fetch_and(!clear.bits(), Ordering::Relaxed);
        place.fetch_or(set.bits(), Ordering::Relaxed);
    };
    for page in (slot.first..slot.first + slot.pages).step_by(SEGMENT_PAGES as usize) {
        let place = segment_entry(page / SEGMENT_PAGES);
        if Entry(place.load(Ordering::Relaxed)).has(Flags::HUGE_PAGE) {
            change(place);
        } else {
            let end = (page + SEGMENT_PAGES).min(slot.first + slot.pages);
            page_entries(page, end - page).iter().for_each(change);
        }
    }
}

/// Makes a slot's entries not present. They keep the frames.
///
/// # Safety
/// The caller owns the slot, and nothing refers to its pages any more.
#[inline(always)]
pub(super) unsafe fn hide(slot: Slot) {
    if slot.is_large() {
        // SAFETY: nothing refers to the pages of the slot, which this owns, guaranteed by the caller (see # Safety).
        unsafe { hide_large(slot) };
        return;
    }
    if slot.order == 1 {
        let place = only_entry(slot);
        place.store(place.load(Ordering::Relaxed) & !Flags::PRESENT.bits(), Ordering::Relaxed);
        return;
    }
    for place in slot_entries(slot) {
        // Accessed and dirty bits that a processor sets meanwhile may be lost: nothing reads them.
        place.store(place.load(Ordering::Relaxed) & !Flags::PRESENT.bits(), Ordering::Relaxed);
    }
}

/// # Safety
/// As for [`hide`].
#[inline(never)]
unsafe fn hide_large(slot: Slot) {
    let first = slot.first / SEGMENT_PAGES;
    let end = first + slot.pages.div_ceil(SEGMENT_PAGES);
    for from in (first..end).step_by(SEGMENTS_AT_ONCE) {
        // The audit walks the tables under this lock. Interrupts are off meanwhile.
        let _tables = tables().lock();
        for segment in from..end.min(from + SEGMENTS_AT_ONCE as u32) {
            let place = segment_entry(segment);
            place.store(place.load(Ordering::Relaxed) & !Flags::PRESENT.bits(), Ordering::Relaxed);
        }
    }
}

/// The segments of a large mapping that are unmapped under one lock.
const SEGMENTS_AT_ONCE: usize = 64;

/// What is freed with an unmapped slot: page tables too if it is large and has pages of 4 KiB.
pub(super) fn stale_with(slot: Slot) -> Stale {
    let first = slot.first / SEGMENT_PAGES;
    let has_table = |segment| {
        let entry = Entry(segment_entry(segment).load(Ordering::Relaxed));
        !entry.is_unused() && !entry.has(Flags::HUGE_PAGE)
    };
    let has_tables = slot.is_large() && (first..first + slot.pages.div_ceil(SEGMENT_PAGES)).any(has_table);
    if has_tables { Stale::Tables } else { Stale::Pages }
}

/// What it costs to free a run of frames, in single frames.
const RUN_COST: u32 = 4;

/// Takes the frames out of a slot whose entries are not present. Returns what that has cost, in single frames.
///
/// # Safety
/// The slot's owner has made its entries not present, and every CPU covers a later generation, for [`stale_with`] the slot.
#[inline(always)]
pub(super) unsafe fn remove_frames(slot: Slot, freed: &mut Freed) -> u32 {
    if slot.is_large() {
        let first = slot.first / SEGMENT_PAGES;
        for segment in first..first + slot.pages.div_ceil(SEGMENT_PAGES) {
            // SAFETY: the segment is the slot's, guaranteed by the caller (see # Safety).
            unsafe { remove_segment(segment, false, freed) };
        }
        slot.pages
    } else {
        // SAFETY: every CPU has flushed the entries of the slot, which this owns, guaranteed by the caller (see # Safety).
        unsafe { remove_pages(slot, freed) }
    }
}

/// # Safety
/// As for [`remove_frames`]; the slot is small.
#[inline(always)]
unsafe fn remove_pages(slot: Slot, freed: &mut Freed) -> u32 {
    if slot.order == 1 {
        let place = only_entry(slot);
        let entry = Entry(place.load(Ordering::Relaxed));
        place.store(0, Ordering::Relaxed);
        // SAFETY: the slot owned the frame, its entry is cleared, and no TLB has it, guaranteed by the caller (see # Safety).
        unsafe { freed.add(entry) };
        return 1;
    }
    let entries = slot_entries(slot);
    if let Some(place) = entries.first()
        && let first = Entry(place.load(Ordering::Relaxed))
        && first.has(RUN)
        && let Some(order) = Order::new(slot.order - 1)
    {
        // The other entries are not present, and the next mapping writes all of its own: only the one with the flag is cleared.
        place.store(0, Ordering::Relaxed);
        // SAFETY: `enter_run` has mapped these frames, which were allocated as a run of this order: the slot's is one more, as a run
        // has a power of two of pages. No entry is present, and no TLB has them, which the callers of `remove_frames` guarantee.
        freed.note(unsafe { free(FrameNumber::containing(first.address() as usize), order) });
        return RUN_COST;
    }
    for place in entries {
        let entry = Entry(place.load(Ordering::Relaxed));
        place.store(0, Ordering::Relaxed);
        // SAFETY: the slot owned the frame, its entry is cleared, and no TLB has it, guaranteed by the caller (see # Safety).
        unsafe { freed.add(entry) };
    }
    slot.pages
}

/// Takes the frames out of a segment whose entry is not present, frees its page table, and clears the entry. `keeps_frames` leaves the
/// frames to the caller.
///
/// # Safety
/// The caller owns the large slot of the segment, whose entry was never present, or every CPU covers a later generation for its tables.
unsafe fn remove_segment(segment: u32, keeps_frames: bool, freed: &mut Freed) {
    let place = segment_entry(segment);
    let entry = Entry(place.swap(0, Ordering::Relaxed));
    if entry.is_unused() {
        return;
    }
    if entry.has(Flags::HUGE_PAGE) {
        if keeps_frames || entry.has(BORROWED) {
            return;
        }
        let block = FrameNumber::containing(entry.page_address(2) as usize);
        if entry.has(SINGLES) {
            for index in 0..SEGMENT_PAGES as usize {
                // SAFETY: they are the slot's frames, allocated one by one (`SINGLES`). The entry is cleared, and no TLB has them.
                unsafe { freed.add(Entry::new((block + index).address() as u64, Flags::empty())) };
            }
        } else {
            // SAFETY: `enter_segment` has allocated the block for this mapping. Its entry is cleared, and no TLB has it.
            freed.note(unsafe { free(block, Order::BLOCK) });
        }
        return;
    }
    for index in 0..SEGMENT_PAGES as usize {
        // SAFETY: the segment's entry led to this table, which `enter_segment` has made, and which nothing else leads to.
        let page = Entry(unsafe { entry_of(entry.address(), index) }.load(Ordering::Relaxed));
        if !page.is_unused() && !keeps_frames {
            // SAFETY: it is the slot's frame. The entry that led to the table is cleared, and no TLB has the page.
            unsafe { freed.add(page) };
        }
    }
    // SAFETY: `enter_segment` has made the table. Its entry is cleared, and no processor walks it, guaranteed by the caller (see # Safety).
    unsafe { free_page_table(entry, freed) };
}

/// Frees a page table.
///
/// # Safety
/// The entry led to a table of `new_page_table`. Nothing leads to it any more, and no processor caches that something did.
pub(super) unsafe fn free_page_table(entry: Entry, freed: &mut Freed) {
    page_table_freed();
    // SAFETY: `new_page_table` has allocated the frame as a single one, and nothing leads to it, guaranteed by the caller (see # Safety).
    unsafe { freed.add(Entry::new(entry.address(), Flags::empty())) };
}
