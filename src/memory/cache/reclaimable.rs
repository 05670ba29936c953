//! Whether it is worth asking other CPUs for what they keep, and which of them: an answer takes an interrupt there and a
//! wait here, and mostly there is none to be had, since every CPU keeps a run of each order.
//!
//! What they keep is read from [afar](super::remote) and set beside what the bitmaps show free. [`Reclaimable::Nothing`] must be
//! certain, or a CPU would be out of memory that nobody holds. Say that a run has been nobody's since before the question
//! was asked. Each of its frames then lies in the table, where its bit says so; in a whole block that the buddy has or a
//! CPU keeps, where the state says so; in some CPU's magazine; or it is in the hands of a CPU on its way between two of
//! these, which is a [move](super::transfer_seq). The moves of every CPU are looked at first and last. If none was under way at
//! first, and none has begun since, then all the time every frame has lain where it was at first, was seen there, and the
//! run was found. Otherwise one looks again a few times, and then asks everybody.
//!
//! All else errs to the other side: what lies in two places at two moments is counted twice, and where there are more runs
//! than counters, several share one.

use core::ops::Range;

use super::remote::RemoteMagazine;
use crate::memory::frames::allocator::Frames;
use crate::memory::frames::bitmap::{self, WORDS};
use crate::memory::frames::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use crate::memory::frames::state::Kind;
use crate::memory::frames::sync::{Ordering, fence, spin_loop};

/// How often one looks, where CPUs move frames meanwhile.
const ATTEMPTS: usize = 4;

/// What may come of asking other CPUs for what they keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reclaimable {
    /// No run of that order.
    Nothing,
    /// This run, from those CPUs that [have anything of it](RemoteMagazine::has_any_of). If none has, it is there already.
    Run(Range<FrameNumber>),
    /// Nobody can tell.
    Unknown,
}

impl Frames {
    /// Whether a run of `order` comes together if CPUs gave back what they keep. `magazines` are those of every CPU that has
    /// one, this one's as well. [`Reclaimable::Nothing`] is certain of a run that nobody has any frame of throughout the call; but
    /// for a single frame in the table, which every search finds.
    ///
    /// Takes a time that grows with the memory and with the number of CPUs. Any context; interrupts are best left on.
    pub fn estimate_reclaimable(
        &self,
        order: Order,
        magazines: impl Iterator<Item = RemoteMagazine> + Clone,
    ) -> Reclaimable {
        for _ in 0..ATTEMPTS {
            if let Some(before) = transfer_seq(magazines.clone()) {
                let reclaimable = self.estimate_once(order, magazines.clone());
                // What was seen was seen before this look.
                fence(Ordering::Acquire);
                if reclaimable != Reclaimable::Nothing || transfer_seq(magazines.clone()) == Some(before) {
                    return reclaimable;
                }
            }
            spin_loop();
        }
        Reclaimable::Unknown
    }

    fn estimate_once(
        &self,
        order: Order,
        magazines: impl Iterator<Item = RemoteMagazine> + Clone,
    ) -> Reclaimable {
        if order == Order::FRAME {
            // The one that its CPU would take last is most likely to be there still.
            let mut frames = magazines.filter_map(|magazine| magazine.cached().next());
            return frames
                .next()
                .map_or(Reclaimable::Nothing, |(frame, _)| Reclaimable::Run(frame..frame + 1));
        }
        let runs = self.end.get() >> order.get();
        if order < Order::BLOCK && runs > MAX_RUNS {
            let keeps_any = magazines.clone().any(|magazine| magazine.cached().next().is_some());
            return if keeps_any { Reclaimable::Unknown } else { Reclaimable::Nothing };
        }
        let cached = CachedCounts::of(order, magazines);
        let found =
            if order < Order::BLOCK { self.find_run_with(&cached) } else { self.find_piece_with(&cached) };
        found.map_or(Reclaimable::Nothing, |first| Reclaimable::Run(first..first + order.frames()))
    }

    /// A run of order 1 to 8 that is free, but for frames that CPUs keep.
    fn find_run_with(&self, cached: &CachedCounts) -> Option<FrameNumber> {
        let all = BlockNumber::each(self.table.all());
        all.filter_map(|block| match self.table.state(block).kind() {
            Kind::Buddy | Kind::Transit | Kind::Cached => Some(block.first_frame()),
            Kind::Frames => {
                let words = self.table.bitmap(block).load();
                let firsts = (0..FRAMES_PER_BLOCK).step_by(cached.order.frames());
                let mut runs =
                    firsts.map(|index| (block.first_frame() + index, missing(&words, index, cached.order)));
                runs.find(|&(first, missing)| missing <= cached.most_of(first)).map(|(first, _)| first)
            }
            Kind::Huge | Kind::Absent | Kind::Corrupt => None,
        })
        .next()
    }

    /// A piece of order 9 or above.
    fn find_piece_with(&self, cached: &CachedCounts) -> Option<FrameNumber> {
        let order = cached.order;
        let heads = (0..self.table.blocks()).step_by(order.blocks()).map(BlockNumber);
        // No piece is made of two arenas' blocks.
        let in_one_arena = |head: &BlockNumber| {
            self.zone_layout()
                .is_none_or(|zone_layout| order.blocks() <= zone_layout.blocks_in_zone_from(*head))
        };
        let mut heads = heads.filter(in_one_arena);
        heads.find(|head| self.lacks_only(cached, *head)).map(BlockNumber::first_frame)
    }

    /// Whether of this piece nothing is missing but what CPUs keep.
    fn lacks_only(&self, cached: &CachedCounts, head: BlockNumber) -> bool {
        let most = cached.most_of(head.first_frame());
        let mut lacking = 0;
        (head.0..head.0 + cached.order.blocks()).map(BlockNumber).all(|block| {
            let state = self.table.state(block);
            lacking += match state.kind() {
                Kind::Buddy | Kind::Transit | Kind::Cached => 0,
                // By its bits, and not by its count, which is too low while somebody reserves in vain.
                Kind::Frames if state.is_whole() => {
                    missing(&self.table.bitmap(block).load(), 0, Order::BLOCK)
                }
                Kind::Frames | Kind::Huge | Kind::Absent | Kind::Corrupt => return false,
            };
            lacking <= most
        })
    }
}

/// How many CPUs there are and the sum of their moves; `None` if one is at a move.
fn transfer_seq(mut magazines: impl Iterator<Item = RemoteMagazine>) -> Option<(usize, usize)> {
    magazines.try_fold((0, 0), |(count, sum): (usize, usize), magazine| {
        Some((count + 1, sum.wrapping_add(magazine.transfer_seq()?)))
    })
}

/// How many frames of a run, 2^9 at most, are not in the table.
fn missing(words: &[u64; WORDS], index: usize, order: Order) -> usize {
    let (first, bits) = (index / bitmap::WORD_BITS, order.frames().min(bitmap::WORD_BITS));
    let mask = (u64::MAX >> (bitmap::WORD_BITS - bits)) << (index % bitmap::WORD_BITS);
    let words = &words[first..first + order.frames().div_ceil(bitmap::WORD_BITS)];
    words.iter().map(|word| (!word & mask).count_ones() as usize).sum()
}

/// Counters of what is kept.
const COUNTERS: usize = 256;

/// With more runs of an order below 9 than that, counters say too little for what it takes to look at each.
const MAX_RUNS: usize = 64 * COUNTERS;

/// How many frames CPUs keep of each run of an order. Runs whose numbers differ by a multiple of [`COUNTERS`] share one.
struct CachedCounts {
    order: Order,
    frames: [u32; COUNTERS],
}

impl CachedCounts {
    fn of(order: Order, magazines: impl Iterator<Item = RemoteMagazine>) -> Self {
        let mut cached = Self { order, frames: [0; COUNTERS] };
        // What is kept of whole blocks their states say.
        for (first, run) in magazines.flat_map(RemoteMagazine::cached).filter(|&(_, run)| run < Order::BLOCK)
        {
            let step = run.min(order).frames();
            for part in (first.get()..first.get().saturating_add(run.frames())).step_by(step) {
                let counter = &mut cached.frames[cached.counter(FrameNumber::new(part))];
                *counter = counter.saturating_add(step as u32);
            }
        }
        cached
    }

    /// How many frames of the run in which this frame lies are kept at most.
    fn most_of(&self, frame: FrameNumber) -> usize {
        self.frames[self.counter(frame)] as usize
    }

    fn counter(&self, frame: FrameNumber) -> usize {
        (frame.get() >> self.order.get()) % COUNTERS
    }
}

#[cfg(test)]
mod tests;
