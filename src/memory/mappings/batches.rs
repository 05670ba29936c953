//! Unmapped slots: the wait for the flush, and their way back to the frames and the free slots.

use super::contents::{Freed, free_page_table, hide, remove_frames, stale_with};
use super::own::{put, put_under, with_own};
use super::ranges::{COST_AT_ONCE, Demand, Popped, RETIRED, Sweep, Waiting, retire_free_segments};
use super::region::{RegionEntries, segment_entry, with_shared};
use super::slots::{SEGMENT_PAGES, Slot};
use super::tlb::{self, GENERATION};
use crate::cpu::IrqGuard;
use crate::memory::frames::FreeError;
use crate::memory::paging::entry::Entry;
use crate::memory::paging::kernel::tables;
use crate::memory::zeroed_slice::ZeroedSlice;
use crate::sync::tlb::Stale;
use core::sync::atomic::Ordering;
use x86_64::structures::paging::PageTableFlags as Flags;

/// Unmaps a slot, whose frames and addresses are used again after a later flush.
///
/// # Safety
/// The caller owns the slot and gives it up. Nothing refers to its pages any more.
#[inline(always)]
pub(super) unsafe fn unmap_lazily(slot: Slot) {
    // SAFETY: nothing refers to the pages of the slot, which this owns, guaranteed by the caller (see # Safety).
    unsafe { hide(slot) };
    let stale = if slot.is_large() { stale_with(slot) } else { Stale::Pages };
    // SAFETY: `hide` has unmapped the slot, which the caller gives up (see # Safety).
    unsafe { add_hidden(slot, stale) };
}

/// Adds a slot whose entries are not present any more to those that wait for a flush. `stale` is what is freed with it.
///
/// # Safety
/// The caller owns the slot, which [`hide`] has unmapped, and gives it up. [`stale_with`] returns `stale` for it.
#[inline(always)]
pub(super) unsafe fn add_hidden(slot: Slot, stale: Stale) {
    if with_own(|ranges| ranges.add_stale(&RegionEntries, slot, stale)) {
        settle();
    }
}

/// Frees the sealed batch of this CPU if all CPUs have flushed, and seals the next.
#[cold]
#[inline(never)]
fn settle() {
    // At most two batches: the sealed one, and the one that is sealed then.
    for _ in 0..2 {
        let Some((generation, stale)) = with_own(|ranges| ranges.seal(begin_flush)) else { return };
        tlb::flush_this_cpu(&IrqGuard::new());
        #[cfg(feature = "faults")]
        if !keeps_addresses() {
            let batch = with_own(|ranges| ranges.take_sealed(generation));
            flush_and_release(super::faults::reuse_addresses(batch, generation), generation);
            return;
        }
        let is_free = is_flushed(generation, stale)
            || match with_own(|ranges| ranges.demand(generation)) {
                Demand::Nothing => false,
                Demand::Request => {
                    tlb::request(generation, stale);
                    false
                }
                Demand::Wait => tlb::flush_all(generation, stale),
            };
        if !is_free {
            return;
        }
        let batch = with_own(|ranges| ranges.take_sealed(generation));
        // SAFETY: the batch was sealed under this generation, which every CPU covers. `take_sealed` has given the slots to this call
        // alone.
        let _ = unsafe { release(batch) };
        if !with_own(|ranges| ranges.is_due()) {
            return;
        }
    }
}

/// Waits for the flush of slots of this generation, and frees them. They wait for a later one if a CPU does not flush.
#[cfg(feature = "faults")]
fn flush_and_release(batch: Waiting, generation: u64) {
    if batch.is_empty() {
        return;
    }
    if tlb::flush_all(generation, batch.stale) {
        // SAFETY: the caller took the slots out of the sealed batch of this generation, which every CPU covers now.
        let _ = unsafe { release(batch) };
    } else {
        requeue(batch);
    }
}

crate::patchable! {
    /// Returns whether every CPU has flushed what was unmapped before a generation.
    ///
    /// **Context:** any but NMI.
    pub(crate) fn is_flushed(generation: u64, stale: Stale) -> bool {
        tlb::are_flushed(generation, stale)
    }
}

#[cfg(feature = "faults")]
crate::patchable! {
    /// Returns whether addresses wait for the flush, as the frames do.
    ///
    /// **Context:** any.
    pub(crate) fn keeps_addresses() -> bool {
        true
    }
}

/// Frees the frames of unmapped slots, and the slots.
///
/// # Errors
/// The first error of the frame allocator; that frame is leaked.
///
/// # Safety
/// The caller owns the slots. Every CPU has flushed them since they were unmapped.
unsafe fn release(mut batch: Waiting) -> Result<(), FreeError> {
    let mut freed = Freed::new();
    while !batch.is_empty() {
        let many = with_own(|ranges| {
            let mut cost = 0;
            while cost < COST_AT_ONCE {
                match batch.pop(&RegionEntries) {
                    Some(Popped::Few(slot)) => {
                        // SAFETY: the caller owns the slot, and every CPU has flushed it, guaranteed by the caller (see # Safety).
                        cost += unsafe { remove_frames(slot, &mut freed) };
                        put_under(ranges, slot);
                    }
                    Some(Popped::Many(slot)) => return Some(slot),
                    None => break,
                }
            }
            None
        });
        // Without the lock, and so with interrupts on if the caller has them on: it may be any number of frames.
        if let Some(slot) = many {
            // SAFETY: the caller owns the slot, and every CPU has flushed it, guaranteed by the caller (see # Safety).
            unsafe { remove_frames(slot, &mut freed) };
            put(slot);
        }
    }
    freed.finish()
}

/// Frees a slot whose entries are not present any more, and which every CPU has flushed.
///
/// # Errors
/// The first error of the frame allocator; that frame is leaked.
///
/// # Safety
/// The caller owns the slot. Every CPU has flushed it since it was unmapped.
pub(super) unsafe fn release_one(slot: Slot) -> Result<(), FreeError> {
    with_own(|ranges| ranges.counts.unmaps += 1);
    let mut freed = Freed::new();
    // SAFETY: the caller owns the slot, and every CPU has flushed it, guaranteed by the caller (see # Safety).
    unsafe { remove_frames(slot, &mut freed) };
    put(slot);
    freed.finish()
}

/// Begins the generation that covers a slot which was unmapped by this CPU.
pub(crate) fn begin_flush() -> u64 {
    GENERATION.advance()
}

/// The outcome of [`flush_unmapped`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// So many pages were freed.
    Freed(u64),
    /// A CPU does not cover the generation in time. The pages wait for a later flush.
    TimedOut {
        /// The generation.
        generation: u64,
        /// What the pages are freed with.
        stale: Stale,
    },
    /// The frame allocator refused a frame. The others are free.
    Refused(FreeError),
}

/// Frees the frames and addresses of all mappings that were dropped on any CPU before this call, in one round for 16 CPUs.
///
/// **Context:** as for `smp::call`.
pub(crate) fn flush_unmapped() -> Flushed {
    #[cfg(feature = "faults")]
    super::faults::free_kept_frames();
    let mut sweep = Sweep::new();
    let mut pages = 0;
    let mut outcome = Ok(());
    loop {
        sweep.begin_round();
        tlb::for_each_cpu(|ranges| {
            sweep.visit(|| {
                let guard = IrqGuard::new();
                ranges.lock(&guard).take_waiting()
            });
        });
        if sweep.taken().is_empty() && sweep.is_complete() {
            break;
        }
        let has_tables = sweep.taken().iter().any(|waiting| waiting.stale == Stale::Tables);
        let stale = if has_tables { Stale::Tables } else { Stale::Pages };
        let generation = GENERATION.advance();
        tlb::flush_this_cpu(&IrqGuard::new());
        if !is_flushed(generation, stale) && !tlb::flush_all(generation, stale) {
            sweep.taken().iter().for_each(|waiting| requeue(*waiting));
            return Flushed::TimedOut { generation, stale };
        }
        for waiting in sweep.taken() {
            pages += u64::from(waiting.pages);
            // SAFETY: `take_waiting` has given the slots to this call alone. They were unmapped before the generation began, and every
            // CPU covers it.
            outcome = outcome.and(unsafe { release(*waiting) });
        }
        if sweep.is_complete() {
            break;
        }
    }
    match outcome {
        Ok(()) => Flushed::Freed(pages),
        Err(error) => Flushed::Refused(error),
    }
}

/// Adds slots to those that wait on this CPU.
fn requeue(mut waiting: Waiting) {
    while let Some(slot) = waiting.chain.pop(&RegionEntries) {
        with_own(|ranges| ranges.return_stale(&RegionEntries, slot, waiting.stale));
    }
}

/// The pages that wait for a flush, on all CPUs. **Context:** any but NMI.
pub(crate) fn waiting_pages() -> u64 {
    let mut pages = 0;
    tlb::for_each_cpu(|ranges| {
        let guard = IrqGuard::new();
        pages += ranges.lock(&guard).waiting_pages();
    });
    pages
}

/// Frees the page tables of the region that no mapping uses, after [`flush_unmapped`]. Mappings that other CPUs make meanwhile keep theirs.
/// Without memory for its table it does nothing.
///
/// **Context:** thread, interrupts on.
pub(crate) fn trim() {
    let segments = super::region::region_pages() / SEGMENT_PAGES as usize;
    let highest = with_shared(|shared| shared.segments.end()) as usize;
    let Some(mut counts) = ZeroedSlice::<u32>::new(highest.min(segments)) else { return };
    tlb::for_each_cpu(|ranges| {
        let guard = IrqGuard::new();
        let mut ranges = ranges.lock(&guard);
        with_shared(|shared| ranges.drain(&RegionEntries, &mut shared.depot));
    });
    // A segment that was cut after the count was made is beyond its end, or has a slot that is not in the depot.
    retire_free_segments(&RegionEntries, &mut counts, |access| {
        with_shared(|shared| access(&mut shared.depot))
    });
    let retired = || {
        counts.iter().enumerate().filter(|(_, count)| **count == RETIRED).map(|(segment, _)| segment as u32)
    };
    if retired().next().is_none() {
        return;
    }
    for segment in retired() {
        // The audit walks the tables under this lock. Interrupts are off meanwhile.
        let _tables = tables().lock();
        segment_entry(segment).fetch_and(!Flags::PRESENT.bits(), Ordering::Relaxed);
    }
    // Processors may cache the entries that led to the tables, and walk through them when they wake. So idle CPUs have to flush too.
    let generation = GENERATION.advance();
    tlb::flush_this_cpu(&IrqGuard::new());
    if !is_flushed(generation, Stale::Tables) && !tlb::flush_all(generation, Stale::Tables) {
        log::warn!("page tables of mappings are leaked: a CPU has not flushed its TLB");
        return;
    }
    let mut freed = Freed::new();
    for segment in retired() {
        let entry = Entry(segment_entry(segment).swap(0, Ordering::Relaxed));
        // SAFETY: `add_page_table` has stored the entry. It is cleared, and every CPU covers the generation that began afterwards, for tables.
        unsafe { free_page_table(entry, &mut freed) };
        with_shared(|shared| shared.segments.release(segment, 1));
    }
    let _ = freed.finish();
}

/// What all CPUs have done, and what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MappingStatistics {
    /// Mappings made since boot.
    pub maps: u64,
    /// Mappings unmapped since boot.
    pub unmaps: u64,
    /// Batches of unmapped mappings that were freed.
    pub batches: u64,
    /// Pages that are unmapped and wait for a flush.
    pub waiting_pages: u64,
    /// Frames that page tables of the region occupy.
    pub table_frames: u64,
    /// The 2 MiB segments of the region that are in use.
    pub segments: u64,
}

/// Counts what all CPUs have done with mappings. The figures of the CPUs are read one after the other.
///
/// **Context:** thread or interrupt; not NMI.
pub fn statistics() -> MappingStatistics {
    let mut sum = MappingStatistics {
        table_frames: super::region::table_frames(),
        segments: with_shared(|shared| u64::from(shared.segments.used())),
        ..MappingStatistics::default()
    };
    tlb::for_each_cpu(|ranges| {
        let guard = IrqGuard::new();
        let ranges = ranges.lock(&guard);
        sum.maps += ranges.counts.maps;
        sum.unmaps += ranges.counts.unmaps;
        sum.batches += ranges.counts.batches;
        sum.waiting_pages += ranges.waiting_pages();
    });
    sum
}
