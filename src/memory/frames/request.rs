//! Where zone or node matter: requests that go past the magazine, straight to the table.

use core::cell::Cell;

use super::Frames;
use super::arenas::Scope;
use super::atomic_frame::AtomicFrame;
use super::bitmap::{Bitmap, WORD_BITS, WORDS};
use super::magazine::{Hint, Magazine};
use super::number::{BlockNumber, FrameNumber, Order};
use super::partition::{LOW_END, NodeId, Zone};
use super::state::{self, Kind};
use super::want::{Claim, Loose, Want};

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
    pub zone: Zone,
    /// The nodes that will do.
    pub nodes: Nodes,
}

impl FrameRequest {
    /// A run of this order from anywhere, the nearest first.
    pub const fn new(order: Order) -> Self {
        Self { order, zone: Zone::Normal, nodes: Nodes::Nearest }
    }

    /// The same from this zone, or one below.
    pub const fn in_zone(self, zone: Zone) -> Self {
        Self { zone, ..self }
    }

    /// The same from these nodes.
    pub const fn on(self, nodes: Nodes) -> Self {
        Self { nodes, ..self }
    }
}

impl Frames {
    /// Allocates a naturally aligned run where the request wants it; `None` if there is none, after this magazine was
    /// drained as well. Until memory is [divided](Self::divide) nothing is known of zones and nodes, and a request that
    /// names one gets `None`.
    ///
    /// Interrupts are off; not from NMIs. What other CPUs have in their magazines is not asked for: if `None` comes back
    /// and memory matters, let them drain and try again.
    pub fn alloc_in(&self, magazine: &Magazine, request: FrameRequest) -> Option<FrameNumber> {
        let FrameRequest { order, zone, nodes } = request;
        let (home, only_home) = match nodes {
            Nodes::Nearest => (magazine.home(), false),
            Nodes::NearestTo(node) => (node, false),
            Nodes::Only(node) => (node, true),
        };
        let scope = Scope { home, only_home, zone };
        self.find_in(magazine, scope, order).or_else(|| {
            // A frame freed twice that shows up now is counted; there is nobody here to tell.
            let _ = self.drain(magazine);
            self.find_in(magazine, scope, order)
        })
    }

    fn find_in(&self, magazine: &Magazine, scope: Scope, order: Order) -> Option<FrameNumber> {
        let hint = Hint::new(scope);
        magazine.moves.begin();
        let found = if scope.zone == Zone::Low {
            (order.frames() <= LOW_END.get()).then(|| self.search(&hint, LowRun { order })).flatten()
        } else if order == Order::FRAME {
            let mut out = [FrameNumber::new(0)];
            self.search(&hint, Loose { out: AtomicFrame::from_mut(&mut out) }).map(|_| out[0])
        } else {
            self.find_many(&hint, order)
        };
        self.release(&hint);
        magazine.hint.on_its_way.set(hint.on_its_way.get());
        magazine.moves.end();
        found
    }
}

/// An aligned run of order 0 to 8 below 1 MiB. What is got is its first frame.
struct LowRun {
    order: Order,
}

impl LowRun {
    /// The words of the first block's bitmap that stand for what lies below the border.
    const WORDS: usize = LOW_END.get() / WORD_BITS;
}

const _: () = assert!(LowRun::WORDS <= WORDS && LOW_END.get().is_multiple_of(WORD_BITS));

impl Want for LowRun {
    type Got = FrameNumber;

    fn would_do(&self, bitmap: &Bitmap) -> bool {
        bitmap.has_run_below(Self::WORDS, self.order)
    }

    fn frames(&self) -> usize {
        self.order.frames()
    }

    /// The arena is the first block alone, and this its beginning.
    fn fresh(&mut self, block: BlockNumber) -> FrameNumber {
        block.first_frame()
    }

    fn try_take(
        &mut self,
        frames: &Frames,
        block: BlockNumber,
        claim: Claim,
        _: &Cell<usize>,
    ) -> Option<FrameNumber> {
        let (table, count) = (&frames.table, self.order.frames());
        let state = table.state(block);
        if state.kind() != Kind::Frames || !table.bitmap(block).has_run_below(Self::WORDS, self.order) {
            return None;
        }
        let (_, new) = state::update(table.cell(block), |state| claim.apply(state)?.take(count))?;
        let Some(index) = table.bitmap(block).take_run_below(Self::WORDS, self.order) else {
            frames.unreserve(block, count, claim);
            return None;
        };
        if new.free() == 0 {
            table.note_taken(block);
        }
        Some(block.first_frame() + index)
    }
}
