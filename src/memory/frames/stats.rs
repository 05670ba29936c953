//! Counts: how much memory is free, and in runs of which orders.
//!
//! All of them walk the table. While other CPUs allocate and free, they are approximate; at quiescence they are exact.

use super::allocator::Frames;
use super::bitmap::{WORD_BITS, WORDS, maximal_runs};
use super::number::{BlockNumber, FRAMES_PER_BLOCK, ORDERS, Order};
use super::state::Kind;
use super::sync::Ordering;
use super::zone_layout::ZoneId;
use core::ops::Range;

/// The frames of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ZoneStats {
    /// The zone; `None` for all memory before the zones are set.
    pub name: Option<ZoneId>,
    /// Managed frames.
    pub total: usize,
    /// Free frames, except for those that CPUs cache.
    pub free: usize,
    /// The free frames by the largest order at which they can be allocated.
    pub free_by_order: [usize; ORDERS],
}

impl Frames {
    /// How many frames are managed.
    pub(crate) fn total_frames(&self) -> usize {
        self.counters.inserted_frames.load(Ordering::Relaxed)
    }

    /// How many frames are free in the table and the buddies. Cached frames are not counted.
    pub(crate) fn free_frames(&self) -> usize {
        let (mut free, mut block) = (0, BlockNumber(0));
        while block < self.table.all().end {
            let state = self.table.state(block);
            // A large free run is one step: 16 TiB have 8 million blocks.
            let blocks = if state.kind() == Kind::Buddy { state.free_blocks() } else { 1 };
            free += if blocks > 1 { blocks * FRAMES_PER_BLOCK } else { self.frames_of(block).1 };
            block = BlockNumber(block.0 + blocks);
        }
        free
    }

    /// Free frames by the largest order at which they can be allocated: the fragmentation. The sum is
    /// [`free_frames`](Self::free_frames).
    pub(crate) fn free_by_order(&self) -> [usize; ORDERS] {
        let mut frames = [0; ORDERS];
        for zone in self.zone_stats() {
            frames.iter_mut().zip(zone.free_by_order).for_each(|(sum, count)| *sum += count);
        }
        frames
    }

    /// The frames of each zone; of all memory as one before the [zones are set](Self::set_zones).
    pub(crate) fn zone_stats(&self) -> impl Iterator<Item = ZoneStats> {
        self.all_zones().map(|(name, place)| {
            let mut zone_stats = ZoneStats { name, total: 0, free: 0, free_by_order: [0; ORDERS] };
            for span in place.spans(self.table.all()) {
                for block in BlockNumber::each(span.clone()) {
                    let (total, free) = self.frames_of(block);
                    zone_stats.total += total;
                    zone_stats.free += free;
                }
                self.count_by_order(span, &mut zone_stats.free_by_order);
            }
            zone_stats
        })
    }

    /// How many frames of a block are managed, and how many of these are free.
    fn frames_of(&self, block: BlockNumber) -> (usize, usize) {
        let state = self.table.state(block);
        match state.kind() {
            Kind::Buddy | Kind::Transit => (FRAMES_PER_BLOCK, FRAMES_PER_BLOCK),
            Kind::Frames => (state.managed(), state.free()),
            Kind::Huge | Kind::Cached => (FRAMES_PER_BLOCK, 0),
            Kind::Absent | Kind::Corrupt => (0, 0),
        }
    }

    fn count_by_order(&self, span: Range<BlockNumber>, frames: &mut [usize; ORDERS]) {
        const GIGABYTE: usize = WORDS * WORD_BITS;
        let mut count = |lowest: Order, words: &[u64; WORDS]| {
            for (step, runs) in maximal_runs(words).iter().enumerate() {
                let order = lowest.get() as usize + step;
                frames[order] += runs << order;
            }
        };
        // A gigabyte is to a block what a block is to a frame: 512 bits.
        for gigabyte in span.start.0 / GIGABYTE..span.end.0.div_ceil(GIGABYTE) {
            let mut in_buddy = [0; WORDS];
            let first = gigabyte * GIGABYTE;
            for index in span.start.0.max(first)..span.end.0.min(first + GIGABYTE) {
                let block = BlockNumber(index);
                match self.table.state(block).kind() {
                    Kind::Buddy => in_buddy[(index - first) / WORD_BITS] |= 1 << (index % WORD_BITS),
                    Kind::Frames => count(Order::FRAME, &self.table.bitmap(block).load()),
                    Kind::Absent | Kind::Transit | Kind::Huge | Kind::Cached | Kind::Corrupt => {}
                }
            }
            count(Order::BLOCK, &in_buddy);
        }
    }
}
