//! Fragmentation under churn: `frag` of LLFree's evaluation, also with several orders.
//!
//! All CPUs allocate all memory in runs of random orders, each order up to the largest being equally likely. The runs are shuffled
//! and dealt to the CPUs. Each CPU frees random ones until its part is as full as the workload says. Then there are rounds: each
//! CPU frees a random tenth of its runs, and allocates runs of random orders until it holds as many frames as before. If a run
//! is refused, it takes the next smaller one. After each round [`RunTable::take_score`](crate::stress::run_table::RunTable) gives
//! the fragmentation score.

use core::ops::Range;
use core::sync::atomic::Ordering;

use super::run_word::{pack, unpack};
use super::worker::{Body, Timed, Worker, Workload};
use crate::memory::frames::{FrameNumber, Order};
use crate::wire::MAX_SCORES;

/// The most rounds, as in LLFree's evaluation. There is a score before the first.
const ROUNDS: usize = MAX_SCORES - 1;

/// One in this many runs is replaced in a round.
const REPLACED: usize = 10;

/// Declares a workload with runs up to an order, that keeps memory as full as so many percent.
macro_rules! churn {
    ($static:ident, $name:literal, $order:literal, $percent:literal, $is_default:literal, $summary:literal) => {
        #[doc = concat!("The workload `", $name, "`.")]
        pub(crate) static $static: Workload = Workload {
            name: $name,
            summary: $summary,
            is_default: $is_default,
            on_host: true,
            timed: Timed::Allocation,
            holds_runs: true,
            run: Body::Frames(|worker| worker.churn($order, $percent)),
            details: Some(|shared, f| {
                let rounds = shared.scores().count().saturating_sub(1);
                let last = shared.scores().next_back().unwrap_or(0);
                write!(f, "fragmentation score {}.{} after {rounds} rounds", last / 10, last % 10)
            }),
        };
    };
}

churn!(CHURN0_50, "churn0_50", 0, 50, false, "As `churn5_50`, with single frames.");
churn!(CHURN3_50, "churn3_50", 3, 50, false, "As `churn5_50`, with orders up to 3.");
churn!(
    CHURN5_50,
    "churn5_50",
    5,
    50,
    true,
    "All CPUs hold half of memory in runs of orders up to 5, and replace a tenth of them at random in each round; measures fragmentation (LLFree: `frag`)."
);
churn!(CHURN9_50, "churn9_50", 9, 50, false, "As `churn5_50`, with orders up to 9.");
churn!(CHURN0_90, "churn0_90", 0, 90, false, "As `churn0_50`, with memory 90 % full.");
churn!(CHURN3_90, "churn3_90", 3, 90, false, "As `churn3_50`, with memory 90 % full.");
churn!(CHURN5_90, "churn5_90", 5, 90, false, "As `churn5_50`, with memory 90 % full.");
churn!(CHURN9_90, "churn9_90", 9, 90, false, "As `churn9_50`, with memory 90 % full.");

/// The runs of one CPU: the first words of its part of the table.
struct Part {
    /// Its words.
    words: Range<usize>,
    /// The number of runs.
    count: usize,
    /// The frames in them.
    frames: usize,
}

impl Worker<'_> {
    pub(super) fn churn(&mut self, largest: u8, percent: usize) {
        self.fill_table(largest);
        self.platform.barrier();
        if self.rank == 0 {
            self.shuffle_and_deal();
        }
        self.platform.barrier();
        let mut part = self.part();
        for word in part.words.clone().take(part.count) {
            if let Some((frame, order)) = self.run_at(word) {
                part.frames += order.frames();
                self.shared.runs.add_available(frame, order);
            }
        }
        let target = part.frames / 100 * percent;
        while part.frames > target && self.free_random(&mut part) {}
        self.note_score(&part);
        while self.shared.goes_on.load(Ordering::Acquire) {
            for _ in 0..part.count / REPLACED {
                self.free_random(&mut part);
            }
            for step in 1_usize.. {
                let goes_on = part.frames < target && !self.cuts_round(step);
                if !goes_on || !self.alloc_into(&mut part, largest) {
                    break;
                }
            }
            self.note_score(&part);
        }
        while self.free_random(&mut part) {}
    }

    /// Allocates runs of random orders until nothing is left, and appends them to those of all CPUs. These allocations are not
    /// timed: memory is not fragmented yet.
    fn fill_table(&mut self, mut largest: u8) {
        let table = self.shared.runs;
        for step in 1_usize.. {
            if self.cuts_round(step) {
                return;
            }
            let number = self.rng.u8(..=largest);
            let order = Order::new(number).unwrap_or(Order::FRAME);
            let Some(frame) = self.alloc(order) else {
                if !self.supports(order) {
                    if !(0..=largest).filter_map(Order::new).any(|order| self.supports(order)) {
                        return;
                    }
                    continue;
                }
                match number.checked_sub(1) {
                    Some(smaller) => largest = smaller,
                    None => return,
                }
                continue;
            };
            // An allocator that allocates the same run again and again must not keep this loop going.
            if !self.acquired(frame, order) {
                return;
            }
            let index = self.shared.filled.fetch_add(1, Ordering::Relaxed) as usize;
            table.words[index].store(pack(frame, order, self.rank), Ordering::Relaxed);
            self.count(1);
        }
    }

    /// The number of words of each CPU's part.
    fn part_size(&self) -> usize {
        self.shared.runs.words.len() / self.shared.ids.len()
    }

    /// The number of runs that each CPU gets, except perhaps the last ones.
    fn dealt(&self) -> (usize, usize) {
        let count = self.shared.filled.load(Ordering::Relaxed) as usize;
        (count, count.div_ceil(self.shared.ids.len()))
    }

    /// Shuffles the runs of all CPUs, and moves an equal number into each CPU's part.
    fn shuffle_and_deal(&mut self) {
        let (words, size) = (self.shared.runs.words, self.part_size());
        let (count, each) = self.dealt();
        let load = |index: usize| words[index].load(Ordering::Relaxed);
        for index in (1..count).rev() {
            let other = self.rng.usize(..=index);
            let word = load(index);
            words[index].store(load(other), Ordering::Relaxed);
            words[other].store(word, Ordering::Relaxed);
        }
        // Upwards, from the end: a part is at least as large as what is dealt, so no run is overwritten before it is moved.
        for index in (0..count).rev() {
            let word = words[index].swap(0, Ordering::Relaxed);
            words[index / each * size + index % each].store(word, Ordering::Relaxed);
        }
    }

    /// This CPU's part, whose frames are not counted yet.
    fn part(&self) -> Part {
        let (size, (count, each)) = (self.part_size(), self.dealt());
        let first = self.rank * size;
        Part {
            words: first..first + size,
            count: count.saturating_sub(self.rank * each).min(each),
            frames: 0,
        }
    }

    fn run_at(&self, word: usize) -> Option<(FrameNumber, Order)> {
        let (frame, order, _) = unpack(self.shared.runs.words[word].load(Ordering::Relaxed))?;
        Some((frame, order))
    }

    /// Frees a random run of the part. Returns whether there was one.
    fn free_random(&mut self, part: &mut Part) -> bool {
        let Some(last) = part.count.checked_sub(1) else { return false };
        let words = &self.shared.runs.words[part.words.clone()];
        let freed =
            words[self.rng.usize(..=last)].swap(words[last].load(Ordering::Relaxed), Ordering::Relaxed);
        words[last].store(0, Ordering::Relaxed);
        part.count = last;
        if let Some((frame, order, rank)) = unpack(freed) {
            part.frames -= order.frames();
            if self.disown(frame, order, self.shared.ids[rank]) {
                self.free(frame, order);
            }
            self.count(1);
        }
        true
    }

    /// Adds a run of a random order, or of the largest smaller one that can be allocated. Returns `false` if nothing can, or
    /// the part has no room.
    fn alloc_into(&mut self, part: &mut Part, largest: u8) -> bool {
        let Some(word) = part.words.clone().nth(part.count) else { return false };
        let random = self.rng.u8(..=largest);
        for order in (0..=random).rev().filter_map(Order::new) {
            let Some(frame) = self.alloc_sampled(order) else { continue };
            self.count(1);
            if !self.acquired(frame, order) {
                return false;
            }
            self.shared.runs.words[word].store(pack(frame, order, self.rank), Ordering::Relaxed);
            part.count += 1;
            part.frames += order.frames();
            return true;
        }
        false
    }

    /// Adds the score to the series, and decides whether there is another round. Passes two barriers.
    fn note_score(&mut self, part: &Part) {
        for word in part.words.clone().take(part.count) {
            if let Some((frame, order)) = self.run_at(word) {
                self.shared.runs.add_held(frame, order);
            }
        }
        self.platform.barrier();
        if self.rank == 0 {
            let count = self.shared.add_score(self.shared.runs.take_score());
            let goes_on = count <= ROUNDS && (count == 1 || !self.platform.has_ended());
            self.shared.goes_on.store(goes_on, Ordering::Release);
        }
        self.platform.barrier();
    }
}
