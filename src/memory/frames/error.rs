//! What can go wrong, each with what is needed to find the culprit.

use super::number::{FrameNumber, Order};
use core::fmt;

/// Why memory was not taken in. Nothing of the range was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// This frame is managed already.
    Overlap {
        /// The first such frame.
        frame: FrameNumber,
    },
    /// The range reaches past what the metadata was made for.
    BeyondEnd {
        /// The first frame past the metadata's reach.
        end: FrameNumber,
    },
    /// More blocks are managed in part than there are masks for.
    TooManyPartialBlocks {
        /// How many there may be.
        limit: usize,
    },
}

impl fmt::Display for InsertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Overlap { frame } => write!(f, "{frame} is managed already"),
            Self::BeyondEnd { end } => write!(f, "the range reaches past {end}, where the metadata ends"),
            Self::TooManyPartialBlocks { limit } => {
                write!(f, "more than {limit} blocks would be managed in part")
            }
        }
    }
}

impl core::error::Error for InsertError {}

/// Why frames were not taken back. What the error names was left as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// The allocator was never given this frame.
    NotManaged {
        /// The foreign frame.
        frame: FrameNumber,
    },
    /// No run of this order starts at this frame.
    Misaligned {
        /// The frame as the caller gave it.
        frame: FrameNumber,
        /// The order as the caller gave it.
        order: Order,
    },
    /// The frame is free already.
    DoubleFree {
        /// The frame freed twice.
        frame: FrameNumber,
    },
    /// Nothing so large was handed out here.
    WrongOrder {
        /// The frame as the caller gave it.
        frame: FrameNumber,
        /// The order as the caller gave it.
        given: Order,
        /// The largest order that the memory there can have been handed out in.
        at_most: Order,
    },
    /// It was freed in an NMI, or in another handler that may have interrupted the allocator itself.
    AllocDisabled {
        /// The frame as the caller gave it.
        frame: FrameNumber,
    },
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotManaged { frame } => write!(f, "{frame} freed, but the allocator was never given it"),
            Self::Misaligned { frame, order } => {
                write!(f, "{frame} freed at {order}, which cannot start there")
            }
            Self::DoubleFree { frame } => write!(f, "{frame} freed twice"),
            Self::WrongOrder { frame, given, at_most } => {
                write!(f, "{frame} freed at {given}, but was handed out at {at_most} or less")
            }
            Self::AllocDisabled { frame } => write!(f, "{frame} freed in an NMI, where nothing may be"),
        }
    }
}

impl core::error::Error for FreeError {}

/// A rule that the allocator's own books break, and the block where they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// A block's count of free frames and its bitmap differ.
    Count {
        /// The block's first frame.
        block: FrameNumber,
        /// Bits set in the bitmap.
        bits: usize,
        /// The count in the state word.
        free: usize,
    },
    /// The bitmap shows a frame free that is not managed.
    Unmanaged {
        /// That frame.
        frame: FrameNumber,
    },
    /// A block managed in part whose mask and count of managed frames differ.
    Mask {
        /// The block's first frame.
        block: FrameNumber,
        /// Bits set in the mask.
        bits: usize,
        /// The count in the state word.
        managed: usize,
    },
    /// A wholly free block that no magazine holds and that was not given to the buddy.
    Stranded {
        /// The block's first frame.
        block: FrameNumber,
    },
    /// A block with free frames that no magazine holds, and that no search would look at before it looks at every block.
    NotInSummary {
        /// The block's first frame.
        block: FrameNumber,
    },
    /// A block caught between table and buddy: no call is under way at quiescence.
    Transit {
        /// The block's first frame.
        block: FrameNumber,
    },
    /// A block of a larger allocation whose neighbours do not belong to the same one.
    Huge {
        /// The block's first frame.
        block: FrameNumber,
    },
    /// The buddy holds a block that the table says is elsewhere, or holds it twice.
    NotInBuddy {
        /// The block's first frame.
        block: FrameNumber,
    },
    /// The table says that the buddy holds this block, and it does not.
    MissingFromBuddy {
        /// The block's first frame.
        block: FrameNumber,
    },
    /// The buddy holds two halves of a piece side by side, and could hand out the piece.
    NotMerged {
        /// The lower half's first frame.
        block: FrameNumber,
        /// The order of either.
        order: Order,
    },
    /// The buddy's own count of free bytes is not what it holds.
    BuddyBytes {
        /// Bytes that it holds.
        held: usize,
        /// Bytes that it counts.
        counted: usize,
    },
    /// The states do not add up to the frames that were inserted.
    Total {
        /// The sum over the states.
        states: usize,
        /// The frames that were inserted.
        inserted: usize,
    },
    /// A state word that no transition produces.
    State {
        /// The block's first frame.
        block: FrameNumber,
        /// The word.
        word: u64,
    },
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "allocator's books: {self:?}")
    }
}

impl core::error::Error for Invalid {}
