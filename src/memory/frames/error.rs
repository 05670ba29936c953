//! The errors of the allocator, each with the frames concerned.

use super::number::{FrameNumber, Order};
use core::fmt;

/// Why memory was not added. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// This frame is managed already.
    Overlap {
        /// The first such frame.
        frame: FrameNumber,
    },
    /// The range ends beyond the frames that the metadata covers.
    BeyondEnd {
        /// The end of the frames that the metadata covers.
        end: FrameNumber,
    },
    /// More partially managed blocks than there are masks.
    TooManyPartialBlocks {
        /// The number of masks.
        limit: usize,
    },
}

impl fmt::Display for InsertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Overlap { frame } => write!(f, "{frame} is managed already"),
            Self::BeyondEnd { end } => write!(f, "the range ends beyond {end}, the end of the metadata"),
            Self::TooManyPartialBlocks { limit } => {
                write!(f, "more than {limit} partially managed blocks")
            }
        }
    }
}

impl core::error::Error for InsertError {}

/// Why frames were not freed. The frames that the error names are unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// The allocator does not manage this frame.
    NotManaged {
        /// The frame.
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
    /// No allocation of this order is here.
    WrongOrder {
        /// The frame as the caller gave it.
        frame: FrameNumber,
        /// The order as the caller gave it.
        given: Order,
        /// The largest order that the allocation there can have.
        at_most: Order,
    },
    /// The free came from an NMI handler, or from another handler that may have interrupted the allocator.
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
                write!(f, "{frame} freed at {given}, but was allocated at {at_most} or less")
            }
            Self::AllocDisabled { frame } => write!(f, "{frame} freed in an NMI, where nothing may be"),
        }
    }
}

impl core::error::Error for FreeError {}

/// An inconsistency of the allocator's tables, and the block that shows it.
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
    /// A free block that no CPU has reserved and that is not in the buddy.
    Stranded {
        /// The block's first frame.
        block: FrameNumber,
    },
    /// A block with free frames that no CPU has reserved, and that the summary does not mark as available.
    NotInSummary {
        /// The block's first frame.
        block: FrameNumber,
    },
    /// A block in transit between table and buddy, although no call is in progress.
    Transit {
        /// The block's first frame.
        block: FrameNumber,
    },
    /// A run that is not aligned, crosses the border of its zone, or of which another block has a state of its own; or a block that the
    /// buddy has, and that is allocated or of another zone.
    Run {
        /// The first frame of the run or of the block.
        block: FrameNumber,
    },
    /// A list of the buddy has a gigabyte without a free run of that order, or with a wrong link.
    List {
        /// The first frame of the gigabyte in that zone.
        block: FrameNumber,
        /// The order of the list.
        order: Order,
    },
    /// The gigabytes in a list of the buddy, by their entries and by the list, are not equally many.
    Gigabytes {
        /// The order of the list.
        order: Order,
        /// Gigabytes whose entry says that they are in the list.
        entries: usize,
        /// Gigabytes in the list; one more if it has no end.
        list: usize,
    },
    /// The free blocks of a zone by their bits and by the count of the buddy differ.
    FreeBlocks {
        /// Bits that are set.
        bits: usize,
        /// The count.
        counted: usize,
    },
    /// A free run that is larger than all that its gigabyte is listed for: two halves were not merged.
    NotMerged {
        /// The run's first frame.
        block: FrameNumber,
        /// The run's order.
        order: Order,
    },
    /// The sum of the states differs from the frames that were inserted.
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
        write!(f, "inconsistent allocator: {self:?}")
    }
}

impl core::error::Error for Invalid {}
