//! The region of mappings: its addresses, its page tables, and what the CPUs share.
//!
//! The region lies above the stacks. Its size depends on the machine's memory. Page tables are allocated when a segment is first cut
//! into slots, or for a large mapping; [`trim`](super::batches::trim) frees those that nothing uses. [`DIRECTORIES`] leads to the page
//! directory of each GiB, so that an entry is found by two loads, not by a walk.

use core::sync::atomic::{AtomicU64, Ordering};

use super::ranges::Shared;
use super::segments::Segments;
use super::slots::{Depot, Entries, MAX_PAGES, SEGMENT_PAGES, Slot};
use crate::boot::direct_map;
use crate::boot::memory_map::FRAME_BYTES;
use crate::config::MAX_CPUS;
use crate::memory::boot_alloc::{alloc_slice_zeroed, table_frame};
use crate::memory::paging::entry::Entry;
use crate::memory::paging::kernel::tables;
use crate::memory::paging::tables::MapError;
use crate::memory::stacks;
use crate::sync::SpinLockIrq;
use x86_64::structures::paging::PageTableFlags as Flags;

/// The least size of the region, in pages: 64 GiB.
const MIN_REGION_PAGES: u64 = 1 << 24;

/// The most: 512 GiB, 2^27 pages.
const MAX_REGION_PAGES: u64 = MAX_PAGES as u64;

/// The region has this many times the pages of the machine's memory.
const PAGES_PER_FRAME: u64 = 16;

/// The segments that one page directory spans: 1 GiB.
const SEGMENTS_PER_DIRECTORY: u32 = 512;

const PAGES_PER_DIRECTORY: u32 = SEGMENTS_PER_DIRECTORY * SEGMENT_PAGES;

/// Page directories that exist from the start: as many as most programs use.
const FIRST_DIRECTORIES: u32 = 4;

/// The address in the direct map of the page directory of each GiB of the region, or 0. It is never freed.
static DIRECTORIES: [AtomicU64; (MAX_REGION_PAGES / PAGES_PER_DIRECTORY as u64) as usize] =
    [const { AtomicU64::new(0) }; _];

/// The address of physical address 0 in the direct map.
static DIRECT_MAP: AtomicU64 = AtomicU64::new(0);
/// The first address of the region.
static START: AtomicU64 = AtomicU64::new(0);
/// The number of its pages.
static PAGES: AtomicU64 = AtomicU64::new(0);
/// The frames that its page tables occupy, without the page directories and those above.
static TABLE_FRAMES: AtomicU64 = AtomicU64::new(0);

/// The addresses that no CPU has. `None` before [`init`].
static SHARED: SpinLockIrq<Option<Shared<'static>>> = SpinLockIrq::new(None);
crate::name_lock!(SHARED);

/// Sets up the region for a machine with so many frames.
///
/// **Context:** boot, on the BSP, once, before any mapping.
///
/// # Errors
/// [`MapError::OutOfFrames`].
pub(in crate::memory) fn init(frames: usize) -> Result<(), MapError> {
    let pages =
        (frames as u64 * PAGES_PER_FRAME).next_power_of_two().clamp(MIN_REGION_PAGES, MAX_REGION_PAGES);
    let bytes_per_directory = u64::from(PAGES_PER_DIRECTORY) * FRAME_BYTES;
    // The page below the region is never mapped: it is the guard of the first mapping.
    let start = (stacks::region(MAX_CPUS as usize).1 + FRAME_BYTES).next_multiple_of(bytes_per_directory);
    DIRECT_MAP.store(direct_map::base(), Ordering::Relaxed);
    START.store(start, Ordering::Relaxed);
    PAGES.store(pages, Ordering::Relaxed);
    let count = (pages / u64::from(SEGMENT_PAGES)) as u32;
    let words = alloc_slice_zeroed(Segments::words_for(count)).ok_or(MapError::OutOfFrames)?;
    (0..FIRST_DIRECTORIES).try_for_each(|index| add_directory(index * SEGMENTS_PER_DIRECTORY))?;
    *SHARED.lock() = Some(Shared { segments: Segments::new(words, count), depot: Depot::new() });
    Ok(())
}

/// The region: its first address and its end.
pub(crate) fn region() -> (u64, u64) {
    let start = START.load(Ordering::Relaxed);
    (start, start + PAGES.load(Ordering::Relaxed) * FRAME_BYTES)
}

/// The number of pages of the region. **Context:** any.
pub fn region_pages() -> usize {
    PAGES.load(Ordering::Relaxed) as usize
}

/// The frames that page tables of the region occupy now, without those that are never freed. **Context:** any.
pub(crate) fn table_frames() -> u64 {
    TABLE_FRAMES.load(Ordering::Relaxed)
}

/// The address of a page.
#[inline(always)]
pub(super) fn address_of(page: u32) -> u64 {
    START.load(Ordering::Relaxed) + u64::from(page) * FRAME_BYTES
}

/// Calls `f` with what the CPUs share.
///
/// # Panics
/// Before [`init`].
pub(super) fn with_shared<R>(f: impl FnOnce(&mut Shared<'static>) -> R) -> R {
    f(SHARED.lock().as_mut().expect("mappings are used before the memory stage"))
}

/// The entry of a segment in its page directory.
///
/// # Panics
/// If the GiB has no page directory.
#[inline(always)]
pub(super) fn segment_entry(segment: u32) -> &'static AtomicU64 {
    // SAFETY: `segment_place` returns an entry of a page directory, which is never freed; its entries are accessed by atomic operations.
    unsafe { AtomicU64::from_ptr(segment_place(segment)) }
}

/// Where the entry of a segment is.
///
/// # Panics
/// As [`segment_entry`].
#[inline(always)]
fn segment_place(segment: u32) -> *mut u64 {
    // Acquire: the directory was filled before `add_directory` stored its address.
    let directory = DIRECTORIES[(segment / SEGMENTS_PER_DIRECTORY) as usize].load(Ordering::Acquire);
    assert!(directory != 0, "a segment without a page directory is in use");
    entry_at(directory, segment)
}

/// Where an entry of the table at an address in the direct map is. The pointer may be used for the whole table.
#[inline(always)]
fn entry_at(table: u64, index: u32) -> *mut u64 {
    core::ptr::with_exposed_provenance_mut::<u64>(table as usize).wrapping_add((index % 512) as usize)
}

/// The entry that holds a page's frame, or a guard's word: that of the page, or of its segment if the segment has no page table.
#[inline(always)]
pub(super) fn page_entry(page: u32) -> &'static AtomicU64 {
    // SAFETY: `page_place` returns an entry of a page directory, or of a page table that only the owner of all slots of the segment
    // removes (`trim`, or the end of a large mapping), and the caller owns one. Entries are accessed by atomic operations.
    unsafe { AtomicU64::from_ptr(page_place(page)) }
}

/// Where the entry of [`page_entry`] is. The pointer may be used for the whole table.
#[inline(always)]
fn page_place(page: u32) -> *mut u64 {
    let place = segment_place(page / SEGMENT_PAGES);
    // SAFETY: `segment_place` returns an entry of a page directory, which is never freed; its entries are accessed by atomic operations.
    let entry = Entry(unsafe { AtomicU64::from_ptr(place) }.load(Ordering::Acquire));
    if is_table(entry) { entry_at(DIRECT_MAP.load(Ordering::Relaxed) + entry.address(), page) } else { place }
}

/// The entries of adjacent pages of one segment, which has a page table.
#[inline(always)]
pub(super) fn page_entries(first: u32, pages: u32) -> &'static [AtomicU64] {
    debug_assert!(first % SEGMENT_PAGES + pages <= SEGMENT_PAGES, "the pages are in several tables");
    let entry = page_place(first).cast_const().cast::<AtomicU64>();
    // SAFETY: the entries of a segment are in one page table, one after the other, and all pages are of one segment: a small slot is
    // aligned to its size, which is at most a segment. The table stays while the caller owns the slot (see `page_entry`).
    unsafe { core::slice::from_raw_parts(entry, pages as usize) }
}

/// Whether a segment's entry leads to a page table in use.
#[inline(always)]
fn is_table(entry: Entry) -> bool {
    entry.has(Flags::PRESENT) && !entry.has(Flags::HUGE_PAGE)
}

/// The entry at a place.
#[inline(always)]
fn entry_in(place: usize) -> &'static AtomicU64 {
    // SAFETY: places are made by `RegionEntries::place` alone, from an entry of a table that stays while the slot of its page is in use
    // or in a list; `Slot` keeps it no longer.
    unsafe { AtomicU64::from_ptr(core::ptr::with_exposed_provenance_mut(place)) }
}

/// The entries of a small slot's pages, without its guard's.
#[inline(always)]
pub(super) fn slot_entries(slot: Slot) -> &'static [AtomicU64] {
    debug_assert!(!slot.is_large() && slot.pages < slot.span());
    let guard = core::ptr::with_exposed_provenance::<AtomicU64>(slot.place);
    let first = guard.wrapping_sub(slot.span() as usize - 1);
    // SAFETY: the entries of a small slot are in one page table, one after the other up to the guard's at `place`, since the slot is
    // aligned to its size. The slot is the caller's.
    unsafe { core::slice::from_raw_parts(first, slot.pages as usize) }
}

/// The entry of the only page of a small slot for one page: the one before its guard's.
#[inline(always)]
pub(super) fn only_entry(slot: Slot) -> &'static AtomicU64 {
    debug_assert!(slot.pages == 1 && slot.order == 1);
    let only = core::ptr::with_exposed_provenance_mut::<u64>(slot.place).wrapping_sub(1);
    // SAFETY: the slot has two pages, whose entries are in one page table, one after the other, and `place` is the second. The slot is
    // the caller's.
    unsafe { AtomicU64::from_ptr(only) }
}

/// The entries of the region, for the lists of slots.
pub(super) struct RegionEntries;

impl Entries for RegionEntries {
    #[inline(always)]
    fn place(&self, page: u32) -> usize {
        page_place(page).expose_provenance()
    }

    #[inline(always)]
    fn get(&self, place: usize) -> u64 {
        entry_in(place).load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set(&self, place: usize, word: u64) {
        entry_in(place).store(word, Ordering::Relaxed);
    }
}

/// Makes sure that the segment's GiB has a page directory.
fn add_directory(segment: u32) -> Result<(), MapError> {
    let place = &DIRECTORIES[(segment / SEGMENTS_PER_DIRECTORY) as usize];
    if place.load(Ordering::Acquire) == 0 {
        let mut tables = tables().lock();
        let tables = tables.as_mut().ok_or(MapError::OutOfFrames)?;
        let directory = tables.table_at(address_of(segment * SEGMENT_PAGES), 2, &mut table_frame)?;
        place.store(direct_map::virt(directory), Ordering::Release);
    }
    Ok(())
}

/// Makes sure that contiguous segments have page directories.
///
/// # Errors
/// [`MapError::OutOfFrames`].
pub(super) fn add_directories(first: u32, count: u32) -> Result<(), MapError> {
    let of = |segment: u32| segment / SEGMENTS_PER_DIRECTORY;
    (of(first)..=of(first + count - 1)).try_for_each(|index| add_directory(index * SEGMENTS_PER_DIRECTORY))
}

/// Gives a free segment a page table without entries.
///
/// # Errors
/// [`MapError::OutOfFrames`].
pub(super) fn add_page_table(segment: u32) -> Result<(), MapError> {
    add_directories(segment, 1)?;
    let table = new_page_table()?;
    // Release: the zeros of the table are visible before the entry that leads to it.
    segment_entry(segment).store(table.0, Ordering::Release);
    Ok(())
}

/// Makes a page table without entries, and the entry that leads to it.
///
/// # Errors
/// [`MapError::OutOfFrames`].
pub(super) fn new_page_table() -> Result<Entry, MapError> {
    let frame = table_frame().ok_or(MapError::OutOfFrames)?;
    // SAFETY: the frame was allocated for this call alone, and the direct map contains it.
    crate::cpu::zero_page(unsafe { &mut *crate::boot::direct_map::pointer(frame) });
    TABLE_FRAMES.fetch_add(1, Ordering::Relaxed);
    Ok(Entry::new(frame, Flags::PRESENT | Flags::WRITABLE))
}

/// Counts a page table that is freed.
pub(super) fn page_table_freed() {
    TABLE_FRAMES.fetch_sub(1, Ordering::Relaxed);
}
