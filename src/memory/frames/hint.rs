//! Where the searches of a CPU begin: [`Hint`].

use core::cell::Cell;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::number::BlockNumber;
use super::zone::Scope;

/// A block number or none, in one word. Other CPUs may read it while its own CPU writes.
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

/// Where the searches of a CPU begin, and the blocks that it has reserved.
#[derive(Debug)]
pub(in crate::memory) struct Hint {
    /// The block that this CPU allocates from. Its state word says that it is reserved.
    pub(in crate::memory) reserved: AtomicBlock,
    /// The block that it has reserved before, still reserved. A CPU that allocates and frees somewhat more than one block of frames
    /// alternates between the two, and neither goes to the buddy and back each time.
    pub(in crate::memory) previous: AtomicBlock,
    /// The word of the reserved block's bitmap at which a search begins.
    pub(in crate::memory) word: Cell<usize>,
    /// The block at which the search for another block begins. It differs between CPUs once they have reserved one, so that they use
    /// different blocks.
    pub(in crate::memory) near: Cell<BlockNumber>,
    /// The zones that a search may use.
    pub(in crate::memory) scope: Cell<Scope>,
    /// A block of which frames were in flight when the last search failed.
    pub(in crate::memory) in_flight: Cell<Option<BlockNumber>>,
}

impl Hint {
    /// A hint without a reserved block.
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

    /// Resets all but the scope. No block is reserved.
    pub(in crate::memory) fn reset(&self) {
        debug_assert!(self.reserved.get().is_none() && self.previous.get().is_none());
        self.word.set(0);
        self.near.set(BlockNumber(0));
        self.in_flight.set(None);
    }
}
