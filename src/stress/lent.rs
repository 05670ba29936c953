//! The frames that an allocator under test was lent: it may allocate no others.

use core::fmt;
use core::ops::Range;

use crate::memory::frames::{FrameNumber, Order};

/// The frames that an allocator under test may allocate, in ranges that do not touch each other.
#[derive(Clone, Copy, Debug)]
pub struct LentFrames<'a>(&'a [Range<FrameNumber>]);

impl<'a> LentFrames<'a> {
    /// No frames: those of a heap.
    pub(crate) const NONE: LentFrames<'static> = LentFrames(&[]);

    /// These frames.
    pub fn new(ranges: &'a [Range<FrameNumber>]) -> LentFrames<'a> {
        LentFrames(ranges)
    }

    /// Whether all frames of a run are among them.
    pub(crate) fn has(self, first: FrameNumber, order: Order) -> bool {
        let end = first.get().checked_add(order.frames());
        let holds_run = |range: &Range<FrameNumber>| {
            range.start <= first && end.is_some_and(|end| end <= range.end.get())
        };
        self.0.iter().any(holds_run)
    }

    /// The number of the frame after the last one.
    #[cfg(not(target_os = "none"))]
    pub(crate) fn end(self) -> FrameNumber {
        self.0.iter().map(|range| range.end).max().unwrap_or(FrameNumber::new(0))
    }

    /// The ranges, for a message.
    pub(crate) fn named(self) -> LentRanges {
        let first = self.0.first().cloned().unwrap_or(FrameNumber::new(0)..FrameNumber::new(0));
        LentRanges { start: first.start, end: first.end, more: self.0.len().saturating_sub(1) as u32 }
    }
}

/// The first range of [`LentFrames`], and the number of others. It is a part of results that lie on the stack in several copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentRanges {
    /// The first frame.
    pub start: FrameNumber,
    /// The frame after the last one.
    pub end: FrameNumber,
    /// The number of further ranges.
    pub more: u32,
}

impl fmt::Display for LentRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start.get(), self.end.get());
        match (end.checked_sub(1).filter(|last| start <= *last), self.more) {
            (None, _) => f.write_str("no frames"),
            (Some(last), 0) => write!(f, "frames {start:#x} to {last:#x}"),
            (Some(last), more) => write!(f, "frames {start:#x} to {last:#x} and {more} more ranges"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: usize, end: usize) -> Range<FrameNumber> {
        FrameNumber::new(start)..FrameNumber::new(end)
    }

    #[test]
    fn a_run_is_lent_if_all_of_its_frames_are() {
        let ranges = [range(0x40, 0x60), range(0x10, 0x18)];
        let lent = LentFrames::new(&ranges);
        let has = |first, order| lent.has(FrameNumber::new(first), Order::new(order).unwrap());
        assert!(has(0x40, 5) && has(0x5f, 0) && has(0x10, 3) && has(0x17, 0));
        assert!(!has(0, 0) && !has(0xf, 0) && !has(0x18, 0) && !has(0x60, 0));
        assert!(!has(0x14, 3) && !has(0x40, 6) && !has(usize::MAX, 0));
        assert_eq!(lent.end(), FrameNumber::new(0x60));
        assert!(!LentFrames::NONE.has(FrameNumber::new(0), Order::FRAME));
    }

    #[test]
    fn the_ranges_are_named_by_the_first() {
        let ranges = [range(0x40, 0x60), range(0x10, 0x18), range(0x20, 0x28)];
        let named = |count: usize| LentFrames::new(&ranges[..count]).named().to_string();
        assert_eq!(named(3), "frames 0x40 to 0x5f and 2 more ranges");
        assert_eq!(named(1), "frames 0x40 to 0x5f");
        assert_eq!(named(0), "no frames");
    }
}
