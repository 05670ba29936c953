//! This CPU's own part of the region, and the way back of an empty slot.

use core::sync::atomic::Ordering;

use super::ranges::CpuRanges;
use super::region::{RegionEntries, segment_entry, with_shared};
use super::slots::{SEGMENT_PAGES, Slot, segments_for};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::per_cpu;
use crate::sync::SpinLock;

/// A CPU's part of the region. Other CPUs lock it only under memory pressure, and at the end of a run.
pub(crate) type Ranges = SpinLock<CpuRanges>;

per_cpu! {
    /// This CPU's part of the region.
    pub(crate) static RANGES: Ranges = SpinLock::new(CpuRanges::new());
}
crate::name_lock!(per_cpu RANGES);

/// Calls `f` with this CPU's part of the region, which is locked meanwhile.
#[inline(always)]
pub(super) fn with_own<R>(f: impl FnOnce(&mut CpuRanges) -> R) -> R {
    let guard = IrqGuard::new();
    RANGES.with(&guard, |ranges| f(&mut ranges.lock(&guard)))
}

/// Makes the addresses of an empty slot free.
pub(super) fn put(slot: Slot) {
    with_own(|ranges| put_under(ranges, slot));
}

/// As [`put`], with this CPU's part of the region locked.
#[inline(always)]
pub(super) fn put_under(ranges: &mut CpuRanges, slot: Slot) {
    if slot.is_large() {
        let first = slot.first / SEGMENT_PAGES;
        // The guard's word.
        segment_entry(slot.guard() / SEGMENT_PAGES).store(0, Ordering::Relaxed);
        with_shared(|shared| shared.segments.release(first, segments_for(slot.pages)));
        return;
    }
    let full = ranges.put(&RegionEntries, slot);
    if let Some(chain) = full {
        with_shared(|shared| shared.depot.push(&RegionEntries, slot.order, chain));
    }
}
