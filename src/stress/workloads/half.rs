//! Workloads that use half of memory: `repeat` and `rand` of LLFree's evaluation.

use core::sync::atomic::Ordering;

use super::run_word::{pack, unpack};
use super::worker::{Body, ROUNDS, TIMED, Timed, Worker, Workload};
use crate::memory::frames::{FrameNumber, Order};

/// The workload `half_full_pairs`.
pub(crate) static HALF_FULL_PAIRS: Workload = Workload {
    name: "half_full_pairs",
    summary: "All CPUs hold half of memory in single frames; each then allocates a frame and frees it, again and again (LLFree: `repeat`).",
    is_default: false,
    on_host: true,
    timed: Timed::Pair,
    holds_runs: false,
    run: Body::Frames(|worker| worker.half_full_pairs()),
    details: None,
};

/// The workload `shuffled_free`.
pub(crate) static SHUFFLED_FREE: Workload = Workload {
    name: "shuffled_free",
    summary: "All CPUs allocate half of memory in single frames; each then frees an equal part of all of them, in a shuffled order (LLFree: `rand`).",
    is_default: false,
    on_host: true,
    timed: Timed::Free,
    holds_runs: true,
    run: Body::Frames(|worker| worker.shuffled_free()),
    details: None,
};

impl Worker<'_> {
    /// This CPU's part of half of all frames.
    fn half_share(&self) -> usize {
        self.shared.free_before as usize / 2 / self.shared.ids.len()
    }

    /// Allocates and frees one frame repeatedly, while half of memory is allocated.
    pub(super) fn half_full_pairs(&mut self) {
        let mut mine = None;
        for step in 0..self.half_share() {
            if self.cuts_round(step + 1) {
                break;
            }
            let Some(frame) = self.alloc(Order::FRAME) else { break };
            if self.acquired_linked(frame, mine) {
                mine = Some(frame.get());
            }
            self.count(1);
        }
        self.platform.barrier();
        while self.goes_on() {
            for _ in 0..ROUNDS {
                self.alloc_and_free(&mut [FrameNumber::new(0)]);
            }
        }
        self.free_all(mine);
    }

    /// In each round, all CPUs allocate half of memory, each into its part of the table. The rounds' multiplications permute the
    /// table, so no CPU has to shuffle it while the others wait: each frees an equal part of the permuted table.
    pub(super) fn shuffled_free(&mut self) {
        let (table, share) = (self.shared.runs, self.half_share());
        let all = share * self.shared.ids.len();
        for round in 1.. {
            for (step, index) in (self.rank * share..(self.rank + 1) * share).enumerate() {
                if self.cuts_round(step + 1) {
                    break;
                }
                let Some(frame) = self.alloc(Order::FRAME) else { break };
                if self.acquired(frame, Order::FRAME) {
                    table.words[index].store(pack(frame, Order::FRAME, self.rank), Ordering::Relaxed);
                }
                self.count(1);
            }
            self.platform.barrier();
            let factor = coprime_to(all, self.shared.seed.wrapping_mul(2 * round + 1));
            for index in self.rank * share..(self.rank + 1) * share {
                let index = (index as u128 * factor as u128 % all as u128) as usize;
                let run = unpack(table.words[index].swap(0, Ordering::Relaxed));
                if let Some((frame, order, rank)) = run
                    && self.disown(frame, order, self.shared.ids[rank])
                {
                    self.free_sampled(frame, order);
                    self.count(1);
                }
            }
            if self.rank == 0 {
                self.shared.goes_on.store(!self.platform.has_ended(), Ordering::Release);
            }
            self.platform.barrier();
            if !self.shared.goes_on.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Frees a run, and records the latency of one in [`TIMED`] frees.
    fn free_sampled(&mut self, frame: FrameNumber, order: Order) {
        if self.rng.u32(..TIMED) != 0 {
            return self.free(frame, order);
        }
        let began = self.platform.cycles();
        self.free(frame, order);
        self.record(self.platform.cycles().wrapping_sub(began));
    }
}

/// A factor by which multiplication modulo `count` is a permutation: coprime to `count`, and large, as far as `count` allows.
fn coprime_to(count: usize, random: u64) -> usize {
    let count = count.max(1);
    let gcd = |mut one: usize, mut other: usize| {
        while other != 0 {
            (one, other) = (other, one % other);
        }
        one
    };
    let first = count / 3 + random as usize % (count / 3 + 1);
    (first.max(1)..).find(|factor| gcd(*factor, count) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coprime_factor_permutes() {
        for count in (1..200).chain([4096, 4095, 30_030]) {
            let factor = coprime_to(count, 0x1234_5678_9abc);
            let mut seen = vec![false; count];
            (0..count).for_each(|index| seen[index * factor % count] = true);
            assert!(seen.iter().all(|seen| *seen), "{count} by {factor}");
        }
    }
}
