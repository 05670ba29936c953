//! Fault injection: `reuse_before_flush`. The addresses of a batch are used again at once; its frames wait for the flush.

use core::sync::atomic::Ordering;

use heapless::Vec;

use super::own::put;
use super::ranges::Waiting;
use super::region::{RegionEntries, page_entry};
use super::tlb;
use crate::memory::cache::free;
use crate::memory::frames::{FrameNumber, Order};
use crate::memory::paging::entry::Entry;
use crate::sync::SpinLockIrq;
use crate::sync::tlb::Stale;

/// The most frames that wait: those of about four batches of the workload `mappings`.
const MOST_KEPT: usize = 4096;

/// The frames that wait, and their generation.
static KEPT: SpinLockIrq<(Vec<FrameNumber, MOST_KEPT>, u64)> = SpinLockIrq::new((Vec::new(), 0));
crate::name_lock!(KEPT);

/// Makes the frames of this batch wait. Its addresses are free at once.
pub(super) fn reuse_addresses(mut batch: Waiting, generation: u64) {
    // Seldom: the flush would hide the fault.
    let len = KEPT.lock().0.len();
    if len + batch.pages as usize > MOST_KEPT {
        free_kept_frames();
    }
    while let Some(slot) = batch.chain.pop(&RegionEntries) {
        let mut kept = KEPT.lock();
        kept.1 = generation;
        // The fault's programs have small mappings; what does not fit is leaked.
        for page in slot.first..slot.first + if slot.is_large() { 0 } else { slot.pages } {
            let entry = Entry(page_entry(page).swap(0, Ordering::Relaxed));
            let _ = kept.0.push(FrameNumber::containing(entry.address() as usize));
        }
        drop(kept);
        if !slot.is_large() {
            put(slot);
        }
    }
}

/// Frees the frames that wait, after a flush.
pub(super) fn free_kept_frames() {
    let generation = KEPT.lock().1;
    if KEPT.lock().0.is_empty() || !tlb::flush_all(generation, Stale::Pages) {
        return;
    }
    loop {
        let Some(frame) = KEPT.lock().0.pop() else { return };
        // SAFETY: the frame belonged to a mapping, every CPU has flushed it, and nothing else leads to it.
        let _ = unsafe { free(frame, Order::FRAME) };
    }
}
