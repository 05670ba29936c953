//! The block table: a state word and a bitmap for each block of 2 MiB, masks of partially managed blocks, and the summary.
//!
//! For each gigabyte it has the bits of its free blocks, and its links in the lists of the [buddy](super::buddy).
//!
//! Only this file knows where the metadata of a block is: a sparse layout would change this file alone. Start-up zeroes the states, the
//! summary and the bits of free blocks, 9½ bytes per block and a few cache lines more. A bitmap is not touched before its block is split into frames, a mask not before its
//! block is managed in part.

use super::bitmap::Bitmap;
use super::block_bits::BLOCKS;
#[cfg(feature = "faults")]
use super::faults;
use super::gigabyte::{Gigabyte, GigabyteIndex};
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::state::{self, Kind, State};
use super::summary::{MAX_LEVELS, Rows, Summary};
use super::sync::{AtomicU64, MODELLED, place, place_as_is};
use super::zone_layout::MAX_REGIONS;
use core::ops::Range;
use core::ptr::NonNull;

/// The alignment of the metadata and of each of its parts: a cache line.
pub(in crate::memory) const LINE_BYTES: usize = 64;
/// States in a cache line, and the number of lines over which the states of adjacent blocks are spread.
const STATES_PER_LINE: usize = LINE_BYTES / 8;

/// A gigabyte's bits, and what else there is of it.
const GIGABYTE_BYTES: usize = 2 * LINE_BYTES;

/// The offsets of the parts of the metadata, in bytes.
struct TableLayout {
    blocks: usize,
    masks: usize,
    summary_at: usize,
    /// Words in each level of the summary.
    levels: [usize; MAX_LEVELS],
    /// Gigabytes, at least one, and the last may have fewer blocks.
    gigabytes: usize,
    /// How many borders of zones may lie within gigabytes.
    borders: usize,
    gigabytes_at: usize,
    masks_at: usize,
    bitmaps_at: usize,
    bytes: usize,
}

/// How many borders of zones may lie within the gigabytes of so many blocks.
const fn borders_within(blocks: usize) -> usize {
    // Some for the smallest machines. Models have one zone.
    let limit = if MODELLED { 0 } else { 4 + blocks / 8 };
    if limit < MAX_REGIONS { limit } else { MAX_REGIONS }
}

impl TableLayout {
    const fn new(end: FrameNumber, masks: usize) -> Self {
        let blocks = end.get().div_ceil(FRAMES_PER_BLOCK);
        let levels = Summary::words_needed(blocks);
        let (mut summary_words, mut level) = (0, 0);
        while level < MAX_LEVELS {
            // Each level begins in a line of its own.
            summary_words += levels[level].next_multiple_of(STATES_PER_LINE);
            level += 1;
        }
        let summary_at = cells(blocks) * 8;
        let gigabytes = if blocks > BLOCKS { blocks.div_ceil(BLOCKS) } else { 1 };
        let borders = borders_within(blocks);
        let gigabytes_at = summary_at + summary_words * 8;
        let masks_at = gigabytes_at + (gigabytes + borders) * GIGABYTE_BYTES;
        let bitmaps_at = masks_at + masks * LINE_BYTES;
        let bytes = bitmaps_at + blocks * LINE_BYTES;
        Self {
            blocks,
            masks,
            summary_at,
            levels,
            gigabytes,
            borders,
            gigabytes_at,
            masks_at,
            bitmaps_at,
            bytes,
        }
    }
}

const _: () = {
    assert!(size_of::<AtomicU64>() == 8 || MODELLED, "states are 8 bytes");
    assert!(size_of::<Bitmap>() == LINE_BYTES || MODELLED, "a bitmap is one line");
    assert!(size_of::<Gigabyte>() == GIGABYTE_BYTES || MODELLED, "a gigabyte is two lines");
    // 2 bits a frame, for 1 GiB and for 16 TiB, with more edges than a loader's map has.
    assert!(TableLayout::new(FrameNumber::new(1 << 18), 128).bytes <= (1 << 18) / 4);
    assert!(TableLayout::new(FrameNumber::new(1 << 32), 512).bytes <= (1 << 32) / 4);
};

/// The number of state words: whole groups.
const fn cells(blocks: usize) -> usize {
    blocks.next_multiple_of(GROUP)
}

/// The index of a block's state word. CPUs take adjacent blocks from the buddy and change their states with every batch, so the states of
/// adjacent blocks are in different cache lines. In each group of 64 blocks they are a square whose rows are lines; column *n* is moved
/// by *n* rows, by exclusive or, which is cheap and stays within the square.
#[inline(always)]
pub(in crate::memory) const fn cell_of(block: BlockNumber) -> usize {
    block.0 ^ (block.0 % STATES_PER_LINE * STATES_PER_LINE)
}

/// Blocks whose indices are a permutation of their numbers.
const GROUP: usize = STATES_PER_LINE * STATES_PER_LINE;

/// A range of blocks as whole groups, and the blocks before and after these.
struct Groups {
    before: Range<usize>,
    groups: Range<usize>,
    after: Range<usize>,
}

impl Groups {
    fn of(first: BlockNumber, blocks: usize) -> Groups {
        let (start, end) = (first.0, first.0 + blocks);
        let up = start.next_multiple_of(GROUP).min(end);
        let down = (end - end % GROUP).max(up);
        Groups { before: start..up, groups: up..down, after: down..end }
    }
}

/// The block table.
pub(in crate::memory) struct Table {
    blocks: usize,
    /// By [`cell_of`].
    states: &'static [AtomicU64],
    bitmaps: &'static [Bitmap],
    /// For partially managed blocks: 1 = managed. A mask only grows, and stays with its block.
    masks: &'static [Bitmap],
    summary: Summary,
    /// By [`GigabyteIndex`]: the gigabytes, and behind them those for the borders of zones.
    gigabytes: &'static [Gigabyte],
    borders: usize,
}

impl Table {
    /// The size in bytes of the metadata for the frames below `end`, with so many partially managed blocks.
    pub(in crate::memory) const fn metadata_bytes(end: FrameNumber, partial_blocks: usize) -> usize {
        TableLayout::new(end, partial_blocks).bytes
    }

    /// A table of absent blocks.
    ///
    /// # Safety
    /// From `metadata` on, aligned to [`LINE_BYTES`], there are [`metadata_bytes`](Self::metadata_bytes) of
    /// initialised memory with any content, valid for reads and writes, and used by nothing else while the table is.
    pub(in crate::memory) unsafe fn new(
        metadata: NonNull<u8>,
        end: FrameNumber,
        partial_blocks: usize,
    ) -> Self {
        let layout = TableLayout::new(end, partial_blocks);
        let zero = || AtomicU64::new(0);
        // SAFETY: the offsets of the layout lie within the memory that the caller guarantees (see # Safety).
        let at = |offset: usize| unsafe { metadata.add(offset) };
        // SAFETY: the part is disjoint from the others, aligned to lines, and within the memory that the caller guarantees (see
        // # Safety).
        let words = |offset: usize, count: usize| unsafe { place(at(offset), count, zero) };
        // SAFETY: the part is disjoint from the others, aligned to lines, and within the memory that the caller guarantees (see
        // # Safety). All bit patterns are valid for an atomic integer, and so for an array of them.
        let bitmaps = |offset: usize, count: usize| unsafe { place_as_is(at(offset), count, Bitmap::new) };
        // SAFETY: the part is disjoint from the others, aligned to lines, as all before it are whole lines, and within the memory that
        // the caller guarantees (see # Safety).
        let gigabytes =
            unsafe { place(at(layout.gigabytes_at), layout.gigabytes + layout.borders, Gigabyte::new) };
        let mut next_level = layout.summary_at;
        let table = Self {
            blocks: layout.blocks,
            states: words(0, cells(layout.blocks)),
            summary: Summary::new(layout.levels.map(|count| {
                let at = next_level;
                next_level += count.next_multiple_of(STATES_PER_LINE) * 8;
                words(at, count)
            })),
            gigabytes,
            borders: layout.borders,
            masks: bitmaps(layout.masks_at, layout.masks),
            bitmaps: bitmaps(layout.bitmaps_at, layout.blocks),
        };
        table.reset_gigabytes();
        table
    }

    /// How many blocks there are, managed or not.
    pub(in crate::memory) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Every block.
    pub(in crate::memory) fn all(&self) -> Range<BlockNumber> {
        BlockNumber(0)..BlockNumber(self.blocks())
    }

    /// How many blocks may be managed in part.
    pub(in crate::memory) fn mask_limit(&self) -> usize {
        self.masks.len()
    }

    /// A block's state word.
    #[inline(always)]
    pub(in crate::memory) fn cell(&self, block: BlockNumber) -> &AtomicU64 {
        &self.states[cell_of(block)]
    }

    /// A block's state word. `None` for a block beyond the end.
    #[inline(always)]
    pub(in crate::memory) fn cell_within(&self, block: BlockNumber) -> Option<&AtomicU64> {
        self.states.get(cell_of(block))
    }

    /// A block's state word. Blocks beyond the end are blank.
    #[inline(always)]
    pub(in crate::memory) fn state(&self, block: BlockNumber) -> State {
        self.cell_within(block).map_or(State::BLANK, state::load)
    }

    /// Sets a block's state word.
    #[inline(always)]
    pub(in crate::memory) fn set(&self, block: BlockNumber, state: State) {
        state::store(self.cell(block), state);
    }

    /// Replaces a block's state word if it is `old`; whether it was. Blocks beyond the end are blank.
    #[inline(always)]
    pub(in crate::memory) fn replace(&self, block: BlockNumber, old: State, new: State) -> bool {
        self.cell_within(block).is_some_and(|cell| {
            // Read first: a compare-and-swap that fails takes the cache line from other CPUs all the same.
            state::load(cell) == old && state::replace(cell, old, new)
        })
    }

    /// The first block of the run, not in the buddy, that contains a block whose word is blank, and its state.
    pub(in crate::memory) fn run_around(&self, block: BlockNumber) -> Option<(BlockNumber, State)> {
        // Each larger run that may contain the block begins at or below the smaller one.
        for order in (Order::BLOCK.get() + 1..=Order::MAX.get()).filter_map(Order::new) {
            let head = block.head(order);
            let state = self.state(head);
            if state != State::BLANK {
                let is_run = matches!(state.kind(), Kind::Transit | Kind::Huge | Kind::Cached);
                return (is_run && state.order() >= Some(order)).then_some((head, state));
            }
        }
        None
    }

    /// The first block of the range whose word is not blank.
    pub(in crate::memory) fn first_not_blank(&self, blocks: Range<BlockNumber>) -> Option<BlockNumber> {
        let Groups { before, groups, after } = Groups::of(blocks.start, blocks.end.0 - blocks.start.0);
        let is_blank = |block: usize| self.state(BlockNumber(block)) == State::BLANK;
        if before.chain(after).all(is_blank)
            && self.states[groups].iter().all(|cell| state::load(cell) == State::BLANK)
        {
            return None;
        }
        BlockNumber::each(blocks).find(|block| !is_blank(block.0))
    }

    /// How many borders of zones may lie within gigabytes.
    pub(in crate::memory) fn border_limit(&self) -> usize {
        self.borders
    }

    /// The gigabyte with this index.
    #[inline(always)]
    pub(in crate::memory) fn gigabyte(&self, index: GigabyteIndex) -> &'static Gigabyte {
        &self.gigabytes[index.0]
    }

    /// The gigabyte of a block, for the zone of its first block. Blocks beyond the end have the first one.
    #[inline(always)]
    pub(in crate::memory) fn gigabyte_of(&self, block: BlockNumber) -> &'static Gigabyte {
        self.gigabytes.get(block.0 / BLOCKS).unwrap_or_else(|| self.first_gigabyte())
    }

    #[cold]
    #[inline(never)]
    fn first_gigabyte(&self) -> &'static Gigabyte {
        &self.gigabytes[0]
    }

    /// The gigabyte for the zone above the border within a gigabyte that has this number.
    pub(in crate::memory) fn gigabyte_above(&self, border: usize) -> &'static Gigabyte {
        self.gigabyte(GigabyteIndex(self.gigabytes.len() - self.borders + border))
    }

    /// Removes all gigabytes from all lists.
    pub(in crate::memory) fn reset_gigabytes(&self) {
        for (index, gigabyte) in self.gigabytes.iter().enumerate() {
            gigabyte.reset(GigabyteIndex(index), index);
        }
    }

    /// Moves the bits of blocks of one gigabyte from their own to that for the zone above this border.
    pub(in crate::memory) fn move_bits(&self, blocks: Range<BlockNumber>, border: usize) {
        let (own, above) = (self.gigabyte_of(blocks.start), self.gigabyte_above(border));
        above.reset(above.index(), blocks.start.0 / BLOCKS);
        let first = blocks.start.0 % BLOCKS;
        let all = own.free_now();
        let moved = all.within(first, first + (blocks.end.0 - blocks.start.0));
        for (word, (&bits, &all)) in moved.0.iter().zip(&all.0).enumerate() {
            above.free().store(word, bits);
            own.free().store(word, all & !bits);
        }
    }

    /// A block's bitmap. It has a meaning while the block's kind is `Frames`.
    #[inline(always)]
    pub(in crate::memory) fn bitmap(&self, block: BlockNumber) -> &Bitmap {
        &self.bitmaps[block.0]
    }

    /// The mask of a block that is managed in part.
    #[inline(always)]
    pub(in crate::memory) fn mask(&self, state: State) -> &Bitmap {
        &self.masks[state.mask()]
    }

    /// Which of these bits in a word of the block's bitmap stand for frames that are not managed.
    #[inline(always)]
    pub(in crate::memory) fn unmanaged(&self, state: State, word: usize, bits: u64) -> u64 {
        if state.is_whole() { 0 } else { bits & !self.mask(state).word(word) }
    }

    /// Marks in the summary that the block is available, with runs up to this order. The caller has changed its state before.
    #[cold]
    #[inline(never)]
    pub(in crate::memory) fn mark_available(&self, block: BlockNumber, largest: Order) {
        #[cfg(feature = "faults")]
        if faults::strikes_block(faults::FrameFault::SkipSummaryUpdate) {
            return;
        }
        self.summary.set(block, Rows::up_to(largest));
    }

    /// Ends the marks of a block in the summary that its state does not justify: it has no such run, or a CPU has reserved it.
    #[cold]
    #[inline(never)]
    pub(in crate::memory) fn mark_unavailable(&self, block: BlockNumber) {
        let wrong = self.offered_rows(block).others();
        self.summary.clear(block, wrong, || self.offered_rows(block));
    }

    /// [`mark_unavailable`](Self::mark_unavailable) for a block that has just left the table, and has all marks.
    #[inline(always)]
    pub(in crate::memory) fn unmark(&self, block: BlockNumber) {
        self.summary.clear(block, Rows::NONE.others(), || self.offered_rows(block));
    }

    fn offered_rows(&self, block: BlockNumber) -> Rows {
        let state = self.state(block);
        let is_offered = state.kind() == Kind::Frames && state.is_offered();
        if is_offered { Rows::up_to(state.largest()) } else { Rows::NONE }
    }

    /// Whether the summary marks the block for every order up to this one.
    pub(in crate::memory) fn is_marked_available(&self, block: BlockNumber, order: Order) -> bool {
        self.summary.rows_of(block).has(Rows::up_to(order))
    }

    /// Blocks of this range that are probably available and have a run of this order, in ascending order.
    pub(in crate::memory) fn candidates(
        &self,
        range: Range<BlockNumber>,
        order: Order,
    ) -> impl Iterator<Item = BlockNumber> {
        self.summary.candidates(range, order)
    }
}
