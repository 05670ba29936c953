//! Allocation: the hot path, the refill behind it, runs and blocks, and the search of the table that they share.

use super::arenas::{Place, Scope};
use super::atomic_frame::AtomicFrame;
use super::magazine::{BATCH, Hint, Magazine};
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::state::{self, Kind, State};
use super::sync::{MODELLED, spin_loop};
use super::want::{Claim, Loose, Run, Want};
use super::{Frames, bitmap};

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
    /// Allocates a naturally aligned run of `order`; `None` if there is none, after this magazine was drained as well.
    ///
    /// Interrupts are off; not from NMIs. What other CPUs have in their magazines is not asked for: if `None` comes back
    /// and memory matters, let them drain and try again.
    #[inline(always)]
    pub fn alloc(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        if order != Order::FRAME {
            return self.alloc_many(magazine, order);
        }
        match magazine.pop() {
            Some(frame) => Some(frame),
            None => self.refill(magazine),
        }
    }

    /// The run of this order that the magazine keeps, order 1 to 9. `None` says nothing but that [`alloc`](Self::alloc) has
    /// to look.
    ///
    /// Interrupts are off; not from NMIs.
    #[inline(always)]
    pub fn alloc_kept(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        let frame = magazine.reserve.take(order)?;
        if order == Order::BLOCK {
            // Nobody else may change the word of a block that is kept.
            state::store(self.table.cell(frame.block()), State::huge(order));
        }
        Some(frame)
    }

    /// A run of order 1 to 5 from the block that the magazine holds: what is there nearly always, apart from the search,
    /// which has much to keep track of. `None` says nothing but that [`alloc`](Self::alloc) has to look.
    ///
    /// Interrupts are off; not from NMIs.
    #[inline(always)]
    pub fn alloc_at_hand(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        if order == Order::FRAME || order.frames() >= bitmap::WORD_BITS {
            return None;
        }
        let block = magazine.hint.held.get()?;
        let (bitmap, word) = (self.table.bitmap(block), magazine.hint.word.get() % bitmap::WORDS);
        let seen = bitmap.see_run_in(word, order)?;
        state::update(self.table.cell(block), |state| state.take(order.frames()))?;
        let Some(index) = bitmap.take_seen(word, seen) else {
            // Another CPU has changed the word in between, which is rare.
            self.unreserve(block, order.frames(), Claim::Own);
            return None;
        };
        Some(block.first_frame() + index)
    }

    /// Allocates as many single frames as `out` has room for; how many there were. They are at its start, in no order.
    ///
    /// Interrupts are off; not from NMIs.
    pub fn alloc_bulk(&self, magazine: &Magazine, out: &mut [FrameNumber]) -> usize {
        let mut done = 0;
        loop {
            let room = &mut out[done..];
            let at_hand = magazine.len().min(room.len());
            let (from_magazine, room) = room.split_at_mut(at_hand);
            magazine.pop_many(from_magazine);
            done += at_hand;
            if room.is_empty() {
                return done;
            }
            // A small rest goes by way of the magazine, for the sake of the calls to come.
            let taken = if room.len() < BATCH {
                self.fill(magazine)
            } else {
                let taken = self.take_loose(&magazine.hint, AtomicFrame::from_mut(room));
                done += taken;
                taken
            };
            if taken == 0 && self.fill_from_reserve(magazine) == 0 {
                return done;
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn refill(&self, magazine: &Magazine) -> Option<FrameNumber> {
        if self.fill(magazine) == 0 {
            self.fill_from_reserve(magazine);
        }
        magazine.pop()
    }

    /// Fills an empty magazine with up to a batch of frames; how many.
    pub(super) fn fill(&self, magazine: &Magazine) -> usize {
        magazine.moves.begin();
        let room = magazine.room();
        let taken = self.take_loose(&magazine.hint, room);
        #[cfg(feature = "faults")]
        super::faults::after_refill(self, room[..taken].first().map(AtomicFrame::get));
        magazine.refilled(taken);
        magazine.moves.end();
        taken
    }

    /// [`fill`](Self::fill) once more when there is nothing left: what the magazine keeps in runs may be what is missing.
    #[cold]
    #[inline(never)]
    fn fill_from_reserve(&self, magazine: &Magazine) -> usize {
        if magazine.kept_frames() == 0 {
            return 0;
        }
        // A frame freed twice that shows up now is counted; there is nobody here to tell.
        let _ = self.drain(magazine);
        self.fill(magazine)
    }

    /// Takes single frames from the table: as many as it finds in one place; how many.
    pub(super) fn take_loose(&self, hint: &Hint, out: &[AtomicFrame]) -> usize {
        self.search(hint, Loose { out }).unwrap_or(0)
    }

    /// Orders 1 and above.
    fn alloc_many(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        let at_hand = self.alloc_kept(magazine, order).or_else(|| self.alloc_at_hand(magazine, order));
        let found = at_hand.or_else(|| self.find_run(magazine, order)).or_else(|| {
            // What is in the magazine, and the block that it holds, may be what is missing. A frame freed twice that
            // shows up now is counted; there is nobody here to tell.
            let _ = self.drain(magazine);
            self.find_run(magazine, order)
        });
        #[cfg(feature = "faults")]
        let found = found.map(super::faults::handed_out);
        found
    }

    /// A run from the shared layers. It is a [move](super::moves): a run of several words is collected word by word, and put
    /// back if one is missing.
    fn find_run(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        magazine.moves.begin();
        let found = self.find_many(&magazine.hint, order);
        magazine.moves.end();
        found
    }

    #[inline]
    pub(super) fn find_many(&self, hint: &Hint, order: Order) -> Option<FrameNumber> {
        if order >= Order::BLOCK {
            return self.alloc_blocks(hint.scope.get(), order);
        }
        self.search(hint, Run { order })
    }

    /// Order 9 and above, from the buddies. Interrupts are off.
    #[inline(always)]
    pub(super) fn alloc_blocks(&self, scope: Scope, order: Order) -> Option<FrameNumber> {
        self.find_in_arenas(scope, |arena| {
            let mut locked = arena.locked.lock();
            let block = locked.buddy.take(order)?;
            self.table.mark(block, order.blocks(), State::huge(order));
            Some(block.first_frame())
        })
    }

    /// A run of order 9 or above from a buddy: what is there nearly always. `None` says nothing but that
    /// [`alloc`](Self::alloc) has to look.
    ///
    /// Interrupts are off; not from NMIs.
    #[inline(always)]
    pub fn alloc_whole(&self, magazine: &Magazine, order: Order) -> Option<FrameNumber> {
        self.alloc_blocks(magazine.hint.scope.get(), order)
    }

    /// Looks through the table, nearest first: the blocks that the magazine holds; in each arena blocks with free frames
    /// that nobody holds, and a fresh block; and at last every block there is.
    pub(super) fn search<W: Want>(&self, hint: &Hint, mut want: W) -> Option<W::Got> {
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
    pub(super) fn release(&self, hint: &Hint) {
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
