//! The search of the block table for single frames, runs and blocks.
//!
//! A search tries, in this order: the reserved block of the CPU for the order; in each zone, nearest first, blocks that the summary marks for
//! the order, then a new block from the buddy; if the zone has few of these, the blocks that the CPU has reserved for other orders come
//! before them; and at last every block.

use core::cell::Cell;

use super::allocator::Frames;
use super::atomic_frame::AtomicFrame;
use super::bitmap;
use super::hint::{AtomicBlock, Hint};
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::search_target::{Ownership, Run, SearchTarget, SingleFrames};
use super::state::{self, Kind, State};
use super::sync::{MODELLED, Ordering, spin_loop};
use super::zone::{LockedZone, Scope, ZoneRef};

/// How many marked blocks are tried before a whole block is split. Each that has no match is marked so no longer, so a search tries a
/// block without effect at most once for each allocation that has taken its last match.
const MAX_CANDIDATES: usize = 64;

/// The orders that have a reserved block, 0 to 8. A zone that has no more blocks left, and no larger run, is short of blocks.
const RESERVED_ORDERS: usize = Order::BLOCK.get() as usize;

/// How many blocks a CPU reserves at most: one for each order, and the one before that for single frames.
const MAX_RESERVED: usize = RESERVED_ORDERS + 1;

/// When the blocks that a CPU has reserved for other orders are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnBlocks {
    /// Before a block is broken, if the zone is short of blocks.
    First,
    /// They were tried.
    Tried,
}

/// How many blocks a full search reads while it sees frames in flight. It scans all blocks [`LEAST_SCANS`] times at least.
///
/// Frames are in flight for some tens of instructions of another CPU, so one or two scans are typical. But the host may stop a virtual CPU
/// right there for many milliseconds, and that must not look like exhausted memory. In the kernel, a caller that can wait does so with
/// interrupts enabled and searches again (`Magazine::in_flight`). On the host, which has no interrupts, this lasts about a second.
/// Without a bound, a corrupt bitmap would hang every CPU that runs out of memory.
const PATIENCE_BLOCKS: usize = if MODELLED || cfg!(target_os = "none") { 64 } else { 1 << 28 };
const LEAST_SCANS: usize = 4;

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) enum Extent {
    /// The reserved blocks, those that a summary marks, and the buddies: a bounded time for each zone.
    Marked,
    /// Every block.
    All,
}

impl Frames {
    /// Takes up to `out.len()` single frames, as many as one block has; how many.
    pub(in crate::memory) fn take_singles(&self, hint: &Hint, out: &[AtomicFrame], extent: Extent) -> usize {
        self.search(hint, SingleFrames { out }, extent).unwrap_or(0)
    }

    #[inline]
    pub(in crate::memory) fn find_many(
        &self,
        hint: &Hint,
        order: Order,
        extent: Extent,
    ) -> Option<FrameNumber> {
        if order >= Order::BLOCK {
            return self.alloc_blocks(hint.scope.get(), order);
        }
        self.search(hint, Run { order }, extent)
    }

    /// Takes a run of order 9 or above from a buddy.
    #[inline(always)]
    pub(in crate::memory) fn alloc_blocks(&self, scope: Scope, order: Order) -> Option<FrameNumber> {
        self.find_in_zones(scope, |zone| {
            let mut locked = zone.locked.lock();
            let block = locked.buddy.take(&self.table, order)?;
            self.table.set(block, State::huge(order));
            Some(block.first_frame())
        })
    }

    /// Searches in the order that the module describes.
    pub(in crate::memory) fn search<W: SearchTarget>(
        &self,
        hint: &Hint,
        mut want: W,
        extent: Extent,
    ) -> Option<W::Output> {
        let order = want.order();
        let reserved = hint.reserved(order);
        if let Some(block) = reserved.block.get() {
            if let Some(got) = want.try_take(self, block, Ownership::Reserved, &reserved.word) {
                return Some(got);
            }
            self.lower_largest(block, order);
        }
        if order == Order::FRAME
            && let Some(block) = hint.previous.get()
            && let Some(got) = want.try_take(self, block, Ownership::Reserved, &reserved.word)
        {
            hint.previous.set(reserved.block.replace(Some(block)));
            return Some(got);
        }
        let found = self.find_in_zones(hint.scope.get(), |zone| {
            self.search_zone(zone, hint, &mut want)
                .or_else(|| self.break_block(zone, hint, &mut want, OwnBlocks::First))
        });
        found.or_else(|| self.search_own(hint, &mut want, |_| true)).or_else(|| {
            let split =
                |zone: ZoneRef<'_>, want: &mut W| self.break_block(zone, hint, want, OwnBlocks::Tried);
            (extent == Extent::All).then(|| self.search_everywhere(hint, &mut want, split)).flatten()
        })
    }

    /// Searches as [`search`](Self::search) does, and reserves no block that another CPU may need. First it takes from the block that served
    /// the last such search for this order, if no nearer zone has memory; then in each zone from blocks that the summary marks, or a new one.
    pub(in crate::memory) fn search_unreserved<W: SearchTarget>(
        &self,
        hint: &Hint,
        mut want: W,
        extent: Extent,
    ) -> Option<W::Output> {
        let order = want.order();
        let (word, last) = (&hint.reserved(order).word, &hint.last[usize::from(order.get())]);
        let scope = hint.scope.get();
        if let Some(block) = last.get().filter(|&block| self.is_in_first_zone(scope, block))
            && let Some(got) = want.try_take(self, block, Ownership::Steal, word)
        {
            return Some(got);
        }
        let found = self.find_in_zones(scope, |zone| {
            let marked = self.search_marked(zone, &mut want, Ownership::Steal, word);
            let (got, block) = marked.or_else(|| self.break_unreserved(zone, word, &mut want))?;
            last.set(Some(block));
            Some(got)
        });
        found.or_else(|| {
            let split = |zone: ZoneRef<'_>, want: &mut W| Some(self.break_unreserved(zone, word, want)?.0);
            (extent == Extent::All).then(|| self.search_everywhere(hint, &mut want, split)).flatten()
        })
    }

    /// Whether a block is in the nearest zone that has any.
    #[inline(always)]
    fn is_in_first_zone(&self, scope: Scope, block: BlockNumber) -> bool {
        let has_block =
            |zone: ZoneRef<'_>| zone.spans(self.table.all()).next().map(|_| zone.has(block, Order::BLOCK));
        self.find_in_zones(scope, has_block).unwrap_or(false)
    }

    /// [`break_block`](Self::break_block) in a zone that is short of blocks.
    #[cold]
    #[inline(never)]
    fn break_last_block<W: SearchTarget>(
        &self,
        zone: ZoneRef<'_>,
        hint: &Hint,
        want: &mut W,
    ) -> Option<W::Output> {
        self.search_own(hint, want, |block| zone.has(block, Order::BLOCK))
            .or_else(|| self.break_block(zone, hint, want, OwnBlocks::Tried))
    }

    /// Tries those of this CPU's reserved blocks that `is_allowed` allows, whatever order they are reserved for.
    fn search_own<W: SearchTarget>(
        &self,
        hint: &Hint,
        want: &mut W,
        is_allowed: impl Fn(BlockNumber) -> bool,
    ) -> Option<W::Output> {
        let word = &hint.reserved(want.order()).word;
        let mut own = hint.all_reserved().filter_map(AtomicBlock::get).filter(|&block| is_allowed(block));
        own.find_map(|block| want.try_take(self, block, Ownership::Reserved, word))
    }

    /// Tries blocks of a zone that the summary marks for the order, lowest address first. So the lower blocks stay full, and the upper
    /// ones become free as a whole.
    fn search_zone<W: SearchTarget>(
        &self,
        zone: ZoneRef<'_>,
        hint: &Hint,
        want: &mut W,
    ) -> Option<W::Output> {
        let order = want.order();
        let (got, block) = self.search_marked(zone, want, Ownership::Reserve, &hint.reserved(order).word)?;
        self.reserve_block(hint, block, order);
        Some(got)
    }

    /// Tries blocks of a zone that the summary marks for the order, lowest address first. Returns what it has found, and where.
    #[inline(always)]
    fn search_marked<W: SearchTarget>(
        &self,
        zone: ZoneRef<'_>,
        want: &mut W,
        ownership: Ownership,
        word: &Cell<usize>,
    ) -> Option<(W::Output, BlockNumber)> {
        let order = want.order();
        let mut candidates = 0;
        for span in zone.spans(self.table.all()) {
            for block in self.table.candidates(span, order) {
                if let Some(got) = want.try_take(self, block, ownership, word) {
                    return Some((got, block));
                }
                if self.table.state(block).offers(order) {
                    self.lower_largest(block, order);
                }
                self.table.mark_unavailable(block);
                candidates += 1;
                if candidates == MAX_CANDIDATES {
                    return None;
                }
            }
        }
        None
    }

    /// After a try for a run of this order that has failed: lowers the largest order of the block to that of its bits. For a block that
    /// is not allocated by its bitmap any more it does nothing.
    #[cold]
    #[inline(never)]
    fn lower_largest(&self, block: BlockNumber, order: Order) {
        let (cell, bitmap) = (self.table.cell(block), self.table.bitmap(block));
        let state = state::load(cell);
        if state.kind() != Kind::Frames || state.largest() < order || order == Order::FRAME {
            return;
        }
        let largest = bitmap.largest();
        if largest >= order || !state::replace(cell, state, state.with_largest(largest)) {
            return;
        }
        // A CPU that has set bits before, and has seen the old order, has not raised it.
        let now = bitmap.largest();
        if now > largest {
            self.finish_update(block, state::update(cell, |state| state.put(0, now)));
        }
    }

    /// Takes a whole block from the buddy of a zone and splits it into frames. The CPU has reserved it from then on.
    ///
    /// For a run, the blocks that the CPU has reserved already come first if the zone is short of blocks: it has few left, or fewer than
    /// the other CPUs have reserved. So the CPUs of a small machine do not reserve all of its memory. Single frames fill any block, so
    /// they break one.
    fn break_block<W: SearchTarget>(
        &self,
        zone: ZoneRef<'_>,
        hint: &Hint,
        want: &mut W,
        own: OwnBlocks,
    ) -> Option<W::Output> {
        let block = {
            let mut locked = zone.locked.lock();
            let is_short = || {
                let reserved = self.counters.reserved.load(Ordering::Relaxed);
                locked.buddy.is_short(RESERVED_ORDERS, reserved.saturating_sub(MAX_RESERVED))
            };
            if own == OwnBlocks::First && want.order() != Order::FRAME && is_short() {
                drop(locked);
                return self.break_last_block(zone, hint, want);
            }
            self.take_block(&mut locked)?
        };
        let taken = want.frames();
        self.table.bitmap(block).reset_to_free_from(taken);
        let state = State::whole(FRAMES_PER_BLOCK - taken).reserve()?;
        state::store(self.table.cell(block), state);
        let order = want.order();
        hint.reserved(order).word.set(taken / bitmap::WORD_BITS);
        self.reserve_block(hint, block, order);
        Some(want.take_fresh(block))
    }

    /// Takes a whole block from the buddy of a zone, for the caller to split.
    #[inline(always)]
    fn take_block(&self, locked: &mut LockedZone) -> Option<BlockNumber> {
        let block = locked.buddy.take(&self.table, Order::BLOCK)?;
        self.table.set(block, State::transit(Order::BLOCK));
        Some(block)
    }

    /// Takes a whole block from the buddy of a zone and splits it into frames. It offers the rest of them to all CPUs.
    fn break_unreserved<W: SearchTarget>(
        &self,
        zone: ZoneRef<'_>,
        word: &Cell<usize>,
        want: &mut W,
    ) -> Option<(W::Output, BlockNumber)> {
        let block = self.take_block(&mut zone.locked.lock())?;
        let taken = want.frames();
        self.table.bitmap(block).reset_to_free_from(taken);
        let state = State::whole(FRAMES_PER_BLOCK - taken);
        state::store(self.table.cell(block), state);
        self.table.mark_available(block, state.largest());
        word.set(taken / bitmap::WORD_BITS);
        Some((want.take_fresh(block), block))
    }

    /// Tries every block, also those that other CPUs have reserved; `split` takes from a block that is free as a whole. It finds every frame that is free during the whole call. `None` if a
    /// whole scan has found no match and no frame in flight, or if the bound is reached; then the hint names a block in flight.
    #[cold]
    #[inline(never)]
    fn search_everywhere<W: SearchTarget>(
        &self,
        hint: &Hint,
        want: &mut W,
        split: impl Fn(ZoneRef<'_>, &mut W) -> Option<W::Output>,
    ) -> Option<W::Output> {
        let scan_cost = self.table.blocks() + 4;
        hint.in_flight.set(None);
        let word = &hint.reserved(want.order()).word;
        let mut seen = None;
        for _ in 0..PATIENCE_BLOCKS.div_ceil(scan_cost).max(LEAST_SCANS) {
            let mut in_flight = None;
            let mut visit = |block: BlockNumber, state: State| match state.kind() {
                Kind::Frames => {
                    let got = want.try_take(self, block, Ownership::Steal, word);
                    // Bits without a count: frames that are taken and not collected yet, or freed and not counted yet. The state is
                    // not read again: it may allow by now what it did not allow when it was tried.
                    if got.is_none() && want.matches(self.table.bitmap(block)) {
                        in_flight = Some(block);
                    }
                    got
                }
                Kind::Buddy | Kind::Transit => {
                    in_flight = Some(block);
                    None
                }
                Kind::Blank | Kind::Huge | Kind::Cached | Kind::Corrupt => None,
            };
            let found = self.find_in_zones(hint.scope.get(), |zone| {
                zone.spans(self.table.all()).find_map(|span| self.visit_runs(span, &mut visit))
            });
            if found.is_some() {
                return found;
            }
            seen = in_flight;
            seen?;
            spin_loop();
            let take_fresh = self.find_in_zones(hint.scope.get(), |zone| split(zone, want));
            if take_fresh.is_some() {
                return take_fresh;
            }
        }
        hint.in_flight.set(seen);
        None
    }

    /// Makes this block, whose state says so already, the reserved one for this order. The oldest one before it is released.
    fn reserve_block(&self, hint: &Hint, block: BlockNumber, order: Order) {
        let before = hint.reserved(order).block.replace(Some(block));
        match if order == Order::FRAME { hint.previous.replace(before) } else { before } {
            Some(oldest) => self.release_block(oldest),
            None => drop(self.counters.reserved.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Releases all reserved blocks.
    pub(in crate::memory) fn release_all(&self, hint: &Hint) {
        let blocks = hint.all_reserved().filter_map(|block| block.replace(None));
        let released = blocks.map(|block| self.release_block(block)).count();
        self.counters.reserved.fetch_sub(released, Ordering::Relaxed);
    }

    /// Releases a block. It goes to the buddy if all of it is free.
    fn release_block(&self, block: BlockNumber) {
        let change = state::update(self.table.cell(block), State::release);
        self.finish_update(block, change);
        if change.is_some_and(|(_, new)| new.kind() == Kind::Frames && new.free() == 0) {
            self.table.mark_unavailable(block);
        }
    }
}
