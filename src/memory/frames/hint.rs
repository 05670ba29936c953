//! Where a CPU's searches of the block table begin: [`Hint`].

use core::cell::Cell;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::number::BlockNumber;
use super::zones::Scope;

/// A block, or none: one word, which other CPUs may read while its own CPU writes.
#[derive(Debug)]
pub(in crate::memory) struct AtomicBlock(AtomicUsize);

/// No block has this number: its address would need 85 bits.
const NO_BLOCK: usize = usize::MAX;

impl AtomicBlock {
    const fn none() -> Self {
        Self(AtomicUsize::new(NO_BLOCK))
    }

    #[inline(always)]
    pub(in crate::memory) fn get(&self) -> Option<BlockNumber> {
        match self.0.load(Ordering::Relaxed) {
            NO_BLOCK => None,
            number => Some(BlockNumber(number)),
        }
    }

    #[inline(always)]
    pub(in crate::memory) fn set(&self, block: Option<BlockNumber>) {
        self.0.store(block.map_or(NO_BLOCK, |block| block.0), Ordering::Relaxed);
    }

    #[inline(always)]
    pub(in crate::memory) fn replace(&self, block: Option<BlockNumber>) -> Option<BlockNumber> {
        let old = self.get();
        self.set(block);
        old
    }
}

/// Where a CPU refills from.
#[derive(Debug)]
pub(in crate::memory) struct Hint {
    /// The block that this magazine takes from, and holds in the sense of its state word.
    pub(in crate::memory) reserved: AtomicBlock,
    /// The one before, held as well: a CPU that takes and gives back somewhat more than a block has goes to and fro
    /// between two, and neither is sent to the buddy and fetched back for ever.
    pub(in crate::memory) previous: AtomicBlock,
    /// The word of its bitmap to look at first.
    pub(in crate::memory) word: Cell<usize>,
    /// Where to start the search for another block. Apart for each CPU once it has found one, so that CPUs spread.
    pub(in crate::memory) near: Cell<BlockNumber>,
    /// Where it may be, the nearest first.
    pub(in crate::memory) scope: Cell<Scope>,
    /// A block of which something was on its way when a search gave up.
    pub(in crate::memory) in_flight: Cell<Option<BlockNumber>>,
}

impl Hint {
    /// Before the first refill.
    pub(in crate::memory) const fn new(scope: Scope) -> Self {
        Self {
            reserved: AtomicBlock::none(),
            previous: AtomicBlock::none(),
            word: Cell::new(0),
            near: Cell::new(BlockNumber(0)),
            scope: Cell::new(scope),
            in_flight: Cell::new(None),
        }
    }

    /// As before the first refill, in the same scope. No block is held.
    pub(in crate::memory) fn reset(&self) {
        debug_assert!(self.reserved.get().is_none() && self.previous.get().is_none());
        self.word.set(0);
        self.near.set(BlockNumber(0));
        self.in_flight.set(None);
    }
}
