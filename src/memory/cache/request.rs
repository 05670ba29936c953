//! Allocation from a zone type or a node, past the cached frames.

use super::magazine::Magazine;
use crate::memory::frames::allocator::Frames;
use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::hint::Hint;
use crate::memory::frames::number::{FrameNumber, Order};
use crate::memory::frames::request::{FrameRequest, LowRun, Nodes};
use crate::memory::frames::search::Extent;
use crate::memory::frames::search_target::SingleFrames;
use crate::memory::frames::zone::Scope;
use crate::memory::frames::zone_layout::{LOW_END, ZoneType};

impl Frames {
    /// Allocates as [`alloc`](Self::alloc) does, from the zone type and the nodes of the request. It bypasses the cached frames. Until
    /// the [zones are set](Self::set_zones), a request that names a zone type or a node gets `None`.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    pub(crate) fn alloc_in(&self, magazine: &Magazine, request: FrameRequest) -> Option<FrameNumber> {
        let FrameRequest { order, zone, nodes } = request;
        let (node, only_node) = match nodes {
            Nodes::Nearest => (magazine.local_node(), false),
            Nodes::NearestTo(node) => (node, false),
            Nodes::Only(node) => (node, true),
        };
        let scope = Scope { node, only_node, highest: zone };
        let found = self.find_in(magazine, scope, order);
        if found.is_some() || !magazine.may_have(order) {
            return found;
        }
        // A double free that the drain finds is counted; there is no caller to return it to.
        let _ = self.drain(magazine);
        self.find_in(magazine, scope, order)
    }

    fn find_in(&self, magazine: &Magazine, scope: Scope, order: Order) -> Option<FrameNumber> {
        let hint = Hint::new(scope);
        magazine.transfer_seq.begin();
        let found = if scope.highest == ZoneType::Low {
            (order.frames() <= LOW_END.get())
                .then(|| self.search(&hint, LowRun { order }, Extent::All))
                .flatten()
        } else if order == Order::FRAME {
            let mut out = [FrameNumber::new(0)];
            self.search(&hint, SingleFrames { out: AtomicFrame::from_mut(&mut out) }, Extent::All)
                .map(|_| out[0])
        } else {
            self.find_many(&hint, order, Extent::All)
        };
        self.release_all(&hint);
        magazine.hint.in_flight.set(hint.in_flight.get());
        magazine.transfer_seq.end();
        found
    }
}
