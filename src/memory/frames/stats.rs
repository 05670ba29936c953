//! Counts: how much memory is free, and in runs of which orders.
//!
//! All of them walk the table. While other CPUs allocate and free, they are approximate; at quiescence they are exact.

use super::allocator::Frames;
use super::bitmap::{WORDS, maximal_runs};
use super::number::{BlockNumber, FRAMES_PER_BLOCK, ORDERS, Order};
use super::state::{Kind, State};
use super::sync::Ordering;
use super::zone_layout::ZoneId;
use super::zones::parts_by_gigabyte;
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
        self.runs_in(self.table.all()).map(|(_, state)| free_of(state)).sum()
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
                for (_, state) in self.runs_in(span.clone()) {
                    zone_stats.total += managed_of(state);
                    zone_stats.free += free_of(state);
                }
                self.count_by_order(span, &mut zone_stats.free_by_order);
            }
            zone_stats
        })
    }

    /// The runs of a range that no run crosses, and the blocks that are allocated by their bitmaps. A run is one step: 16 TiB have 8
    /// million blocks.
    pub(in crate::memory) fn runs_in(
        &self,
        blocks: Range<BlockNumber>,
    ) -> impl Iterator<Item = (BlockNumber, State)> {
        let mut next = blocks.start;
        core::iter::from_fn(move || {
            while next < blocks.end {
                let (block, state) = match self.table.state(next) {
                    State::BLANK => match self.free_run_of(next) {
                        // A run that began below was counted there.
                        Some(order) if next.head(order) == next => (next, State::buddy(order)),
                        _ => (next, State::BLANK),
                    },
                    state => (next, state),
                };
                next = BlockNumber(block.0 + state.blocks());
                if state != State::BLANK {
                    return Some((block, state));
                }
            }
            None
        })
    }

    fn count_by_order(&self, span: Range<BlockNumber>, frames: &mut [usize; ORDERS]) {
        let mut count = |lowest: Order, words: &[u64; WORDS]| {
            for (step, runs) in maximal_runs(words).iter().enumerate() {
                let order = lowest.get() as usize + step;
                frames[order] += runs << order;
            }
        };
        for part in parts_by_gigabyte(span.clone()) {
            // A gigabyte is to a block what a block is to a frame: 512 bits.
            count(Order::BLOCK, &self.place_of(part.start).1.free_now().0);
        }
        for (block, state) in self.runs_in(span) {
            if state.kind() == Kind::Frames {
                count(Order::FRAME, &self.table.bitmap(block).load());
            }
        }
    }
}

/// How many frames a run or a block has that are managed.
fn managed_of(state: State) -> usize {
    match state.kind() {
        Kind::Buddy | Kind::Transit | Kind::Huge | Kind::Cached => state.blocks() * FRAMES_PER_BLOCK,
        Kind::Frames => state.managed(),
        Kind::Blank | Kind::Corrupt => 0,
    }
}

/// How many of these are free, and not cached.
fn free_of(state: State) -> usize {
    match state.kind() {
        Kind::Buddy | Kind::Transit => state.blocks() * FRAMES_PER_BLOCK,
        Kind::Frames => state.free(),
        Kind::Huge | Kind::Cached | Kind::Blank | Kind::Corrupt => 0,
    }
}
