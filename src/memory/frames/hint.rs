//! Where the searches of a CPU begin, and the blocks that it has reserved: [`Hint`].

use core::cell::Cell;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::number::{BlockNumber, Order};
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

/// How many orders have a reserved block of their own on each CPU: those below 9.
const RESERVED: usize = Order::BLOCK.get() as usize;

/// A block that a CPU has reserved for one order. Its state word says that it is reserved.
///
/// Runs of one size stay together: when they are freed, they leave room for others of that size. Smaller runs would break what is left,
/// and keep the block from becoming free.
#[derive(Debug)]
#[repr(C)]
pub(in crate::memory) struct ReservedBlock {
    pub(in crate::memory) block: AtomicBlock,
    /// The word of its bitmap at which a search begins.
    pub(in crate::memory) word: Cell<usize>,
}

impl ReservedBlock {
    const fn none() -> Self {
        Self { block: AtomicBlock::none(), word: Cell::new(0) }
    }
}

/// Where the searches of a CPU begin, and the blocks that it has reserved.
#[derive(Debug)]
pub(in crate::memory) struct Hint {
    /// By order.
    pub(in crate::memory) reserved: [ReservedBlock; RESERVED],
    /// The block that was reserved for single frames before, still reserved. A CPU that allocates and frees somewhat more than one block
    /// of frames alternates between the two, and neither goes to the buddy and back each time.
    pub(in crate::memory) previous: AtomicBlock,
    /// The zones that a search may use.
    pub(in crate::memory) scope: Cell<Scope>,
    /// A block of which frames were in flight when the last search failed.
    pub(in crate::memory) in_flight: Cell<Option<BlockNumber>>,
    /// By order: the block in which a search that reserves none has found something last.
    pub(in crate::memory) last: [Cell<Option<BlockNumber>>; RESERVED],
}

impl Hint {
    /// A hint without a reserved block.
    pub(in crate::memory) const fn new(scope: Scope) -> Self {
        Self {
            reserved: [const { ReservedBlock::none() }; RESERVED],
            previous: AtomicBlock::none(),
            scope: Cell::new(scope),
            in_flight: Cell::new(None),
            last: [const { Cell::new(None) }; RESERVED],
        }
    }

    /// The reserved block for an order below 9.
    #[inline(always)]
    pub(in crate::memory) const fn reserved(&self, order: Order) -> &ReservedBlock {
        &self.reserved[order.get() as usize]
    }

    /// Forgets where searches without a reservation have found something.
    pub(in crate::memory) fn forget_last(&self) {
        self.last.iter().for_each(|last| last.set(None));
    }

    /// The entries of all blocks that the CPU may have reserved.
    pub(in crate::memory) fn all_reserved(&self) -> impl Iterator<Item = &AtomicBlock> {
        self.reserved.iter().map(|reserved| &reserved.block).chain([&self.previous])
    }

    /// Resets all but the scope. No block is reserved.
    pub(in crate::memory) fn reset(&self) {
        debug_assert!(self.all_reserved().all(|block| block.get().is_none()));
        self.reserved.iter().for_each(|reserved| reserved.word.set(0));
        self.forget_last();
        self.in_flight.set(None);
    }
}
