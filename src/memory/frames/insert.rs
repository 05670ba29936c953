//! Adding memory: whole blocks go to the buddy, in runs as large as possible. A block at the edge of a range is managed in part, with a
//! mask of its managed frames.
//!
//! A range is checked as a whole, under the lock, before any of it is added.

use super::allocator::{Frames, InsertState};
use super::bitmap::WORD_BITS;
use super::error::InsertError;
use super::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use super::state::{self, Kind, State};
use super::sync::Ordering;
use core::ops::Range;

/// The part of a range that lies in one block.
struct Piece {
    block: BlockNumber,
    /// Indices in the block.
    frames: Range<usize>,
}

impl Piece {
    /// The words of the block's bitmap in which the part has bits, and these bits.
    fn masks(&self) -> impl Iterator<Item = (usize, u64)> {
        let Range { start, end } = self.frames;
        (start / WORD_BITS..end.div_ceil(WORD_BITS)).map(move |word| {
            let low = start.saturating_sub(word * WORD_BITS);
            let high = (end - word * WORD_BITS).min(WORD_BITS);
            (word, (u64::MAX << low) & (u64::MAX >> (WORD_BITS - high)))
        })
    }
}

/// A range as the blocks that it covers as a whole, and the parts of blocks before and after these.
struct Parts {
    edges: [Option<Piece>; 2],
    whole: Range<BlockNumber>,
}

impl Parts {
    fn of(range: &Range<FrameNumber>) -> Parts {
        let piece = |start: FrameNumber, end: FrameNumber| {
            let first = start.index_in_block();
            (start < end).then(|| Piece { block: start.block(), frames: first..first + (end - start) })
        };
        let up = range.start.get().next_multiple_of(FRAMES_PER_BLOCK);
        let down = range.end.get() / FRAMES_PER_BLOCK * FRAMES_PER_BLOCK;
        if up > down {
            // Within one block, and not all of it.
            let block = range.start.block();
            return Parts { edges: [piece(range.start, range.end), None], whole: block..block };
        }
        let (up, down) = (FrameNumber::new(up), FrameNumber::new(down));
        Parts { edges: [piece(range.start, up), piece(down, range.end)], whole: up.block()..down.block() }
    }

    fn edges(&self) -> impl Iterator<Item = &Piece> {
        self.edges.iter().flatten()
    }
}

impl Frames {
    /// Adds memory, at any time and of any size; how many frames.
    ///
    /// **Context:** thread or interrupt context, interrupts disabled. Holds locks for a time that grows with the number of blocks.
    ///
    /// # Errors
    /// [`InsertError`]; nothing has changed then.
    ///
    /// # Safety
    /// The frames are RAM, mapped writable in the direct map, and not used by anything else: from now on the allocator owns them.
    pub(crate) unsafe fn insert(&self, range: Range<FrameNumber>) -> Result<usize, InsertError> {
        if range.is_empty() {
            return Ok(0);
        }
        if range.end > self.end {
            return Err(InsertError::BeyondEnd { end: self.end });
        }
        let mut insert_state = self.insert_state.lock();
        let parts = Parts::of(&range);
        self.check_insert(&insert_state, &parts)?;
        for edge in parts.edges() {
            // SAFETY: the caller owns these frames (see # Safety), and `check_insert` has found them unmanaged.
            unsafe { self.insert_edge(&mut insert_state, edge) };
        }
        // SAFETY: the caller owns these blocks (see # Safety), and `check_insert` has found them absent.
        unsafe { self.insert_whole(parts.whole.start.0..parts.whole.end.0) };
        let frames = range.end - range.start;
        self.counters.inserted_frames.fetch_add(frames, Ordering::Relaxed);
        Ok(frames)
    }

    /// Checks that no frame of a range is managed yet, and that there are masks left for its edges.
    fn check_insert(&self, insert_state: &InsertState, parts: &Parts) -> Result<(), InsertError> {
        let limit = self.table.mask_limit();
        let mut masks_left = limit - insert_state.masks_used;
        if let Some(block) = self.first_managed(parts.whole.clone()) {
            return Err(InsertError::Overlap { frame: self.first_managed_frame(block) });
        }
        for edge in parts.edges() {
            let (_, state) = self.run_of(edge.block).unwrap_or((edge.block, State::BLANK));
            let overlap = match state.kind() {
                Kind::Blank => {
                    masks_left =
                        masks_left.checked_sub(1).ok_or(InsertError::TooManyPartialBlocks { limit })?;
                    None
                }
                Kind::Frames if !state.is_whole() => edge.masks().find_map(|(word, bits)| {
                    let managed = bits & !self.table.unmanaged(state, word, bits);
                    (managed != 0).then(|| word * WORD_BITS + managed.trailing_zeros() as usize)
                }),
                _ => Some(edge.frames.start),
            };
            if let Some(index) = overlap {
                return Err(InsertError::Overlap { frame: edge.block.first_frame() + index });
            }
        }
        Ok(())
    }

    /// The first block of a range that is managed.
    fn first_managed(&self, blocks: Range<BlockNumber>) -> Option<BlockNumber> {
        if blocks.is_empty() {
            return None;
        }
        if self.run_of(blocks.start).is_some() {
            return Some(blocks.start);
        }
        let by_word = self.table.first_not_blank(blocks.clone());
        let mut rest = blocks.start..by_word.unwrap_or(blocks.end);
        while rest.start < rest.end {
            let within = self.zone_layout().map_or(usize::MAX, |it| it.blocks_in_zone_from(rest.start));
            let end = BlockNumber(rest.start.0.saturating_add(within)).min(rest.end);
            if let Some(block) = self.first_in_buddy(rest.start..end) {
                return Some(block);
            }
            rest.start = end;
        }
        by_word
    }

    /// The first frame of a managed block that is managed.
    fn first_managed_frame(&self, block: BlockNumber) -> FrameNumber {
        let state = self.table.state(block);
        if state.kind() != Kind::Frames || state.is_whole() {
            return block.first_frame();
        }
        let words = self.table.mask(state).load();
        let index = words.iter().enumerate().find(|(_, word)| **word != 0);
        let index = index.map_or(0, |(at, word)| at * WORD_BITS + word.trailing_zeros() as usize);
        block.first_frame() + index
    }

    /// Adds whole blocks.
    ///
    /// # Safety
    /// They are absent, and as [`insert`](Self::insert) demands.
    unsafe fn insert_whole(&self, mut blocks: Range<usize>) {
        while !blocks.is_empty() {
            let first = BlockNumber(blocks.start);
            let within = self.zone_layout().map_or(usize::MAX, |it| it.blocks_in_zone_from(first));
            let order = Order::largest_at(first, within.min(blocks.len()));
            self.return_to_buddy(first, order);
            blocks.start += order.blocks();
        }
    }

    /// Adds a part of a block.
    ///
    /// # Safety
    /// The frames are not managed, and as [`insert`](Self::insert) demands.
    unsafe fn insert_edge(&self, insert_state: &mut InsertState, piece: &Piece) {
        let (block, count) = (piece.block, piece.frames.len());
        let (cell, bitmap) = (self.table.cell(block), self.table.bitmap(block));
        let mut state = state::load(cell);
        if state.kind() == Kind::Blank {
            state = State::partial(insert_state.masks_used);
            insert_state.masks_used += 1;
            self.table.mask(state).reset_to_free_from(FRAMES_PER_BLOCK);
            bitmap.reset_to_free_from(FRAMES_PER_BLOCK);
            state::store(cell, state);
        }
        // First the mask, then the count of managed frames, then the bits, then the count of free frames: a CPU that sees a frame
        // free finds it managed.
        for (word, bits) in piece.masks() {
            self.table.mask(state).set(word, bits);
        }
        let adopted = state::update(cell, |state| state.adopt(count));
        debug_assert!(adopted.is_some(), "more frames than a block has in {block:?}");
        for (word, bits) in piece.masks() {
            bitmap.set(word, bits);
        }
        let largest = bitmap.largest();
        self.finish_update(block, state::update(cell, |state| state.put(count, largest)));
    }
}
