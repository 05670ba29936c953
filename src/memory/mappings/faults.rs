//! Fault injection: `reuse_before_flush`. The addresses of a batch are used again at once; its frames wait for the flush.

use core::sync::atomic::Ordering;

use heapless::Deque;

use super::own::put;
use super::ranges::Waiting;
use super::region::{RegionEntries, page_entry};
use super::tlb::{self, GENERATION};
use crate::memory::cache::free;
use crate::memory::frames::{FrameNumber, Order};
use crate::memory::paging::entry::Entry;
use crate::sync::SpinLockIrq;
use crate::sync::tlb::Stale;

/// The most frames that wait: those of about four batches of the workload `mappings`.
const MOST_KEPT: usize = 4096;

/// The frames that wait, and the generation of each, the oldest first.
static KEPT: SpinLockIrq<Deque<(FrameNumber, u64), MOST_KEPT>> = SpinLockIrq::new(Deque::new());
crate::name_lock!(KEPT);

/// Makes the frames of this batch wait. Its addresses are free at once.
pub(super) fn reuse_addresses(mut batch: Waiting, generation: u64) {
    while let Some(slot) = batch.chain.pop(&RegionEntries) {
        // The fault's programs have small mappings; a large one is leaked.
        for page in slot.first..slot.first + if slot.is_large() { 0 } else { slot.pages } {
            let entry = Entry(page_entry(page).swap(0, Ordering::Relaxed));
            keep(FrameNumber::containing(entry.address() as usize), generation);
        }
        if !slot.is_large() {
            put(slot);
        }
    }
}

/// Makes a frame wait. Where many wait, all CPUs flush: seldom, as that hides the fault.
fn keep(frame: FrameNumber, generation: u64) {
    while !try_keep(frame, generation) {
        if !free_kept_frames() {
            // A CPU does not flush. The frame is leaked, as an address could still lead to it.
            return;
        }
    }
}

fn try_keep(frame: FrameNumber, generation: u64) -> bool {
    KEPT.lock().push_back((frame, generation)).is_ok()
}

/// Frees the frames that wait, after a flush; whether all CPUs have flushed.
pub(super) fn free_kept_frames() -> bool {
    if KEPT.lock().is_empty() {
        return true;
    }
    // It covers all that wait, in whatever order they came.
    let newest = GENERATION.advance();
    if !tlb::flush_all(newest, Stale::Pages) {
        return false;
    }
    loop {
        let mut kept = KEPT.lock();
        // Other CPUs may have added frames of later generations.
        let Some((frame, _)) = kept.front().copied().filter(|(_, generation)| *generation <= newest) else {
            return true;
        };
        let _ = kept.pop_front();
        drop(kept);
        // SAFETY: the frame belonged to a mapping, every CPU has flushed it, and nothing else leads to it.
        let _ = unsafe { free(frame, Order::FRAME) };
    }
}
