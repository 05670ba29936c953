//! A CPU's own part of the region, and what the CPUs share. Pure.
//!
//! For each order a CPU has two chains of free slots and the rest of a segment that it cuts into slots. A slot is taken and released in
//! constant time, without another CPU. A CPU that has filled both chains gives one to the depot as a whole; a CPU without slots takes
//! one from there, or a new segment. So a CPU that only unmaps what another has mapped does not collect all addresses.
//!
//! Slots that are unmapped, but may still be in TLBs, wait in two more lists: *stale* ones, and those of the *sealed* batch, which
//! are free when every CPU has flushed.

use core::ops::Range;

use super::segments::Segments;
use super::slots::{Chain, Depot, Entries, MAX_ORDER, ORDERS, SEGMENT_PAGES, Slot};
use crate::sync::tlb::Stale;

/// Unmapped slots of one batch: so many unmaps share one flush.
pub(super) const BATCH: u32 = 256;

/// Unmapped pages of one batch: 16 MiB.
pub(super) const BATCH_PAGES: u32 = 4096;

/// The longest chain of an order.
const fn chain_limit(order: u8) -> u32 {
    let limit = 2048 >> order;
    if limit > BATCH { BATCH } else { limit }
}

/// The free slots of one order.
#[derive(Clone, Debug)]
struct FreeSlots {
    loaded: Chain,
    spare: Chain,
    /// The pages of a segment that were not cut into slots yet.
    uncut: Range<u32>,
}

/// The single frames that are freed while a CPU's ranges are locked, with interrupts off.
pub(super) const COST_AT_ONCE: u32 = 32;

/// A slot that is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Popped {
    /// It has at most [`COST_AT_ONCE`] pages.
    Few(Slot),
    /// It has more, which are freed without the lock.
    Many(Slot),
}

/// Slots that wait for a flush. The one that was unmapped first is freed first, so that the one unmapped last is used first, whose
/// entries are in the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The slots.
    pub chain: Chain,
    /// Where the entry of the last slot's guard is.
    last: usize,
    /// Their pages.
    pub pages: u32,
    /// What is freed with them.
    pub stale: Stale,
}

impl Waiting {
    pub(super) const EMPTY: Waiting = Waiting { chain: Chain::EMPTY, last: 0, pages: 0, stale: Stale::Pages };

    /// Whether there is none.
    pub(super) const fn is_empty(&self) -> bool {
        self.chain.count == 0
    }

    /// Adds a slot at the end. `stale` says whether page tables are freed with it.
    #[inline(always)]
    pub(super) fn push(&mut self, entries: &impl Entries, slot: Slot, stale: Stale) {
        self.chain.append(entries, slot, self.last);
        self.last = slot.place;
        self.pages += slot.pages;
        if stale == Stale::Tables {
            self.stale = Stale::Tables;
        }
    }

    /// Removes the slot that was unmapped first.
    #[inline(always)]
    pub(super) fn pop(&mut self, entries: &impl Entries) -> Option<Popped> {
        let slot = self.chain.pop(entries)?;
        Some(if slot.pages <= COST_AT_ONCE { Popped::Few(slot) } else { Popped::Many(slot) })
    }

    /// Removes all slots.
    fn take(&mut self) -> Waiting {
        core::mem::replace(self, Waiting::EMPTY)
    }
}

/// A batch that waits for its generation.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    slots: Waiting,
    /// The generation that each CPU has to cover.
    generation: u64,
    /// Whether the flush was requested by interrupts.
    is_requested: bool,
}

/// What the owner of a sealed batch does while not all CPUs have flushed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Nothing: the next batch is not complete, and many CPUs flush for other reasons until then.
    Nothing,
    /// Request the flush by interrupts.
    Request,
    /// Wait for the flush.
    Wait,
}

/// A CPU's own part of the region.
#[derive(Debug)]
pub(crate) struct CpuRanges {
    free: [FreeSlots; ORDERS],
    stale: Waiting,
    sealed: Sealed,
    /// The number of stale slots from which the batch is looked at.
    look_at: u32,
    /// The same in pages.
    look_at_pages: u32,
    /// The mappings made and unmapped by this CPU, and the batches that it has freed.
    pub(super) counts: Counts,
}

/// What a CPU has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub maps: u64,
    pub unmaps: u64,
    pub batches: u64,
}

/// The lists that one round of a [`Sweep`] takes: two of each CPU.
pub(super) const ROUND: usize = 32;

/// Takes what waits on all CPUs, in rounds, as the lists of many CPUs need more room than a stack has. Each CPU is visited once: a sweep
/// ends, and reaches the last CPU, also while the first ones go on unmapping.
pub(super) struct Sweep {
    /// The CPUs that were visited.
    visited: usize,
    /// The CPUs that the current round has come by.
    seen: usize,
    lists: [Waiting; ROUND],
    count: usize,
}

impl Sweep {
    /// No CPU is visited yet.
    pub(super) const fn new() -> Sweep {
        Sweep { visited: 0, seen: 0, lists: [Waiting::EMPTY; ROUND], count: 0 }
    }

    /// Begins a round, in which [`visit`](Self::visit) is called for each CPU, in the same order as in all rounds.
    pub(super) fn begin_round(&mut self) {
        (self.seen, self.count) = (0, 0);
    }

    /// Takes the lists of a CPU if it was not visited, and if there is room.
    pub(super) fn visit(&mut self, take_waiting: impl FnOnce() -> [Waiting; 2]) {
        self.seen += 1;
        if self.seen <= self.visited || self.count + 2 > ROUND {
            return;
        }
        self.visited = self.seen;
        for waiting in take_waiting().into_iter().filter(|waiting| !waiting.is_empty()) {
            self.lists[self.count] = waiting;
            self.count += 1;
        }
    }

    /// What the round has taken.
    pub(super) fn taken(&self) -> &[Waiting] {
        &self.lists[..self.count]
    }

    /// Whether all CPUs were visited.
    pub(super) const fn is_complete(&self) -> bool {
        self.visited >= self.seen
    }
}

/// What the CPUs share.
pub(super) struct Shared<'a> {
    pub segments: Segments<'a>,
    pub depot: Depot,
}

impl CpuRanges {
    /// A CPU without addresses.
    pub(super) const fn new() -> CpuRanges {
        const FREE: FreeSlots = FreeSlots { loaded: Chain::EMPTY, spare: Chain::EMPTY, uncut: 0..0 };
        CpuRanges {
            free: [FREE; ORDERS],
            stale: Waiting::EMPTY,
            sealed: Sealed { slots: Waiting::EMPTY, generation: 0, is_requested: false },
            look_at: BATCH,
            look_at_pages: BATCH_PAGES,
            counts: Counts { maps: 0, unmaps: 0, batches: 0 },
        }
    }

    /// Takes a slot of this order for so many pages. After `None`, [`refill`](Self::refill) may help.
    #[inline(always)]
    pub(super) fn take(&mut self, entries: &impl Entries, order: u8, pages: u32) -> Option<Slot> {
        let free = &mut self.free[usize::from(order)];
        match free.loaded.pop_free(entries, order, pages) {
            Some(slot) => Some(slot),
            None => free.take_more(entries, order).map(|slot| Slot { pages, ..slot }),
        }
    }

    /// Releases a slot that no TLB has. Returns a chain for the depot if there are too many.
    #[inline(always)]
    #[must_use = "the chain belongs to the depot"]
    pub(super) fn put(&mut self, entries: &impl Entries, slot: Slot) -> Option<Chain> {
        let free = &mut self.free[usize::from(slot.order)];
        let full = if free.loaded.count < chain_limit(slot.order) { None } else { free.make_room() };
        free.loaded.push(entries, slot);
        full
    }

    /// Takes slots of this order from the CPUs' shared part. `prepare` makes a new segment usable; if it fails, nothing has changed.
    ///
    /// # Errors
    /// That of `prepare`, or `None` if no segment is free.
    pub(super) fn refill<E>(
        &mut self,
        entries: &impl Entries,
        order: u8,
        shared: &mut Shared<'_>,
        prepare: impl FnOnce(u32) -> Result<(), E>,
    ) -> Result<(), Option<E>> {
        let free = &mut self.free[usize::from(order)];
        if let Some(chain) = shared.depot.pop(entries, order) {
            debug_assert_eq!(free.loaded.count, 0);
            free.loaded = chain;
            return Ok(());
        }
        let segment = shared.segments.take(1).ok_or(None)?;
        if let Err(error) = prepare(segment) {
            shared.segments.release(segment, 1);
            return Err(Some(error));
        }
        free.uncut = segment * SEGMENT_PAGES..(segment + 1) * SEGMENT_PAGES;
        Ok(())
    }

    /// Adds a slot that was unmapped; `stale` says whether page tables are freed with it. Returns whether the batch is to be looked at.
    #[inline(always)]
    pub(super) fn add_stale(&mut self, entries: &impl Entries, slot: Slot, stale: Stale) -> bool {
        self.counts.unmaps += 1;
        self.return_stale(entries, slot, stale);
        self.is_due()
    }

    /// As [`add_stale`](Self::add_stale), of a slot that has waited before.
    pub(super) fn return_stale(&mut self, entries: &impl Entries, slot: Slot, stale: Stale) {
        self.stale.push(entries, slot, stale);
    }

    /// Whether the batch is to be looked at.
    #[inline(always)]
    pub(super) fn is_due(&self) -> bool {
        self.stale.chain.count >= self.look_at || self.stale.pages >= self.look_at_pages
    }

    /// Makes the stale slots the sealed batch, if there is none. `advance` begins the generation. Returns the generation of the sealed
    /// batch and what is freed with it, if there is one.
    pub(super) fn seal(&mut self, advance: impl FnOnce() -> u64) -> Option<(u64, Stale)> {
        if self.sealed.slots.is_empty() {
            if self.stale.is_empty() {
                return None;
            }
            let slots = self.stale.take();
            self.sealed = Sealed { slots, generation: advance(), is_requested: false };
        }
        Some((self.sealed.generation, self.sealed.slots.stale))
    }

    /// Decides how to go on while not all CPUs have flushed the sealed batch of this generation. If another batch is sealed here, the
    /// caller has moved from another CPU, whose next unmap looks at the batch again: nothing is done, and nothing changes.
    pub(super) fn demand(&mut self, generation: u64) -> Demand {
        if self.sealed.generation != generation {
            return Demand::Nothing;
        }
        let (count, pages) = (self.stale.chain.count, self.stale.pages);
        self.look_at = BATCH.max(count + BATCH / 4);
        self.look_at_pages = BATCH_PAGES.max(pages + BATCH_PAGES / 4);
        if count >= 2 * BATCH || pages >= 2 * BATCH_PAGES {
            return Demand::Wait;
        }
        let is_full = count >= BATCH || pages >= BATCH_PAGES;
        if is_full && !core::mem::replace(&mut self.sealed.is_requested, true) {
            Demand::Request
        } else {
            Demand::Nothing
        }
    }

    /// Takes the sealed batch, if it is the one of this generation.
    pub(super) fn take_sealed(&mut self, generation: u64) -> Waiting {
        if self.sealed.generation != generation {
            return Waiting::EMPTY;
        }
        self.counts.batches += u64::from(!self.sealed.slots.is_empty());
        self.look_at = BATCH;
        self.look_at_pages = BATCH_PAGES;
        self.sealed.slots.take()
    }

    /// Takes all slots that wait for a flush.
    pub(super) fn take_waiting(&mut self) -> [Waiting; 2] {
        self.look_at = BATCH;
        self.look_at_pages = BATCH_PAGES;
        [self.stale.take(), self.sealed.slots.take()]
    }

    /// The pages that wait for a flush.
    pub(super) fn waiting_pages(&self) -> u64 {
        u64::from(self.stale.pages) + u64::from(self.sealed.slots.pages)
    }

    /// Gives all free slots to the depot.
    pub(super) fn drain(&mut self, entries: &impl Entries, depot: &mut Depot) {
        for order in 1..=MAX_ORDER {
            let free = &mut self.free[usize::from(order)];
            let mut rest = Chain::EMPTY;
            while let Some(first) = free.cut(order) {
                rest.push(entries, Slot::new(entries, first, 1, order));
            }
            for chain in [core::mem::take(&mut free.loaded), core::mem::take(&mut free.spare), rest] {
                depot.push(entries, order, chain);
            }
        }
    }
}

impl FreeSlots {
    /// From the other chain, or the rest of the segment.
    #[cold]
    fn take_more(&mut self, entries: &impl Entries, order: u8) -> Option<Slot> {
        if self.spare.count > 0 {
            core::mem::swap(&mut self.loaded, &mut self.spare);
            return self.loaded.pop(entries);
        }
        self.cut(order).map(|first| Slot::new(entries, first, 1, order))
    }

    fn cut(&mut self, order: u8) -> Option<u32> {
        let first = self.uncut.start;
        if self.uncut.is_empty() {
            return None;
        }
        self.uncut.start += 1 << order;
        Some(first)
    }

    /// Makes room in the full chain. Returns the other chain if it is full too.
    #[cold]
    fn make_room(&mut self) -> Option<Chain> {
        let full = core::mem::replace(&mut self.spare, core::mem::take(&mut self.loaded));
        (full.count > 0).then_some(full)
    }
}

/// Removes the segments of which every slot is free. All free slots are in the depot, which `with_depot` gives access to, under a lock: each
/// call moves one chain, or all chains of an order as one. `free_slots` has a counter for each segment that may be removed, 0 at first;
/// it is [`RETIRED`] for those that were. They are still in use for [`Segments`].
pub(super) fn retire_free_segments(
    entries: &impl Entries,
    free_slots: &mut [u32],
    mut with_depot: impl FnMut(&mut dyn FnMut(&mut Depot)),
) {
    for order in 1..=MAX_ORDER {
        let whole = SEGMENT_PAGES >> order;
        // Meanwhile CPUs that need slots of this order cut new segments.
        let mut taken = Depot::new();
        with_depot(&mut |depot| taken = depot.take(order));
        let mut all = Chain::EMPTY;
        while let Some(mut chain) = taken.pop(entries, order) {
            while let Some(slot) = chain.pop(entries) {
                if let Some(count) = free_slots.get_mut((slot.first / SEGMENT_PAGES) as usize) {
                    *count += 1;
                }
                all.push(entries, slot);
            }
        }
        let mut kept = Chain::EMPTY;
        while let Some(slot) = all.pop(entries) {
            if let Some(count) = free_slots.get_mut((slot.first / SEGMENT_PAGES) as usize)
                && (*count == whole || *count == RETIRED)
            {
                *count = RETIRED;
                continue;
            }
            kept.push(entries, slot);
            if kept.count == chain_limit(order) {
                let full = core::mem::take(&mut kept);
                with_depot(&mut |depot| depot.push(entries, order, full));
            }
        }
        with_depot(&mut |depot| depot.push(entries, order, kept));
    }
}

/// The counter of a segment that was removed.
pub(super) const RETIRED: u32 = u32::MAX;
