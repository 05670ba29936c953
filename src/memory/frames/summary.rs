//! The summary: which blocks may have a free run of an order, as a tree of bits.
//!
//! A word has 8 columns and 8 rows, of which each is a byte. In the lowest level a column stands for a block, and the rows for orders 0 to
//! 7: the column of a block is marked up to the largest order that the block may have. So one instruction marks or unmarks a block for all
//! orders, and CPUs that do so for neighbouring blocks seldom meet in a word. In each higher level a column stands for a word of the level
//! below: a row is marked where that word has the row, so that a search in terabytes of memory skips what is empty. Order 8 shares the
//! row of order 7.
//!
//! The bits are hints. If none is set, frames may still be free; a marked block may have no such run when it is tried. But a bit must not
//! stay clear forever while its block has one. So bits are set after the state word of the block has changed, and cleared before that word
//! is read once more. Both are read-modify-write operations on the same word, so the later one sees what came before the other.

use super::number::{BlockNumber, Order};
use super::sync::{AtomicU64, Ordering};
use core::ops::Range;

/// Columns in a word.
const COLUMNS: usize = 8;
/// The first column.
const COLUMN: u64 = 0x0101_0101_0101_0101;
/// The last row.
const LAST_ROW: u32 = 7;

/// The most levels.
pub(in crate::memory) const MAX_LEVELS: usize = 6;
/// A level of so many words is not worth a level above it.
const FEW_WORDS: usize = 8;

/// The rows of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) struct Rows(u64);

impl Rows {
    pub(in crate::memory) const NONE: Self = Self(0);

    /// Those of order 0 up to this one.
    #[inline(always)]
    pub(in crate::memory) const fn up_to(largest: Order) -> Self {
        Self(COLUMN & (u64::MAX >> (u64::BITS - 8 * (row(largest) + 1))))
    }

    /// The others.
    #[inline(always)]
    pub(in crate::memory) const fn others(self) -> Self {
        Self(COLUMN & !self.0)
    }

    /// Whether it has all of these.
    #[inline(always)]
    pub(in crate::memory) const fn has(self, rows: Rows) -> bool {
        rows.0 & !self.0 == 0
    }
}

/// The row of an order.
#[inline(always)]
const fn row(order: Order) -> u32 {
    let order = order.get() as u32;
    if order < LAST_ROW { order } else { LAST_ROW }
}

/// The rows of a word that are marked in any column.
#[inline(always)]
const fn rows_in(word: u64) -> u64 {
    let word = word | word >> 4;
    let word = word | word >> 2;
    (word | word >> 1) & COLUMN
}

/// The tree.
pub(in crate::memory) struct Summary {
    /// The lowest level first. Those that are not needed are empty.
    levels: [&'static [AtomicU64]; MAX_LEVELS],
}

impl Summary {
    /// How many words each level has for so many blocks; 0 for a level that is not needed.
    pub(in crate::memory) const fn words_needed(blocks: usize) -> [usize; MAX_LEVELS] {
        let mut words = [0; MAX_LEVELS];
        words[0] = blocks.div_ceil(COLUMNS);
        let mut level = 1;
        while level < MAX_LEVELS && words[level - 1] > FEW_WORDS {
            words[level] = words[level - 1].div_ceil(COLUMNS);
            level += 1;
        }
        words
    }

    /// A summary in these levels, all zero.
    pub(in crate::memory) const fn new(levels: [&'static [AtomicU64]; MAX_LEVELS]) -> Self {
        Self { levels }
    }

    /// Marks rows of a block. The caller has changed its state word before.
    pub(in crate::memory) fn set(&self, block: BlockNumber, rows: Rows) {
        self.set_from(0, block.0, rows.0);
    }

    fn set_from(&self, lowest: usize, index: usize, rows: u64) {
        let (mut index, mut rows) = (index, rows);
        for level in &self.levels[lowest..] {
            let Some(word) = level.get(index / COLUMNS) else { return };
            let before = word.fetch_or(rows << (index % COLUMNS), Ordering::AcqRel);
            rows &= !rows_in(before);
            if rows == 0 {
                return;
            }
            index /= COLUMNS;
        }
    }

    /// Ends marks of a block, except for those that `offered` finds to be right. It reads the state word of the block.
    pub(in crate::memory) fn clear(&self, block: BlockNumber, rows: Rows, offered: impl FnOnce() -> Rows) {
        self.clear_from(0, block.0, rows.0);
        let right = offered().0 & rows.0;
        if right != 0 {
            self.set_from(0, block.0, right);
        }
    }

    fn clear_from(&self, level: usize, index: usize, rows: u64) {
        let Some(word) = self.levels.get(level).and_then(|words| words.get(index / COLUMNS)) else { return };
        let cleared = rows << (index % COLUMNS);
        let after = word.fetch_and(!cleared, Ordering::AcqRel) & !cleared;
        let gone = rows & !rows_in(after);
        if gone != 0 {
            self.clear_from(level + 1, index / COLUMNS, gone);
            let back = gone & rows_in(word.load(Ordering::Acquire));
            if back != 0 {
                self.set_from(level + 1, index / COLUMNS, back);
            }
        }
    }

    /// The marked rows of a block.
    pub(in crate::memory) fn rows_of(&self, block: BlockNumber) -> Rows {
        let word = self.levels[0].get(block.0 / COLUMNS).map_or(0, |word| word.load(Ordering::Relaxed));
        Rows(word >> (block.0 % COLUMNS) & COLUMN)
    }

    /// The blocks of this range that are marked for this order, in ascending order.
    pub(in crate::memory) fn candidates(
        &self,
        range: Range<BlockNumber>,
        order: Order,
    ) -> impl Iterator<Item = BlockNumber> {
        let mut next = range.start.0;
        core::iter::from_fn(move || {
            let block = self.first_from(next, range.end.0, row(order))?;
            next = block + 1;
            Some(BlockNumber(block))
        })
    }

    /// The first marked block from `from` on and below `end`.
    fn first_from(&self, mut from: usize, end: usize, row: u32) -> Option<usize> {
        let columns = |word: &AtomicU64| (word.load(Ordering::Relaxed) >> (8 * row)) as u8;
        while from < end {
            // Up to the first level that has a mark at or after this place.
            let (mut level, mut at) = (0, from);
            let mut found = loop {
                let marked = columns(self.levels[level].get(at / COLUMNS)?) & (u8::MAX << (at % COLUMNS));
                if marked != 0 {
                    break at / COLUMNS * COLUMNS + marked.trailing_zeros() as usize;
                }
                at = at / COLUMNS + 1;
                match self.levels.get(level + 1) {
                    Some(above) if !above.is_empty() => level += 1,
                    // The highest level has no other above it, and few words.
                    _ => {
                        let mut rest = (at..).zip(self.levels[level].get(at..)?);
                        let (word, marked) = rest.find_map(|(word, bits)| match columns(bits) {
                            0 => None,
                            marked => Some((word, marked)),
                        })?;
                        break word * COLUMNS + marked.trailing_zeros() as usize;
                    }
                }
            };
            // Down to the block.
            while level > 0 {
                let marked = columns(self.levels[level - 1].get(found)?);
                if marked == 0 {
                    // It was cleared meanwhile.
                    break;
                }
                level -= 1;
                found = found * COLUMNS + marked.trailing_zeros() as usize;
            }
            if level == 0 {
                return Some(found).filter(|&block| block < end);
            }
            from = (found + 1) << (level * COLUMNS.trailing_zeros() as usize);
        }
        None
    }
}
