//! The search of the block table for single frames, runs and blocks.

use super::allocator::Frames;
use super::atomic_frame::AtomicFrame;
use super::bitmap;
use super::hint::Hint;
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::search_target::{Ownership, Run, SearchTarget, SingleFrames};
use super::state::{self, Kind, State};
use super::sync::{MODELLED, spin_loop};
use super::zones::{Scope, ZoneRef};

/// How many blocks that may have something are tried before a fresh one is broken. With more, a search in much
/// fragmented memory would take longer than a block is worth.
const MAX_CANDIDATES: usize = 16;

/// How long a search of every block is repeated because frames were seen on their way from one place to another: so many
/// blocks looked at, and four times at least.
///
/// Another CPU is between two places for some tens of instructions, and a scan or two is the rule. But where CPUs are
/// virtual, the host may stop one right there for many milliseconds, and memory is not exhausted because of that. In the
/// kernel, who can wait does so with interrupts on, and [searches again](Magazine::in_flight); on the host, where there are
/// none, this goes on for about a second. Without a bound, a bitmap that somebody has scribbled on would hang whoever runs
/// out of memory.
const PATIENCE_BLOCKS: usize = if MODELLED || cfg!(target_os = "none") { 64 } else { 1 << 28 };
const LEAST_SCANS: usize = 4;

impl Frames {
    /// Takes single frames from the table: as many as it finds in one place; how many.
    pub(in crate::memory) fn take_singles(&self, hint: &Hint, out: &[AtomicFrame]) -> usize {
        self.search(hint, SingleFrames { out }).unwrap_or(0)
    }

    #[inline]
    pub(in crate::memory) fn find_many(&self, hint: &Hint, order: Order) -> Option<FrameNumber> {
        if order >= Order::BLOCK {
            return self.alloc_blocks(hint.scope.get(), order);
        }
        self.search(hint, Run { order })
    }

    /// Order 9 and above, from the buddies. Interrupts are off.
    #[inline(always)]
    pub(in crate::memory) fn alloc_blocks(&self, scope: Scope, order: Order) -> Option<FrameNumber> {
        self.find_in_zones(scope, |zone| {
            let mut locked = zone.locked.lock();
            let block = locked.buddy.take(order)?;
            self.table.mark(block, order.blocks(), State::huge(order));
            Some(block.first_frame())
        })
    }

    /// Looks through the table, nearest first: the blocks that the magazine holds; in each arena blocks with free frames
    /// that nobody holds, and a fresh block; and at last every block there is.
    pub(in crate::memory) fn search<W: SearchTarget>(&self, hint: &Hint, mut want: W) -> Option<W::Output> {
        if let Some(block) = hint.reserved.get()
            && let Some(got) = want.try_take(self, block, Ownership::Reserved, &hint.word)
        {
            return Some(got);
        }
        if let Some(block) = hint.previous.get()
            && let Some(got) = want.try_take(self, block, Ownership::Reserved, &hint.word)
        {
            hint.previous.set(hint.reserved.replace(Some(block)));
            return Some(got);
        }
        let found = self.find_in_zones(hint.scope.get(), |zone| {
            self.search_zone(zone, hint, &mut want).or_else(|| self.break_block(zone, hint, &mut want))
        });
        found.or_else(|| self.search_everywhere(hint, &mut want))
    }

    /// Looks at blocks of this arena that probably have something.
    fn search_zone<W: SearchTarget>(
        &self,
        zone: ZoneRef<'_>,
        hint: &Hint,
        want: &mut W,
    ) -> Option<W::Output> {
        let near = hint.near.get();
        let mut candidates = 0;
        for span in zone.spans(self.table.all()) {
            for block in self.table.candidates(span, near) {
                if let Some(got) = want.try_take(self, block, Ownership::Reserve, &hint.word) {
                    self.reserve_block(hint, block);
                    return Some(got);
                }
                candidates += 1;
                if candidates == MAX_CANDIDATES {
                    return None;
                }
            }
        }
        None
    }

    /// Breaks a block from an arena's buddy into frames. The magazine holds it from then on.
    fn break_block<W: SearchTarget>(
        &self,
        zone: ZoneRef<'_>,
        hint: &Hint,
        want: &mut W,
    ) -> Option<W::Output> {
        let block = {
            let mut locked = zone.locked.lock();
            let block = locked.buddy.take(Order::BLOCK)?;
            self.table.mark(block, 1, State::transit(Order::BLOCK));
            block
        };
        let taken = want.frames();
        self.table.bitmap(block).reset_to_free_from(taken);
        let state = State::whole(FRAMES_PER_BLOCK - taken).reserve()?;
        state::store(self.table.cell(block), state);
        hint.word.set(taken / bitmap::WORD_BITS);
        self.reserve_block(hint, block);
        Some(want.take_fresh(block))
    }

    /// Looks at every block. `None` if a whole scan has met nothing that would do, and nothing on its way: a frame that
    /// nobody holds for as long as this takes is found. Or if what was on its way has not come, which the hint says then.
    #[cold]
    #[inline(never)]
    fn search_everywhere<W: SearchTarget>(&self, hint: &Hint, want: &mut W) -> Option<W::Output> {
        let scan_cost = self.table.blocks() + 4;
        hint.in_flight.set(None);
        let mut seen = None;
        for _ in 0..PATIENCE_BLOCKS.div_ceil(scan_cost).max(LEAST_SCANS) {
            let mut in_flight = None;
            let found = self.find_in_zones(hint.scope.get(), |zone| {
                for block in zone.spans(self.table.all()).flat_map(BlockNumber::each) {
                    match self.table.state(block).kind() {
                        Kind::Frames => {
                            let got = want.try_take(self, block, Ownership::Steal, &hint.word);
                            if got.is_some() {
                                return got;
                            }
                            // Bits without a count: reserved and not collected yet, or put and not counted yet. The state
                            // is not asked once more: what it says may be true by now, and was not when it was tried.
                            if want.matches(self.table.bitmap(block)) {
                                in_flight = Some(block);
                            }
                        }
                        Kind::Buddy | Kind::Transit => in_flight = Some(block),
                        Kind::Absent | Kind::Huge | Kind::Cached | Kind::Corrupt => {}
                    }
                }
                None
            });
            if found.is_some() {
                return found;
            }
            seen = in_flight;
            seen?;
            spin_loop();
            let take_fresh = self.find_in_zones(hint.scope.get(), |zone| self.break_block(zone, hint, want));
            if take_fresh.is_some() {
                return take_fresh;
            }
        }
        hint.in_flight.set(seen);
        None
    }

    /// The magazine holds this block, which is marked so, in the place of the older one of its two.
    fn reserve_block(&self, hint: &Hint, block: BlockNumber) {
        hint.near.set(block);
        let oldest = hint.previous.replace(hint.reserved.replace(Some(block)));
        self.release_block(oldest);
    }

    /// The magazine no longer holds its blocks.
    pub(in crate::memory) fn release_all(&self, hint: &Hint) {
        self.release_block(hint.reserved.replace(None));
        self.release_block(hint.previous.replace(None));
    }

    /// A block that is no longer held goes to the buddy if nothing of it is in use.
    fn release_block(&self, block: Option<BlockNumber>) {
        if let Some(block) = block {
            let change = state::update(self.table.cell(block), State::release);
            self.finish_update(block, change);
            if change.is_some_and(|(_, new)| new.kind() == Kind::Frames && new.free() == 0) {
                self.table.mark_unavailable(block);
            }
        }
    }
}
