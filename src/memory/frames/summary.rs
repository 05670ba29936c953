//! The summary: blocks with available frames, one bit for each block, and one bit for each 64 of those.
//!
//! The bits are hints. If none is set, frames may still be free; a marked block may be empty when it is tried. But a bit must not stay
//! clear forever while its block has free frames. So a bit is set after the count has risen from 0, and cleared before the count is read
//! once more. Both are read-modify-write operations on the same word, so the later one sees what came before the other.

use super::number::BlockNumber;
use super::sync::{AtomicU64, Ordering};
use core::ops::Range;

const WORD_BITS: usize = u64::BITS as usize;

/// The two levels of hints.
pub(in crate::memory) struct Summary {
    /// A bit for each block.
    blocks: &'static [AtomicU64],
    /// A bit for each word of `blocks`, so that a search in terabytes of memory skips what is empty.
    words: &'static [AtomicU64],
}

impl Summary {
    /// How many words each level has for so many blocks.
    pub(in crate::memory) const fn words_needed(blocks: usize) -> (usize, usize) {
        let words = blocks.div_ceil(WORD_BITS);
        (words, words.div_ceil(WORD_BITS))
    }

    /// A summary in these two levels, all zero.
    pub(in crate::memory) fn new(blocks: &'static [AtomicU64], words: &'static [AtomicU64]) -> Self {
        Self { blocks, words }
    }

    /// Marks that the block has available frames.
    pub(in crate::memory) fn set(&self, block: BlockNumber) {
        let word = block.0 / WORD_BITS;
        if set_bit(&self.blocks[word], block.0) == 0 {
            set_bit(&self.words[word / WORD_BITS], word);
        }
    }

    /// Marks that the block has no available frames, unless `has_free` finds that it has some again.
    pub(in crate::memory) fn clear(&self, block: BlockNumber, has_free: impl FnOnce() -> bool) {
        let word = block.0 / WORD_BITS;
        if clear_bit(&self.blocks[word], block.0) == 0 {
            clear_bit(&self.words[word / WORD_BITS], word);
            if self.blocks[word].load(Ordering::Acquire) != 0 {
                set_bit(&self.words[word / WORD_BITS], word);
            }
        }
        if has_free() {
            self.set(block);
        }
    }

    /// The marked blocks of this range, from `start` on and then from the first on; from the first on if `start` is not in the range.
    pub(in crate::memory) fn candidates(
        &self,
        range: Range<BlockNumber>,
        start: BlockNumber,
    ) -> impl Iterator<Item = BlockNumber> {
        let (first, end) = (range.start.0, range.end.0);
        let start = if range.contains(&start) { start.0 } else { first };
        let mut at = start;
        let mut wrapped = false;
        core::iter::from_fn(move || {
            loop {
                let limit = if wrapped { start } else { end };
                match self.next(at, limit) {
                    Some(block) => {
                        at = block + 1;
                        return Some(BlockNumber(block));
                    }
                    None if wrapped => return None,
                    None => {
                        wrapped = true;
                        at = first;
                    }
                }
            }
        })
    }

    /// The first block from `from` on and below `end` whose bit is set.
    fn next(&self, from: usize, end: usize) -> Option<usize> {
        let mut word = from / WORD_BITS;
        let mut bits = load_from(self.blocks.get(word)?, from);
        while bits == 0 {
            word = self.next_word(word + 1, end.div_ceil(WORD_BITS))?;
            bits = self.blocks.get(word)?.load(Ordering::Relaxed);
        }
        Some(word * WORD_BITS + bits.trailing_zeros() as usize).filter(|&block| block < end)
    }

    /// The first word of `blocks` from `from` on and below `end` that has a bit set.
    fn next_word(&self, from: usize, end: usize) -> Option<usize> {
        let mut group = from / WORD_BITS;
        let mut bits = load_from(self.words.get(group)?, from);
        while bits == 0 {
            group += 1;
            if group * WORD_BITS >= end {
                return None;
            }
            bits = self.words.get(group)?.load(Ordering::Relaxed);
        }
        Some(group * WORD_BITS + bits.trailing_zeros() as usize).filter(|&word| word < end)
    }
}

/// Sets the bit of this index in its word; the word before.
fn set_bit(word: &AtomicU64, index: usize) -> u64 {
    word.fetch_or(1 << (index % WORD_BITS), Ordering::AcqRel)
}

/// Clears the bit of this index in its word; the word after.
fn clear_bit(word: &AtomicU64, index: usize) -> u64 {
    let bit = 1 << (index % WORD_BITS);
    word.fetch_and(!bit, Ordering::AcqRel) & !bit
}

/// The bits of a word from this index on.
fn load_from(word: &AtomicU64, index: usize) -> u64 {
    word.load(Ordering::Relaxed) & (u64::MAX << (index % WORD_BITS))
}
