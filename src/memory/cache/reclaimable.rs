//! Whether it is worth asking other CPUs for what they keep, and which of them: an answer takes an interrupt there and a
//! wait here, and mostly there is none to be had, since every CPU keeps a run of each order.
//!
//! What they keep is read from [afar](super::remote) and set beside what the bitmaps show free. [`Gain::Nothing`] must be
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

use super::remote::Afar;
use crate::memory::frames::allocator::Frames;
use crate::memory::frames::bitmap::{self, WORDS};
use crate::memory::frames::number::{BlockNumber, FRAMES_PER_BLOCK, FrameNumber, Order};
use crate::memory::frames::state::Kind;
use crate::memory::frames::sync::{Ordering, fence, spin_loop};

/// How often one looks, where CPUs move frames meanwhile.
const LOOKS: usize = 4;

/// What may come of asking other CPUs for what they keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gain {
    /// No run of that order.
    Nothing,
    /// This run, from those CPUs that [have anything of it](Afar::has_any_of). If none has, it is there already.
    Run(Range<FrameNumber>),
    /// Nobody can tell.
    Unknown,
}

impl Frames {
    /// Whether a run of `order` comes together if CPUs gave back what they keep. `magazines` are those of every CPU that has
    /// one, this one's as well. [`Gain::Nothing`] is certain of a run that nobody has any frame of throughout the call; but
    /// for a single frame in the table, which every search finds.
    ///
    /// Takes a time that grows with the memory and with the number of CPUs. Any context; interrupts are best left on.
    pub fn gain(&self, order: Order, magazines: impl Iterator<Item = Afar> + Clone) -> Gain {
        for _ in 0..LOOKS {
            if let Some(before) = moves(magazines.clone()) {
                let gain = self.look(order, magazines.clone());
                // What was seen was seen before this look.
                fence(Ordering::Acquire);
                if gain != Gain::Nothing || moves(magazines.clone()) == Some(before) {
                    return gain;
                }
            }
            spin_loop();
        }
        Gain::Unknown
    }

    fn look(&self, order: Order, magazines: impl Iterator<Item = Afar> + Clone) -> Gain {
        if order == Order::FRAME {
            // The one that its CPU would take last is most likely to be there still.
            let mut frames = magazines.filter_map(|magazine| magazine.kept().next());
            return frames.next().map_or(Gain::Nothing, |(frame, _)| Gain::Run(frame..frame + 1));
        }
        let runs = self.end.get() >> order.get();
        if order < Order::BLOCK && runs > MAX_RUNS {
            let keeps_any = magazines.clone().any(|magazine| magazine.kept().next().is_some());
            return if keeps_any { Gain::Unknown } else { Gain::Nothing };
        }
        let kept = Kept::of(order, magazines);
        let found =
            if order < Order::BLOCK { self.find_run_with(&kept) } else { self.find_piece_with(&kept) };
        found.map_or(Gain::Nothing, |first| Gain::Run(first..first + order.frames()))
    }

    /// A run of order 1 to 8 that is free, but for frames that CPUs keep.
    fn find_run_with(&self, kept: &Kept) -> Option<FrameNumber> {
        let all = BlockNumber::each(self.table.all());
        all.filter_map(|block| match self.table.state(block).kind() {
            Kind::Buddy | Kind::Transit | Kind::Kept => Some(block.first_frame()),
            Kind::Frames => {
                let words = self.table.bitmap(block).load();
                let firsts = (0..FRAMES_PER_BLOCK).step_by(kept.order.frames());
                let mut runs =
                    firsts.map(|index| (block.first_frame() + index, missing(&words, index, kept.order)));
                runs.find(|&(first, missing)| missing <= kept.most_of(first)).map(|(first, _)| first)
            }
            Kind::Huge | Kind::Absent | Kind::Corrupt => None,
        })
        .next()
    }

    /// A piece of order 9 or above.
    fn find_piece_with(&self, kept: &Kept) -> Option<FrameNumber> {
        let order = kept.order;
        let heads = (0..self.table.blocks()).step_by(order.blocks()).map(BlockNumber);
        // No piece is made of two arenas' blocks.
        let in_one_arena = |head: &BlockNumber| {
            self.partition().is_none_or(|partition| order.blocks() <= partition.blocks_in_arena_from(*head))
        };
        let mut heads = heads.filter(in_one_arena);
        heads.find(|head| self.lacks_only(kept, *head)).map(BlockNumber::first_frame)
    }

    /// Whether of this piece nothing is missing but what CPUs keep.
    fn lacks_only(&self, kept: &Kept, head: BlockNumber) -> bool {
        let most = kept.most_of(head.first_frame());
        let mut lacking = 0;
        (head.0..head.0 + kept.order.blocks()).map(BlockNumber).all(|block| {
            let state = self.table.state(block);
            lacking += match state.kind() {
                Kind::Buddy | Kind::Transit | Kind::Kept => 0,
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
fn moves(mut magazines: impl Iterator<Item = Afar>) -> Option<(usize, usize)> {
    magazines.try_fold((0, 0), |(count, sum): (usize, usize), magazine| {
        Some((count + 1, sum.wrapping_add(magazine.moves()?)))
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
struct Kept {
    order: Order,
    frames: [u32; COUNTERS],
}

impl Kept {
    fn of(order: Order, magazines: impl Iterator<Item = Afar>) -> Self {
        let mut kept = Self { order, frames: [0; COUNTERS] };
        // What is kept of whole blocks their states say.
        for (first, run) in magazines.flat_map(Afar::kept).filter(|&(_, run)| run < Order::BLOCK) {
            let step = run.min(order).frames();
            for part in (first.get()..first.get().saturating_add(run.frames())).step_by(step) {
                let counter = &mut kept.frames[kept.counter(FrameNumber::new(part))];
                *counter = counter.saturating_add(step as u32);
            }
        }
        kept
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
