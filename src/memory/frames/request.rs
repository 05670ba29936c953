//! Requests for a zone type or for nodes: [`FrameRequest`].

use core::cell::Cell;

use super::allocator::Frames;
use super::bitmap::{Bitmap, WORD_BITS, WORDS};
use super::number::{BlockNumber, FrameNumber, Order};
use super::search_target::{Ownership, SearchTarget};
use super::state::{self, Kind};
use super::zone_layout::{LOW_END, NodeId, ZoneType};

/// The nodes from which memory may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nodes {
    /// The CPU's own first, then the others by distance.
    #[default]
    Nearest,
    /// This one first, then the others by their distance from it.
    NearestTo(NodeId),
    /// This one only.
    Only(NodeId),
}

/// An allocation that names a zone type or nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRequest {
    /// The order of the run.
    pub order: Order,
    /// The highest zone type that is allowed.
    pub zone: ZoneType,
    /// The nodes that are allowed.
    pub nodes: Nodes,
}

impl FrameRequest {
    /// A request for a run of this order from any zone, nearest first.
    pub const fn new(order: Order) -> Self {
        Self { order, zone: ZoneType::Normal, nodes: Nodes::Nearest }
    }

    /// The same request, from this zone type or a lower one.
    pub const fn in_zone(self, zone: ZoneType) -> Self {
        Self { zone, ..self }
    }

    /// The same request, from these nodes.
    pub const fn on(self, nodes: Nodes) -> Self {
        Self { nodes, ..self }
    }
}

/// An aligned run of order 0 to 8 below 1 MiB. The output is its first frame.
pub(in crate::memory) struct LowRun {
    pub(in crate::memory) order: Order,
}

impl LowRun {
    /// The words of the first block's bitmap for the frames below 1 MiB.
    const WORDS: usize = LOW_END.get() / WORD_BITS;
}

const _: () = assert!(LowRun::WORDS <= WORDS && LOW_END.get().is_multiple_of(WORD_BITS));

impl SearchTarget for LowRun {
    type Output = FrameNumber;

    fn matches(&self, bitmap: &Bitmap) -> bool {
        bitmap.has_run_below(Self::WORDS, self.order)
    }

    fn order(&self) -> Order {
        self.order
    }

    fn frames(&self) -> usize {
        self.order.frames()
    }

    /// The zone is the first block alone, and this is its start.
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
        let (old, new) = state::update(table.cell(block), |state| ownership.apply(state)?.take(count))?;
        let Some(index) = table.bitmap(block).take_run_below(Self::WORDS, self.order) else {
            frames.undo_take(block, count, old.largest(), ownership);
            return None;
        };
        if new.free() == 0 {
            table.mark_unavailable(block);
        }
        Some(block.first_frame() + index)
    }
}
