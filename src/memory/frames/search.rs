//! The search of the block table for single frames, runs and blocks.

use super::allocator::Frames;
use super::atomic_frame::AtomicFrame;
use super::bitmap;
use super::hint::Hint;
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::search_target::{Claim, Loose, Run, Want};
use super::state::{self, Kind, State};
use super::sync::{MODELLED, spin_loop};
use super::zones::{Place, Scope};

/// How many blocks that may have something are tried before a fresh one is broken. With more, a search in much
/// fragmented memory would take longer than a block is worth.
const MAX_CANDIDATES: usize = 16;

/// How long a search of every block is repeated because frames were seen on their way from one place to another: so many
/// blocks looked at, and four times at least.
///
/// Another CPU is between two places for some tens of instructions, and a scan or two is the rule. But where CPUs are
/// virtual, the host may stop one right there for many milliseconds, and memory is not exhausted because of that. In the
/// kernel, who can wait does so with interrupts on, and [searches again](Magazine::on_its_way); on the host, where there are
/// none, this goes on for about a second. Without a bound, a bitmap that somebody has scribbled on would hang whoever runs
/// out of memory.
const PATIENCE_BLOCKS: usize = if MODELLED || cfg!(target_os = "none") { 64 } else { 1 << 28 };
const LEAST_SCANS: usize = 4;

impl Frames {
    /// Takes single frames from the table: as many as it finds in one place; how many.
    pub(in crate::memory) fn take_loose(&self, hint: &Hint, out: &[AtomicFrame]) -> usize {
        self.search(hint, Loose { out }).unwrap_or(0)
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
        self.find_in_arenas(scope, |arena| {
            let mut locked = arena.locked.lock();
            let block = locked.buddy.take(order)?;
            self.table.mark(block, order.blocks(), State::huge(order));
            Some(block.first_frame())
        })
    }

    /// Looks through the table, nearest first: the blocks that the magazine holds; in each arena blocks with free frames
    /// that nobody holds, and a fresh block; and at last every block there is.
    pub(in crate::memory) fn search<W: Want>(&self, hint: &Hint, mut want: W) -> Option<W::Got> {
        if let Some(block) = hint.held.get()
            && let Some(got) = want.try_take(self, block, Claim::Own, &hint.word)
        {
            return Some(got);
        }
        if let Some(block) = hint.spare.get()
            && let Some(got) = want.try_take(self, block, Claim::Own, &hint.word)
        {
            hint.spare.set(hint.held.replace(Some(block)));
            return Some(got);
        }
        let found = self.find_in_arenas(hint.scope.get(), |arena| {
            self.search_arena(arena, hint, &mut want).or_else(|| self.break_block(arena, hint, &mut want))
        });
        found.or_else(|| self.search_everywhere(hint, &mut want))
    }

    /// Looks at blocks of this arena that probably have something.
    fn search_arena<W: Want>(&self, arena: Place<'_>, hint: &Hint, want: &mut W) -> Option<W::Got> {
        let near = hint.near.get();
        let mut candidates = 0;
        for span in arena.spans(self.table.all()) {
            for block in self.table.candidates(span, near) {
                if let Some(got) = want.try_take(self, block, Claim::Hold, &hint.word) {
                    self.hold(hint, block);
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
    fn break_block<W: Want>(&self, arena: Place<'_>, hint: &Hint, want: &mut W) -> Option<W::Got> {
        let block = {
            let mut locked = arena.locked.lock();
            let block = locked.buddy.take(Order::BLOCK)?;
            self.table.mark(block, 1, State::transit(Order::BLOCK));
            block
        };
        let taken = want.frames();
        self.table.bitmap(block).reset_to_free_from(taken);
        let state = State::whole(FRAMES_PER_BLOCK - taken).hold()?;
        state::store(self.table.cell(block), state);
        hint.word.set(taken / bitmap::WORD_BITS);
        self.hold(hint, block);
        Some(want.fresh(block))
    }

    /// Looks at every block. `None` if a whole scan has met nothing that would do, and nothing on its way: a frame that
    /// nobody holds for as long as this takes is found. Or if what was on its way has not come, which the hint says then.
    #[cold]
    #[inline(never)]
    fn search_everywhere<W: Want>(&self, hint: &Hint, want: &mut W) -> Option<W::Got> {
        let scan_cost = self.table.blocks() + 4;
        hint.on_its_way.set(None);
        let mut seen = None;
        for _ in 0..PATIENCE_BLOCKS.div_ceil(scan_cost).max(LEAST_SCANS) {
            let mut on_its_way = None;
            let found = self.find_in_arenas(hint.scope.get(), |arena| {
                for block in arena.spans(self.table.all()).flat_map(BlockNumber::each) {
                    match self.table.state(block).kind() {
                        Kind::Frames => {
                            let got = want.try_take(self, block, Claim::Any, &hint.word);
                            if got.is_some() {
                                return got;
                            }
                            // Bits without a count: reserved and not collected yet, or put and not counted yet. The state
                            // is not asked once more: what it says may be true by now, and was not when it was tried.
                            if want.would_do(self.table.bitmap(block)) {
                                on_its_way = Some(block);
                            }
                        }
                        Kind::Buddy | Kind::Transit => on_its_way = Some(block),
                        Kind::Absent | Kind::Huge | Kind::Kept | Kind::Corrupt => {}
                    }
                }
                None
            });
            if found.is_some() {
                return found;
            }
            seen = on_its_way;
            seen?;
            spin_loop();
            let fresh = self.find_in_arenas(hint.scope.get(), |arena| self.break_block(arena, hint, want));
            if fresh.is_some() {
                return fresh;
            }
        }
        hint.on_its_way.set(seen);
        None
    }

    /// The magazine holds this block, which is marked so, in the place of the older one of its two.
    fn hold(&self, hint: &Hint, block: BlockNumber) {
        hint.near.set(block);
        let oldest = hint.spare.replace(hint.held.replace(Some(block)));
        self.unhold(oldest);
    }

    /// The magazine no longer holds its blocks.
    pub(in crate::memory) fn release(&self, hint: &Hint) {
        self.unhold(hint.held.replace(None));
        self.unhold(hint.spare.replace(None));
    }

    /// A block that is no longer held goes to the buddy if nothing of it is in use.
    fn unhold(&self, block: Option<BlockNumber>) {
        if let Some(block) = block {
            let change = state::update(self.table.cell(block), State::unhold);
            self.settle(block, change);
            if change.is_some_and(|(_, new)| new.kind() == Kind::Frames && new.free() == 0) {
                self.table.note_taken(block);
            }
        }
    }
}
