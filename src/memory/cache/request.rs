//! Allocation from a zone type or a node, past the cached frames.

use super::magazine::Magazine;
use crate::memory::frames::allocator::Frames;
use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::error::FreeError;
use crate::memory::frames::hint::Hint;
use crate::memory::frames::number::{FrameNumber, Order};
use crate::memory::frames::request::{FrameRequest, LowRun, Nodes};
use crate::memory::frames::search::Extent;
use crate::memory::frames::search_target::{Run, SingleFrames};
use crate::memory::frames::zone::Scope;
use crate::memory::frames::zone_layout::{LOW_END, ZoneType};

impl Frames {
    /// Allocates as [`alloc`](Self::alloc) does, from the zone type and the nodes of the request. It bypasses the cached frames. Until
    /// the [zones are set](Self::set_zones), a request that names a zone type or a node gets `None`.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    pub(crate) fn alloc_in(&self, magazine: &Magazine, request: FrameRequest) -> Option<FrameNumber> {
        let found = self.find_in(magazine, request);
        if found.is_some() || !magazine.may_have(request.order) {
            return found;
        }
        // A double free that the drain finds is counted; there is no caller to return it to.
        let _ = self.drain(magazine);
        self.find_in(magazine, request)
    }

    /// [`alloc_in`](Self::alloc_in) for a CPU that has drained its cache.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    pub(crate) fn find_in(&self, magazine: &Magazine, request: FrameRequest) -> Option<FrameNumber> {
        let FrameRequest { order, zone, nodes } = request;
        let (node, only_node) = match nodes {
            Nodes::Nearest => (magazine.local_node(), false),
            Nodes::NearestTo(node) => (node, false),
            Nodes::Only(node) => (node, true),
        };
        let scope = Scope { node, only_node, highest: zone };
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

    /// Allocates from the shared allocator, as [`alloc`](Self::alloc) does, but for nothing more than the caller asks for: it caches no
    /// frame and reserves no block.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    pub(in crate::memory) fn alloc_uncached(
        &self,
        magazine: &Magazine,
        order: Order,
        extent: Extent,
    ) -> Option<FrameNumber> {
        let hint = &magazine.hint;
        // That of an earlier search.
        hint.in_flight.set(None);
        if order >= Order::BLOCK {
            return self.alloc_blocks(hint.scope.get(), order);
        }
        magazine.transfer_seq.begin();
        let found = if order == Order::FRAME {
            let mut out = [FrameNumber::new(0)];
            let single = SingleFrames { out: AtomicFrame::from_mut(&mut out) };
            self.search_unreserved(hint, single, extent).map(|_| out[0])
        } else {
            self.search_unreserved(hint, Run { order }, extent)
        };
        magazine.transfer_seq.end();
        found
    }

    /// Frees a run of `order` to the shared allocator.
    ///
    /// **Context:** as for [`free`](Self::free).
    ///
    /// # Errors
    /// [`FreeError`]. Nothing has changed then.
    pub(crate) fn free_uncached(&self, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        if !frame.is_aligned_to(order) {
            return Err(FreeError::Misaligned { frame, order });
        }
        if order < Order::BLOCK {
            self.return_run(frame, order)
        } else {
            self.free_blocks_to_buddy(frame, order)
        }
    }

    /// Allocates up to `out.len()` single frames without a cache, and writes them to the start of `out`; how many. It reserves the blocks
    /// that it takes them from until it returns.
    ///
    /// **Context:** as for [`alloc`](Self::alloc).
    pub(crate) fn alloc_bulk_uncached(&self, magazine: &Magazine, out: &mut [FrameNumber]) -> usize {
        let hint = Hint::new(Scope::from(magazine.local_node()));
        magazine.transfer_seq.begin();
        let mut done = 0;
        while done < out.len() {
            match self.take_singles(&hint, AtomicFrame::from_mut(&mut out[done..]), Extent::All) {
                0 => break,
                taken => done += taken,
            }
        }
        self.release_all(&hint);
        magazine.transfer_seq.end();
        done
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::memory::host::World;

    /// Otherwise a caller that can wait would wait for frames that were in flight for an earlier search.
    #[test]
    fn a_search_names_no_block_of_an_earlier_one() {
        let world = World::empty(1);
        let magazine = Magazine::new();
        for order in [Order::FRAME, Order::WORD, Order::BLOCK] {
            magazine.hint.in_flight.set(Some(world.first.block()));
            assert_eq!(world.frames.alloc_uncached(&magazine, order, Extent::All), None);
            assert_eq!(magazine.in_flight(), None, "{order}");
        }
    }
}
