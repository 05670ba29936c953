//! Fault injection: `reuse_before_flush`. The addresses of a batch are used again at once; its frames wait for the flush.

use core::sync::atomic::{AtomicUsize, Ordering};

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

/// The frames that wait or will, as [`reserve`] has allowed.
static RESERVED: AtomicUsize = AtomicUsize::new(0);

/// Makes the frames of this batch wait, whose addresses are free at once. Returns the slots for which the fault does not strike: those with
/// page tables of their own, and those whose frames have no room, because a CPU does not flush.
pub(super) fn reuse_addresses(mut batch: Waiting, generation: u64) -> Waiting {
    let (mut rest, stale) = (Waiting::EMPTY, batch.stale);
    while let Some(slot) = batch.chain.pop(&RegionEntries) {
        let pages = slot.pages as usize;
        // A flush hides the fault, so all wait until there is no more room.
        if slot.is_large() || !(reserve(pages) || free_kept_frames() && reserve(pages)) {
            rest.push(&RegionEntries, slot, stale);
            continue;
        }
        for page in slot.first..slot.first + slot.pages {
            let entry = Entry(page_entry(page).swap(0, Ordering::Relaxed));
            let kept = KEPT.lock().push_back((FrameNumber::containing(entry.address() as usize), generation));
            debug_assert!(kept.is_ok(), "room was reserved");
        }
        put(slot);
    }
    rest
}

/// Reserves room for so many frames that wait, if there is any.
fn reserve(frames: usize) -> bool {
    let more = |reserved: usize| Some(reserved + frames).filter(|&reserved| reserved <= MOST_KEPT);
    RESERVED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
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
        RESERVED.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the frame belonged to a mapping, every CPU has flushed it, and nothing else leads to it.
        let _ = unsafe { free(frame, Order::FRAME) };
    }
}
