//! The estimate of what a drain of the other CPUs' caches would free, and which CPUs would have to drain.
//!
//! A drain costs an interrupt on each of them and a wait on this CPU, and it is mostly useless, because every CPU caches a run of each
//! order. The estimate reads the [remote magazines](super::remote) and compares them with the bitmaps.
//!
//! [`Reclaimable::Nothing`] must be certain: otherwise an allocation would fail although frames are free. Invariant: a free frame is
//! always in exactly one of four places:
//!
//! 1. free in the bitmap of a block;
//! 2. in a whole block that the buddy has, which its bit says, or a CPU caches, which its state says;
//! 3. in the magazine of a CPU;
//! 4. in flight between two of these, while the [`TransferSeq`](super::transfer_seq) of its CPU is odd.
//!
//! If all sequence counts are even before the scan and the same after it, no frame was in flight and each stayed in its place. Then the
//! scan has seen every free frame. Otherwise the scan is repeated a few times; after that the result is unknown, and all CPUs drain.
//!
//! If no CPU's cache is active, the frames are in the first two places, or in flight to one of them. A search for frames finds those, or
//! names the block in flight. A search for whole blocks knows the buddies alone, so one scan looks for a run that is in flight to them. A
//! cache that is filled meanwhile is counted: see `memory::reclaim`.
//!
//! All other errors overestimate: a frame that is seen in two places at two moments counts twice, and if there are more runs than
//! counters, several runs share one.

use core::ops::Range;

use super::remote::RemoteMagazine;
use crate::memory::frames::allocator::Frames;
use crate::memory::frames::bitmap::{self, WORDS};
#[cfg(feature = "faults")]
use crate::memory::frames::faults;
use crate::memory::frames::free_runs::Stolen;
use crate::memory::frames::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
#[cfg(feature = "faults")]
use crate::memory::frames::state;
use crate::memory::frames::state::{Kind, State};
use crate::memory::frames::sync::{Ordering, fence, spin_loop};

/// How often the scan is repeated if frames are in flight.
const ATTEMPTS: usize = 4;

/// The result of the estimate: the frames that a drain of the other CPUs' caches may free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reclaimable {
    /// No run of that order. This is certain.
    Nothing,
    /// This run, if the CPUs drain that [have a part of it](RemoteMagazine::has_any_of), after [`Frames::reclaim_blocks`]. If none has,
    /// it is free then.
    Run(Range<FrameNumber>),
    /// Unknown.
    Unknown,
}

/// An estimate of [`Frames::estimate_reclaimable`].
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    /// The result.
    pub(crate) reclaimable: Reclaimable,
    /// Whether it took more than one scan: other CPUs filled or emptied their caches meanwhile.
    pub(crate) repeated: bool,
}

impl Frames {
    /// Estimates whether a run of `order` becomes free if CPUs drain their caches. `magazines` are those of all CPUs that have one, this
    /// CPU's included. [`Reclaimable::Nothing`] is certain for every run that is free throughout the call, except for one of which all
    /// frames are free in the table, which every search finds.
    ///
    /// **Context:** any but NMI; interrupts should be enabled. Takes a time that grows with the memory and with the number of CPUs.
    pub(crate) fn estimate_reclaimable(
        &self,
        order: Order,
        magazines: impl Iterator<Item = RemoteMagazine> + Clone,
    ) -> Estimate {
        let all_inactive = |_, magazine: RemoteMagazine| magazine.is_inactive().then_some(true);
        if magazines.clone().try_fold(false, all_inactive) == Some(true) {
            let reclaimable = if order < Order::BLOCK {
                Reclaimable::Nothing
            } else {
                self.estimate_once(order, magazines)
            };
            return Estimate { reclaimable, repeated: false };
        }
        for attempt in 0..ATTEMPTS {
            if let Some(before) = transfer_seq(magazines.clone()) {
                let reclaimable = self.estimate_once(order, magazines.clone());
                // The scan is over before the counts are read again.
                fence(Ordering::Acquire);
                if reclaimable != Reclaimable::Nothing || transfer_seq(magazines.clone()) == Some(before) {
                    return Estimate { reclaimable, repeated: attempt > 0 };
                }
            }
            spin_loop();
        }
        Estimate { reclaimable: Reclaimable::Unknown, repeated: true }
    }

    /// Moves the runs of whole blocks that CPUs cache and that overlap `range` to the buddies, without an interrupt on these CPUs. The
    /// state word of a cached run decides whether its CPU or this one takes it.
    ///
    /// **Context:** any but NMI. Holds the lock of a zone for each run.
    pub(crate) fn reclaim_blocks(
        &self,
        range: Range<FrameNumber>,
        magazines: impl Iterator<Item = RemoteMagazine>,
    ) {
        let overlaps = |&(run, order): &(FrameNumber, Order)| {
            order >= Order::BLOCK && run < range.end && range.start < run + order.frames()
        };
        for (run, order) in magazines.flat_map(RemoteMagazine::cached).filter(overlaps) {
            self.return_stolen_blocks(run.block(), order);
        }
    }

    /// Takes the smallest run of whole blocks that a CPU caches, of those that are at least as large as `order`, without an interrupt on
    /// that CPU. If it is of that order, it is allocated, else it moves to its buddy.
    ///
    /// **Context:** any but NMI, interrupts disabled. Takes a time that grows with the number of CPUs, and holds the lock of a zone.
    pub(crate) fn steal_blocks(
        &self,
        order: Order,
        magazines: impl Iterator<Item = RemoteMagazine>,
    ) -> Stolen {
        let mut smallest: Option<(FrameNumber, Order)> = None;
        for magazine in magazines {
            if magazine.is_inactive() {
                continue;
            }
            let is_smaller = |found: Order| smallest.is_none_or(|(_, best)| found < best);
            // The runs of a CPU come in ascending order. A run that another CPU has taken stays in the entry until its CPU uses the
            // entry.
            let mut runs = magazine.cached_blocks(order).take_while(|&(_, found)| is_smaller(found));
            if let Some(run) = runs.find(|&(run, found)| self.is_cached(run, found)) {
                smallest = Some(run);
                if run.1 <= order.max(Order::BLOCK) {
                    // No CPU caches a smaller one.
                    break;
                }
            }
        }
        match smallest {
            Some((run, cached)) if cached == order && self.uncache_blocks(run.block(), order) => {
                Stolen::Run(run)
            }
            Some((run, cached)) if self.return_stolen_blocks(run.block(), cached) => Stolen::Freed,
            _ => Stolen::Nothing,
        }
    }

    fn return_stolen_blocks(&self, block: BlockNumber, order: Order) -> bool {
        #[cfg(feature = "faults")]
        if faults::is_armed(faults::FrameFault::LoseStolenBlock) {
            return state::replace(self.table.cell(block), State::cached(order), State::huge(order));
        }
        self.return_cached_blocks(block, order)
    }

    fn estimate_once(
        &self,
        order: Order,
        magazines: impl Iterator<Item = RemoteMagazine> + Clone,
    ) -> Reclaimable {
        if order == Order::FRAME {
            // The frame that its CPU allocates last is the most likely to be still there.
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

    /// A run of order 1 to 8 that is free, except for frames that CPUs cache.
    fn find_run_with(&self, cached: &CachedCounts) -> Option<FrameNumber> {
        let visit = |block: BlockNumber, state: State| match state.kind() {
            Kind::Buddy | Kind::Transit | Kind::Cached => Some(block.first_frame()),
            Kind::Frames => {
                let words = self.table.bitmap(block).load();
                let firsts = (0..FRAMES_PER_BLOCK).step_by(cached.order.frames());
                let mut runs =
                    firsts.map(|index| (block.first_frame() + index, missing(&words, index, cached.order)));
                runs.find(|&(first, missing)| missing <= cached.most_of(first)).map(|(first, _)| first)
            }
            Kind::Huge | Kind::Blank | Kind::Corrupt => None,
        };
        self.all_zones()
            .find_map(|(_, zone)| zone.spans(self.table.all()).find_map(|span| self.visit_runs(span, visit)))
    }

    /// A run of order 9 or above that is free, except for frames that CPUs cache.
    fn find_piece_with(&self, cached: &CachedCounts) -> Option<FrameNumber> {
        let order = cached.order;
        let heads = (0..self.table.blocks()).step_by(order.blocks()).map(BlockNumber);
        // No run has blocks of two zones.
        let in_one_zone = |head: &BlockNumber| {
            self.zone_layout()
                .is_none_or(|zone_layout| order.blocks() <= zone_layout.blocks_in_zone_from(*head))
        };
        let mut heads = heads.filter(in_one_zone);
        heads.find(|head| self.lacks_only(cached, *head)).map(BlockNumber::first_frame)
    }

    /// Whether this run is free, except for frames that CPUs cache.
    fn lacks_only(&self, cached: &CachedCounts, head: BlockNumber) -> bool {
        let most = cached.most_of(head.first_frame());
        let end = head.0 + cached.order.blocks();
        let (mut block, mut lacking) = (head, 0);
        while block.0 < end {
            let Some((first, state)) = self.run_at(block) else { return false };
            lacking += match state.kind() {
                Kind::Buddy | Kind::Transit | Kind::Cached => 0,
                // By its bits: the count is too low while another CPU has taken frames that it will release.
                Kind::Frames if state.is_whole() => {
                    missing(&self.table.bitmap(block).load(), 0, Order::BLOCK)
                }
                Kind::Frames | Kind::Huge | Kind::Blank | Kind::Corrupt => return false,
            };
            if lacking > most {
                return false;
            }
            block = BlockNumber(first.0 + state.blocks());
        }
        true
    }
}

/// How many CPUs there are and the sum of their sequence counts; `None` during a transfer of one.
fn transfer_seq(mut magazines: impl Iterator<Item = RemoteMagazine>) -> Option<(usize, usize)> {
    magazines.try_fold((0, 0), |(count, sum): (usize, usize), magazine| {
        Some((count + 1, sum.wrapping_add(magazine.transfer_seq()?)))
    })
}

/// How many frames of a run of order 9 or below are not free in the bitmap.
fn missing(words: &[u64; WORDS], index: usize, order: Order) -> usize {
    let (first, bits) = (index / bitmap::WORD_BITS, order.frames().min(bitmap::WORD_BITS));
    let mask = (u64::MAX >> (bitmap::WORD_BITS - bits)) << (index % bitmap::WORD_BITS);
    let words = &words[first..first + order.frames().div_ceil(bitmap::WORD_BITS)];
    words.iter().map(|word| (!word & mask).count_ones() as usize).sum()
}

/// Counters of cached frames.
const COUNTERS: usize = 256;

/// With more runs of an order below 9 than this, the counters are too coarse for the cost of a scan.
const MAX_RUNS: usize = 64 * COUNTERS;

/// How many frames of each run of an order are cached. Runs whose numbers differ by a multiple of [`COUNTERS`] share a counter.
struct CachedCounts {
    order: Order,
    frames: [u32; COUNTERS],
}

impl CachedCounts {
    fn of(order: Order, magazines: impl Iterator<Item = RemoteMagazine>) -> Self {
        let mut cached = Self { order, frames: [0; COUNTERS] };
        // Cached whole blocks have a state that says so.
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

    /// An upper bound of the cached frames of the run in which this frame lies.
    fn most_of(&self, frame: FrameNumber) -> usize {
        self.frames[self.counter(frame)] as usize
    }

    fn counter(&self, frame: FrameNumber) -> usize {
        (frame.get() >> self.order.get()) % COUNTERS
    }
}

#[cfg(test)]
mod tests;
