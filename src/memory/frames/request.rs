//! Where zone or node matter: requests that go past the magazine, straight to the table.

use core::cell::Cell;

use super::allocator::Frames;
use super::bitmap::{Bitmap, WORD_BITS, WORDS};
use super::number::{BlockNumber, FrameNumber, Order};
use super::search_target::{Ownership, SearchTarget};
use super::state::{self, Kind};
use super::zone_layout::{LOW_END, NodeId, ZoneType};

/// From which nodes memory may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nodes {
    /// From the CPU's own first, then from the others by distance.
    #[default]
    Nearest,
    /// From this one first, then from the others by their distance from it.
    NearestTo(NodeId),
    /// From this one or none.
    Only(NodeId),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRequest {
    /// How large it is.
    pub order: Order,
    /// The highest zone that will do.
    pub zone: ZoneType,
    /// The nodes that will do.
    pub nodes: Nodes,
}

impl FrameRequest {
    /// A run of this order from anywhere, the nearest first.
    pub const fn new(order: Order) -> Self {
        Self { order, zone: ZoneType::Normal, nodes: Nodes::Nearest }
    }

    /// The same from this zone, or one below.
    pub const fn in_zone(self, zone: ZoneType) -> Self {
        Self { zone, ..self }
    }

    /// The same from these nodes.
    pub const fn on(self, nodes: Nodes) -> Self {
        Self { nodes, ..self }
    }
}

/// An aligned run of order 0 to 8 below 1 MiB. What is got is its first frame.
pub(in crate::memory) struct LowRun {
    pub(in crate::memory) order: Order,
}

impl LowRun {
    /// The words of the first block's bitmap that stand for what lies below the border.
    const WORDS: usize = LOW_END.get() / WORD_BITS;
}

const _: () = assert!(LowRun::WORDS <= WORDS && LOW_END.get().is_multiple_of(WORD_BITS));

impl SearchTarget for LowRun {
    type Output = FrameNumber;

    fn matches(&self, bitmap: &Bitmap) -> bool {
        bitmap.has_run_below(Self::WORDS, self.order)
    }

    fn frames(&self) -> usize {
        self.order.frames()
    }

    /// The arena is the first block alone, and this its beginning.
    fn take_fresh(&mut self, block: BlockNumber) -> FrameNumber {
        block.first_frame()
    }

    fn try_take(
        &mut self,
        frames: &Frames,
        block: BlockNumber,
        ownership: Ownership,
        _: &Cell<usize>,
    ) -> Option<FrameNumber> {
        let (table, count) = (&frames.table, self.order.frames());
        let state = table.state(block);
        if state.kind() != Kind::Frames || !table.bitmap(block).has_run_below(Self::WORDS, self.order) {
            return None;
        }
        let (_, new) = state::update(table.cell(block), |state| ownership.apply(state)?.take(count))?;
        let Some(index) = table.bitmap(block).take_run_below(Self::WORDS, self.order) else {
            frames.undo_take(block, count, ownership);
            return None;
        };
        if new.free() == 0 {
            table.mark_unavailable(block);
        }
        Some(block.first_frame() + index)
    }
}
