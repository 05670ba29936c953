//! Large memory: frees in random order, and two threads on one allocator. The memory is sparse: nothing of it is touched, so a
//! host needs little more than the allocator's metadata.

use std::hint::black_box;
use std::time::Instant;

use criterion::Criterion;
use octopod::memory::frames::{FrameNumber, Order};
use octopod::memory::host::{Cache, World};

use crate::ratios::{Ratios, Statistic, Turn};
use crate::threads::{Span, side_by_side, timed, together, until_enough};

/// Blocks of 2 MiB in 1 GiB.
const GIB: usize = 512;

/// Pairs of a thread in a turn: some tens of microseconds.
const PAIRS: usize = 1000;

/// All runs of one order of a memory, in a random order.
struct Runs<'a> {
    cache: Cache<'a>,
    order: Order,
    runs: Vec<FrameNumber>,
    rng: fastrand::Rng,
}

impl<'a> Runs<'a> {
    fn new(world: &'a World, order: Order) -> Runs<'a> {
        let runs = Vec::with_capacity(world.frame_count() / order.frames());
        Runs { cache: world.cache(), order, runs, rng: fastrand::Rng::with_seed(7) }
    }

    /// Allocates all of memory, and frees it in a random order. Returns the time of the frees, divided by `scale`.
    fn turn(&mut self, scale: u32) -> std::time::Duration {
        while let Some(run) = self.cache.alloc(self.order) {
            self.runs.push(run);
        }
        self.rng.shuffle(&mut self.runs);
        let start = Instant::now();
        for run in self.runs.drain(..) {
            self.cache.free(black_box(run), self.order).expect("its own run");
        }
        start.elapsed() / scale
    }
}

/// All runs of an order freed in random order, in a larger memory and in 1 GiB; the time of each free counts.
pub(crate) fn random_frees(criterion: &mut Criterion, ratios: &mut Ratios) {
    let cases = [
        ("free_random_order9_4g", 9, 4),
        ("free_random_order9_16g", 9, 16),
        ("free_random_order6_4g", 6, 4),
        ("free_random_order6_16g", 6, 16),
    ];
    for (name, order, gib) in cases {
        let order = Order::new(order).expect("an order");
        let (large, small) = (World::sparse(gib * GIB), World::sparse(GIB));
        let (mut large, mut small) = (Runs::new(&large, order), Runs::new(&small, order));
        let sides = [&*format!("{gib} GiB"), "1 GiB"];
        ratios.compare(criterion, name, Statistic::LeastTimes, sides, |wanted| {
            (0..wanted).map(|_| [large.turn(gib as u32), small.turn(1)]).collect()
        });
    }
}

fn pairs(cache: &mut Cache<'_>, order: Order) -> Span {
    timed(|| {
        for _ in 0..PAIRS {
            let run = black_box(&mut *cache).alloc(order).expect("there is memory");
            cache.free(black_box(run), order).expect("its own run");
        }
    })
}

/// Pairs of each order by two threads at once, on one allocator with 16 GiB, and by one thread.
pub(crate) fn two_threads(criterion: &mut Criterion, ratios: &mut Ratios) {
    let names = [
        "pair_order0_two_to_one",
        "pair_order1_two_to_one",
        "pair_order2_two_to_one",
        "pair_order3_two_to_one",
        "pair_order4_two_to_one",
        "pair_order5_two_to_one",
        "pair_order6_two_to_one",
        "pair_order7_two_to_one",
        "pair_order8_two_to_one",
        "pair_order9_two_to_one",
        "pair_order10_two_to_one",
        "pair_order11_two_to_one",
        "pair_order12_two_to_one",
    ];
    let world = World::sparse(16 * GIB);
    let (mut first, mut second) = (world.cache(), world.cache());
    for (order, name) in (0..).filter_map(Order::new).zip(names) {
        ratios.compare(criterion, name, Statistic::LeastTimes, ["two threads", "one thread"], |wanted| {
            until_enough(wanted, || {
                let turns = together(|| pairs(&mut first, order), || pairs(&mut second, order));
                let slower = turns.into_iter().filter_map(side_by_side).map(|[one, other]| one.max(other));
                let mut alone = || {
                    let (start, end) = pairs(&mut first, order);
                    end - start
                };
                slower.map(|two| -> Turn { [two, alone()] }).collect()
            })
        });
    }
}
