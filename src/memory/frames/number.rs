//! The units of the allocator: frames of 4 KiB, blocks of 2 MiB, and orders, powers of two of a frame.
//!
//! Each is a type of its own: to mix up a frame number with an address or with a block number is an error that an allocator can survive
//! unnoticed for a long time.

use core::fmt;
use core::ops::{Add, Range, Sub};

use crate::cpu::PAGE_BYTES;

/// The size of a frame in bytes.
pub const FRAME_BYTES: usize = PAGE_BYTES;
/// log2 of a frame's size in bytes.
pub const FRAME_SHIFT: u32 = FRAME_BYTES.trailing_zeros();
/// Frames in a block: as many as a page-directory entry maps, and as a cache line has bits.
pub const FRAMES_PER_BLOCK: usize = 1 << Order::BLOCK.get();
/// The number of orders, 0 to 18.
pub const ORDERS: usize = Order::MAX.get() as usize + 1;

/// The number of a physical frame: its address divided by [`FRAME_BYTES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct FrameNumber(usize);

impl FrameNumber {
    /// The frame with this number.
    #[inline(always)]
    pub const fn new(number: usize) -> Self {
        Self(number)
    }

    /// The frame that holds this physical address.
    #[inline(always)]
    pub const fn containing(address: usize) -> Self {
        Self(address >> FRAME_SHIFT)
    }

    /// The number.
    #[inline(always)]
    pub const fn get(self) -> usize {
        self.0
    }

    /// The physical address of the frame's first byte.
    #[inline(always)]
    pub const fn address(self) -> usize {
        self.0 << FRAME_SHIFT
    }

    /// Whether a run of this order may start here.
    #[inline(always)]
    pub const fn is_aligned_to(self, order: Order) -> bool {
        self.0 & (order.frames() - 1) == 0
    }

    #[inline(always)]
    pub(in crate::memory) const fn block(self) -> BlockNumber {
        BlockNumber(self.0 / FRAMES_PER_BLOCK)
    }

    #[inline(always)]
    pub(in crate::memory) const fn index_in_block(self) -> usize {
        self.0 % FRAMES_PER_BLOCK
    }
}

impl Add<usize> for FrameNumber {
    type Output = Self;

    #[inline(always)]
    fn add(self, frames: usize) -> Self {
        Self(self.0 + frames)
    }
}

impl Sub for FrameNumber {
    type Output = usize;

    #[inline(always)]
    fn sub(self, earlier: Self) -> usize {
        self.0 - earlier.0
    }
}

impl fmt::Display for FrameNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {:#x}", self.0)
    }
}

/// A size: 2^order frames, naturally aligned. 0 is a frame, 9 a block of 2 MiB, 18 one of 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Order(u8);

impl Order {
    /// One frame, 4 KiB.
    pub const FRAME: Self = Self(0);
    /// The frames of a bitmap word, 256 KiB.
    pub(in crate::memory) const WORD: Self = Self(6);
    /// One block, 2 MiB: the smallest order of the buddy.
    pub const BLOCK: Self = Self(9);
    /// The largest order, 1 GiB.
    pub const MAX: Self = Self(18);

    /// The order with this number, if there is one.
    #[inline(always)]
    pub const fn new(order: u8) -> Option<Self> {
        if order <= Self::MAX.0 { Some(Self(order)) } else { None }
    }

    /// The smallest order with at least so many frames, if there is one.
    pub const fn containing(frames: usize) -> Option<Self> {
        match frames.checked_next_power_of_two() {
            Some(frames) => Self::new(frames.trailing_zeros() as u8),
            None => None,
        }
    }

    /// The largest order of a naturally aligned run that starts at `first` and has no more than `frames` frames; `None` for 0 frames.
    pub const fn largest_in(first: FrameNumber, frames: usize) -> Option<Self> {
        let Some(by_size) = frames.checked_ilog2() else { return None };
        let by_alignment = first.0.trailing_zeros();
        let least = if by_size < by_alignment { by_size } else { by_alignment };
        Some(Self(if least < Self::MAX.0 as u32 { least as u8 } else { Self::MAX.0 }))
    }

    /// The number.
    #[inline(always)]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The frames of a run of this order.
    #[inline(always)]
    pub const fn frames(self) -> usize {
        1 << self.0
    }

    /// The bytes of a run of this order.
    #[inline(always)]
    pub const fn bytes(self) -> usize {
        FRAME_BYTES << self.0
    }

    /// The blocks of a run of this order, 9 or above.
    #[inline(always)]
    pub(in crate::memory) const fn blocks(self) -> usize {
        1 << (self.0 - Self::BLOCK.0)
    }

    /// The order that is half as large. This order is not 0.
    pub(in crate::memory) const fn half(self) -> Self {
        Self(self.0 - 1)
    }

    /// The order that is twice as large. This order is not [`MAX`](Self::MAX).
    #[inline(always)]
    pub(in crate::memory) const fn double(self) -> Self {
        Self(self.0 + 1)
    }

    /// The order of this index among those of whole blocks: order 9 for 0.
    #[inline(always)]
    pub(in crate::memory) const fn of_blocks(index: usize) -> Self {
        debug_assert!(index <= (Self::MAX.0 - Self::BLOCK.0) as usize);
        Self(Self::BLOCK.0 + index as u8)
    }

    /// The largest order of a naturally aligned run that starts at `start` and has no more than `blocks` blocks.
    pub(in crate::memory) const fn largest_at(start: BlockNumber, blocks: usize) -> Self {
        let by_size = blocks.ilog2();
        let by_alignment = start.0.trailing_zeros();
        let cap = (Self::MAX.0 - Self::BLOCK.0) as u32;
        let least = if by_size < by_alignment { by_size } else { by_alignment };
        Self(Self::BLOCK.0 + (if least < cap { least } else { cap }) as u8)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {}", self.0)
    }
}

/// The number of a block of 2 MiB: its address divided by its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(in crate::memory) struct BlockNumber(pub(in crate::memory) usize);

impl BlockNumber {
    /// The block's first frame.
    #[inline(always)]
    pub(in crate::memory) const fn first_frame(self) -> FrameNumber {
        FrameNumber(self.0 * FRAMES_PER_BLOCK)
    }

    /// The blocks of a range.
    pub(in crate::memory) fn each(range: Range<Self>) -> impl Iterator<Item = Self> + Clone {
        (range.start.0..range.end.0).map(Self)
    }

    /// The first block of the naturally aligned run of `order` that contains this block.
    pub(in crate::memory) const fn head(self, order: Order) -> Self {
        Self(self.0 & !(order.blocks() - 1))
    }

    /// The buddy of the run of `order` that starts here: the other half of the next larger run.
    pub(in crate::memory) const fn buddy(self, order: Order) -> Self {
        Self(self.0 ^ order.blocks())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_into_aligned_pieces_without_gaps() {
        for first in 0..40 {
            for frames in 0..70 {
                let (mut next, mut left) = (FrameNumber::new(first), frames);
                while let Some(order) = Order::largest_in(next, left) {
                    assert!(next.is_aligned_to(order) && order.frames() <= left, "{first} {frames}");
                    // The next larger piece is either misaligned or too long.
                    let twice = Order(order.0 + 1);
                    assert!(!next.is_aligned_to(twice) || twice.frames() > left, "{first} {frames}");
                    next = next + order.frames();
                    left -= order.frames();
                }
                assert_eq!((next.get(), left), (first + frames, 0));
            }
        }
    }

    #[test]
    fn no_piece_exceeds_the_largest_order() {
        let largest = Order::largest_in(FrameNumber::new(0), 3 * Order::MAX.frames());
        assert_eq!(largest, Some(Order::MAX));
        assert_eq!(Order::largest_in(FrameNumber::new(0), usize::MAX), Some(Order::MAX));
    }
}
