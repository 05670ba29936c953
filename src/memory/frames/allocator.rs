//! The shared part of the frame allocator: [`Frames`].

use core::ops::Range;
use core::ptr::NonNull;

use crossbeam_utils::CachePadded;

use super::bitmap;
#[cfg(feature = "faults")]
use super::faults;
use super::number::{BlockNumber, FrameNumber, Order};
use super::state::Kind;
use super::sync::{AtomicUsize, Lock, Once, Ordering};
use super::table::Table;
use super::zones::{LockedZone, Zone, Zones};

/// The part of the allocator that all CPUs share.
///
/// It is private to the crate: its functions take frames by number and trust the caller to own what it frees, and a
/// [`Magazine`] is of use with one allocator only. `memory` and `host` are the ways to it.
pub(crate) struct Frames {
    pub(in crate::memory) table: Table,
    pub(in crate::memory) end: FrameNumber,
    pub(in crate::memory) direct_map_base: usize,
    pub(in crate::memory) zones: Once<Zones>,
    /// On lines of their own: the fields above are read by all CPUs and hardly ever written.
    pub(in crate::memory) single_zone: Zone,
    pub(in crate::memory) insert_state: CachePadded<Lock<InsertState>>,
    pub(in crate::memory) counters: CachePadded<Counters>,
}

/// What is locked while memory is taken in, besides every state word that leaves `Absent`. Before an arena's lock.
pub(in crate::memory) struct InsertState {
    pub(in crate::memory) masks_used: usize,
}

/// Counted where something rare happens, never on the way of every call.
pub(in crate::memory) struct Counters {
    pub(in crate::memory) inserted_frames: AtomicUsize,
    pub(in crate::memory) double_frees: AtomicUsize,
}

impl Frames {
    /// How much metadata the frames below `end` need, where so many [blocks are managed in
    /// part](Self::partial_blocks): at most 2 bits a frame, unless that is every second block.
    pub const fn metadata_bytes(end: FrameNumber, partial_blocks: usize) -> usize {
        Table::metadata_bytes(end, partial_blocks)
    }

    /// How many blocks would be managed in part, were these ranges inserted, which are in order and apart.
    pub fn partial_blocks(ranges: impl Iterator<Item = Range<FrameNumber>>) -> usize {
        let (mut count, mut last) = (0, None);
        for edge in ranges.filter(|range| !range.is_empty()).flat_map(|range| [range.start, range.end]) {
            if edge.index_in_block() != 0 && last != Some(edge.block()) {
                count += 1;
                last = Some(edge.block());
            }
        }
        count
    }

    /// An allocator for frames below `end` that has none yet, of whose blocks up to `partial_blocks` can be managed in
    /// part. `direct_map_base` is the address at which physical address 0 is mapped.
    ///
    /// # Panics
    /// If the base is not a multiple of 1 GiB, or zero: blocks are linked through the direct map, and natural alignment
    /// must hold there.
    ///
    /// # Safety
    /// `metadata` is aligned to 64 bytes, and the [`metadata_bytes`](Self::metadata_bytes) from there on are initialised
    /// (zero or not: what must be zero is zeroed here), valid for reads and writes, and used by nothing else for as long
    /// as the allocator is.
    pub unsafe fn new(
        metadata: NonNull<u8>,
        end: FrameNumber,
        partial_blocks: usize,
        direct_map_base: usize,
    ) -> Self {
        debug_assert!(metadata.cast::<bitmap::Bitmap>().is_aligned());
        Self {
            // SAFETY: the metadata is aligned, long enough, initialised and nothing else's, guaranteed by the caller (see
            // # Safety).
            table: unsafe { Table::new(metadata, end, partial_blocks) },
            end,
            direct_map_base,
            zones: Once::new(),
            single_zone: Zone::new(direct_map_base),
            insert_state: CachePadded::new(Lock::new(InsertState { masks_used: 0 })),
            counters: CachePadded::new(Counters {
                inserted_frames: AtomicUsize::new(0),
                double_frees: AtomicUsize::new(0),
            }),
        }
    }

    /// The first frame past those that may be inserted.
    pub fn end(&self) -> FrameNumber {
        self.end
    }

    /// How large the metadata is, in bytes.
    pub fn table_bytes(&self) -> usize {
        Self::metadata_bytes(self.end, self.table.mask_limit())
    }

    /// How many frees were refused because their frame was free already.
    pub fn double_frees_caught(&self) -> usize {
        self.counters.double_frees.load(Ordering::Relaxed)
    }

    /// Sends a block in transit, that this CPU made so, to the buddy.
    #[cold]
    #[inline(never)]
    pub(in crate::memory) fn retire(&self, block: BlockNumber) {
        #[cfg(feature = "faults")]
        if faults::strikes_block(faults::Fault::ForgetBlock) {
            return self.table.mark_in_buddy(block, Order::BLOCK);
        }
        // SAFETY: the transition to `Transit` happens once, and this CPU did it: the block is free and nobody else's.
        unsafe { self.return_to_buddy(&mut self.locked(block).lock(), block, Order::BLOCK) };
        self.table.mark_unavailable(block);
    }

    /// Puts a piece into its arena's buddy and says so in the states.
    ///
    /// # Safety
    /// The lock is that of the piece's arena.
    /// The piece is naturally aligned, managed, mapped in the direct map, wholly free, and in this CPU's hands alone.
    #[inline(always)]
    pub(in crate::memory) unsafe fn return_to_buddy(
        &self,
        locked: &mut LockedZone,
        block: BlockNumber,
        order: Order,
    ) {
        self.table.mark_in_buddy(block, order);
        // A neighbour whose first block is not in the buddy is not in there as one piece: then there is none to merge.
        let alone = order < Order::MAX && self.table.state(block.buddy(order)).kind() != Kind::Buddy;
        #[cfg(feature = "faults")]
        let alone = alone || faults::is_armed(faults::Fault::KeepApart);
        // SAFETY: the piece is aligned, mapped and free, and the lock is its arena's, guaranteed by the caller (see # Safety); it is
        // not inside already, since it is in this CPU's hands.
        unsafe {
            if alone && locked.buddy.may_push() {
                locked.buddy.push(block, order);
            } else {
                locked.buddy.give(block, order);
            }
        }
    }
}
