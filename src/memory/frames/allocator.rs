//! The shared part of the frame allocator: [`Frames`].

use core::ops::Range;
use core::ptr::NonNull;

use crossbeam_utils::CachePadded;

use super::bitmap;
#[cfg(feature = "faults")]
use super::faults;
use super::gigabyte::Gigabyte;
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::state::{MAX_BLOCKS, State};
use super::sync::{AtomicUsize, Lock, Once, Ordering};
use super::table::Table;
use super::zone::{LockedZone, Zone, Zones};

/// The part of the allocator that all CPUs share.
///
/// It is private to the crate: its methods take frame numbers and trust the caller to own the frames that it frees, and a
/// magazine must be used with one allocator only. `memory` and `host` are its safe interfaces.
pub(crate) struct Frames {
    pub(in crate::memory) table: Table,
    pub(in crate::memory) end: FrameNumber,
    pub(in crate::memory) zones: Once<Zones>,
    /// On cache lines of their own: all CPUs read the fields above, which are hardly ever written.
    pub(in crate::memory) single_zone: Zone,
    pub(in crate::memory) insert_state: CachePadded<Lock<InsertState>>,
    pub(in crate::memory) counters: CachePadded<Counters>,
}

/// The data that the lock of `insert` protects, in addition to the state words that leave `Absent`. It is taken before the lock of a zone.
pub(in crate::memory) struct InsertState {
    pub(in crate::memory) masks_used: usize,
}

/// Counts that change seldom.
pub(in crate::memory) struct Counters {
    pub(in crate::memory) inserted_frames: AtomicUsize,
    pub(in crate::memory) double_frees: AtomicUsize,
    /// The blocks that CPUs have reserved. A hint for the search: models of the protocols leave it out.
    pub(in crate::memory) reserved: core::sync::atomic::AtomicUsize,
}

impl Frames {
    /// The size in bytes of the metadata for the frames below `end`, with so many [partially managed blocks](Self::partial_blocks): at
    /// most 2 bits per frame, unless every second block is managed in part.
    pub(crate) const fn metadata_bytes(end: FrameNumber, partial_blocks: usize) -> usize {
        Table::metadata_bytes(end, partial_blocks)
    }

    /// How many blocks are managed in part once these ranges are inserted. They are in ascending order and disjoint.
    pub(crate) fn partial_blocks(ranges: impl Iterator<Item = Range<FrameNumber>>) -> usize {
        let (mut count, mut last) = (0, None);
        for edge in ranges.filter(|range| !range.is_empty()).flat_map(|range| [range.start, range.end]) {
            if edge.index_in_block() != 0 && last != Some(edge.block()) {
                count += 1;
                last = Some(edge.block());
            }
        }
        count
    }

    /// An allocator for the frames below `end` that manages none yet. Up to `partial_blocks` blocks can be managed in part.
    ///
    /// # Panics
    /// If there are more blocks than [`MAX_BLOCKS`].
    ///
    /// # Safety
    /// `metadata` is aligned to 64 bytes, and the [`metadata_bytes`](Self::metadata_bytes) from there on are initialised
    /// (not necessarily to zero), valid for reads and writes, and used by nothing else while the allocator is used.
    pub(crate) unsafe fn new(metadata: NonNull<u8>, end: FrameNumber, partial_blocks: usize) -> Self {
        debug_assert!(metadata.cast::<bitmap::Bitmap>().is_aligned());
        assert!(
            end.get().div_ceil(FRAMES_PER_BLOCK) <= MAX_BLOCKS,
            "frames up to {end} are more than the metadata can describe"
        );
        Self {
            // SAFETY: the metadata is aligned, long enough, initialised and nothing else's, guaranteed by the caller (see
            // # Safety).
            table: unsafe { Table::new(metadata, end, partial_blocks) },
            end,
            zones: Once::new(),
            single_zone: Zone::new(),
            insert_state: CachePadded::new(Lock::new(InsertState { masks_used: 0 })),
            counters: CachePadded::new(Counters {
                inserted_frames: AtomicUsize::new(0),
                double_frees: AtomicUsize::new(0),
                reserved: core::sync::atomic::AtomicUsize::new(0),
            }),
        }
    }

    /// The end of the frames that can be inserted.
    pub(crate) fn end(&self) -> FrameNumber {
        self.end
    }

    /// The size of the metadata in bytes.
    pub(crate) fn table_bytes(&self) -> usize {
        Self::metadata_bytes(self.end, self.table.mask_limit())
    }

    /// How many double frees were refused.
    pub(crate) fn double_frees_caught(&self) -> usize {
        self.counters.double_frees.load(Ordering::Relaxed)
    }

    /// Moves a block to the buddy that this CPU has put into transit.
    #[cold]
    #[inline(never)]
    pub(in crate::memory) fn retire(&self, block: BlockNumber) {
        self.return_to_buddy(block, Order::BLOCK);
        self.table.unmark(block);
    }

    /// Puts a free run into the buddy of its zone, where it is merged with its free neighbours.
    ///
    /// The caller owns the run: it is naturally aligned, managed, and in no buddy; its word is in `Transit` or new.
    #[inline(always)]
    pub(in crate::memory) fn return_to_buddy(&self, block: BlockNumber, order: Order) {
        let (lock, gigabyte) = self.place_of_free(block);
        let mut locked = lock.lock();
        locked.buddy.give(&self.table, gigabyte, block, order);
        self.table.set(block, State::BLANK);
    }

    /// [`place_of`](Self::place_of) for a block that becomes free.
    #[inline(always)]
    pub(in crate::memory) fn place_of_free(
        &self,
        block: BlockNumber,
    ) -> (&Lock<LockedZone>, &'static Gigabyte) {
        // Fault injection: the blocks above a border go to the zone below it, in whose gigabyte they are.
        #[cfg(feature = "faults")]
        if faults::is_armed(faults::FrameFault::MergeAcrossZones)
            && let Some(below) = self.zone_layout().and_then(|layout| layout.border_in_gigabyte(block))
        {
            return self.place_of(BlockNumber(below.0 - 1));
        }
        self.place_of(block)
    }
}
