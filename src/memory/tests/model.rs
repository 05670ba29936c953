//! Random sequences against a naive model, which keeps an owner for each frame, and against the crate's allocator.

use super::zones::two_nodes;
use super::{World, order};
use crate::memory::cache::Magazine;
use crate::memory::frames::search::Extent;
use crate::memory::frames::zone_layout::LOW_END;
use crate::memory::frames::{
    FrameNumber, FrameRequest, Frames, NodeId, Nodes, ORDERS, Order, ZoneId, ZoneType,
};
use buddy_system_allocator::FrameAllocator;
use core::cell::Cell;
use core::ops::Range;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::vec::Vec;

const CPUS: usize = 3;
/// CPU 2 is of the same node as CPU 0.
const NODES: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Alloc {
        cpu: usize,
        order: u8,
    },
    AllocIn {
        cpu: usize,
        order: u8,
        zone: ZoneType,
        nodes: Nodes,
    },
    /// Frees the allocation at this place of the list, as it is.
    Free {
        cpu: usize,
        which: usize,
    },
    /// Frees the first half of it, and keeps the other.
    FreeHalf {
        cpu: usize,
        which: usize,
    },
    AllocBulk {
        cpu: usize,
        count: usize,
    },
    /// Frees this many single frames in one call.
    FreeBulk {
        cpu: usize,
        count: usize,
    },
    Drain {
        cpu: usize,
    },
    /// Drains; then the operations bypass the cache, or not.
    Bypass {
        cpu: usize,
        bypasses: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let cpu = 0..CPUS;
    let orders = prop_oneof![6 => Just(0u8), 4 => 1..=8u8, 2 => 9..=12u8, 1 => 13..=18u8];
    let zones = prop::sample::select(ZoneType::ALL.to_vec());
    let node = (0..NODES as u8).prop_map(NodeId);
    let nodes = prop_oneof![
        Just(Nodes::Nearest),
        node.clone().prop_map(Nodes::NearestTo),
        node.prop_map(Nodes::Only),
    ];
    prop_oneof![
        4 => (cpu.clone(), orders.clone(), zones, nodes)
            .prop_map(|(cpu, order, zone, nodes)| Step::AllocIn { cpu, order, zone, nodes }),
        8 => (cpu.clone(), orders).prop_map(|(cpu, order)| Step::Alloc { cpu, order }),
        6 => (cpu.clone(), any::<usize>()).prop_map(|(cpu, which)| Step::Free { cpu, which }),
        1 => (cpu.clone(), any::<usize>()).prop_map(|(cpu, which)| Step::FreeHalf { cpu, which }),
        2 => (cpu.clone(), 1..700usize).prop_map(|(cpu, count)| Step::AllocBulk { cpu, count }),
        2 => (cpu.clone(), 1..700usize).prop_map(|(cpu, count)| Step::FreeBulk { cpu, count }),
        1 => cpu.clone().prop_map(|cpu| Step::Drain { cpu }),
        1 => (cpu, any::<bool>()).prop_map(|(cpu, bypasses)| Step::Bypass { cpu, bypasses }),
    ]
}

/// Memory as a firmware might describe it, in a world of 20 blocks.
fn memory_map() -> impl Strategy<Value = Vec<Range<usize>>> {
    const END: usize = 20 * 512;
    prop_oneof![
        Just(std::vec![0..END]),
        Just(std::vec![1..159, 256..END - 37]),
        Just(std::vec![0..700, 701..3000, 4096..8192, 8192..8200, 9000..END]),
        Just(std::vec![3..4, 5..6, 70..129, 512..513]),
        (0..END / 2, 1..END / 2).prop_map(|(start, len)| std::vec![start..start + len]),
    ]
}

/// When memory is cut into arenas.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Zones {
    None,
    /// Before it is taken in.
    Before,
    /// After that.
    After,
}

struct Model {
    world: World,
    magazines: [Magazine; CPUS],
    /// For each CPU, whether its operations bypass its cache.
    bypasses: [bool; CPUS],
    /// For each frame, whether it is free, that is, managed and not allocated.
    free: Vec<bool>,
    /// The allocated frames.
    out: Vec<(FrameNumber, Order)>,
    oracle: FrameAllocator<33>,
    /// For each frame that is out here, what of the oracle's is out for it.
    oracle_out: Vec<(usize, usize)>,
}

impl Model {
    fn new(map: &[Range<usize>], zones: Zones) -> Self {
        let world = match zones {
            Zones::None => World::empty(20),
            Zones::Before | Zones::After => World::at_zero(20),
        };
        let set_zones = |at: Zones| {
            if zones == at {
                world.set_zones(two_nodes(world.first + world.len)).expect("nothing is out");
            }
        };
        set_zones(Zones::Before);
        let mut oracle = FrameAllocator::new();
        let mut free = std::vec![false; world.len];
        for range in map {
            assert_eq!(world.insert(range.clone()), Ok(range.len()));
            free[range.clone()].fill(true);
            oracle.add_frame(world.first.get() + range.start, world.first.get() + range.end);
        }
        set_zones(Zones::After);
        let magazines = core::array::from_fn(|cpu| {
            let magazine = Magazine::new();
            magazine.set_local_node(NodeId((cpu % NODES) as u8));
            magazine
        });
        Self {
            world,
            magazines,
            bypasses: [false; CPUS],
            free,
            out: Vec::new(),
            oracle,
            oracle_out: Vec::new(),
        }
    }

    fn drain_all(&mut self) {
        for magazine in &mut self.magazines {
            assert_eq!(self.world.frames.drain(magazine), Ok(()));
        }
    }

    /// Whose the memory of a frame is, and which zone's; nothing of that is known of undivided memory.
    fn name_of(&self, frame: FrameNumber) -> Option<ZoneId> {
        let cut = self.world.frames.zone_layout()?;
        Some(cut.zones()[cut.zone_of(frame.block())])
    }

    /// Whether a run may be allocated for a request: all of it is free, in one zone, and that zone matches.
    fn is_fit(&self, index: usize, order: Order, zone: ZoneType, node: Option<NodeId>) -> bool {
        let (first, last) = (self.world.first + index, self.world.first + index + (order.frames() - 1));
        let Some(name) = self.name_of(first) else { return zone == ZoneType::Normal && node.is_none() };
        let frames = first.get()..=last.get();
        self.name_of(last) == Some(name)
            && name.zone_type <= zone
            && (zone != ZoneType::Low || *frames.end() < LOW_END.get())
            && node.is_none_or(|node| node == name.node)
    }

    /// Whether the model knows of a free run that a request may have.
    fn has_run_in(&self, order: Order, zone: ZoneType, node: Option<NodeId>) -> bool {
        let misaligned = self.world.first.get() % order.frames();
        let skip = (order.frames() - misaligned) % order.frames();
        self.free.get(skip..).is_some_and(|free| {
            let mut runs = free.chunks_exact(order.frames()).enumerate();
            runs.any(|(at, run)| {
                run.iter().all(|&is_free| is_free)
                    && self.is_fit(skip + at * order.frames(), order, zone, node)
            })
        })
    }

    fn has_run(&self, order: Order) -> bool {
        self.has_run_in(order, ZoneType::Normal, None)
    }

    fn alloc_in(&mut self, cpu: usize, request: FrameRequest) {
        let FrameRequest { order, zone, nodes } = request;
        let find = if self.bypasses[cpu] { Frames::find_in } else { Frames::alloc_in };
        let mut got = find(&self.world.frames, &self.magazines[cpu], request);
        let only = if let Nodes::Only(node) = nodes { Some(node) } else { None };
        if got.is_none() {
            self.drain_all();
            got = find(&self.world.frames, &self.magazines[cpu], request);
            assert_eq!(got.is_some(), self.has_run_in(order, zone, only), "{request:?} after draining all");
        }
        if let Some(frame) = got {
            assert!(self.is_fit(self.world.index(frame), order, zone, only), "{frame} for {request:?}");
            self.take(frame, order);
        }
    }

    fn take(&mut self, frame: FrameNumber, order: Order) {
        assert!(frame.is_aligned_to(order), "{frame} is not aligned to {order}");
        let index = self.world.index(frame);
        for is_free in &mut self.free[index..index + order.frames()] {
            assert!(*is_free, "{frame} at {order}: in use, or never the allocator's");
            *is_free = false;
        }
        self.out.push((frame, order));
    }

    fn find(&self, cpu: usize, order: Order) -> Option<FrameNumber> {
        let (frames, magazine) = (&self.world.frames, &self.magazines[cpu]);
        if self.bypasses[cpu] {
            frames.alloc_uncached(magazine, order, Extent::All)
        } else {
            frames.alloc(magazine, order)
        }
    }

    fn alloc(&mut self, cpu: usize, order: Order) {
        let mut got = self.find(cpu, order);
        if got.is_none() {
            if order == Order::FRAME {
                assert_eq!(self.world.frames.free_frames(), 0, "frames in the table were not found");
            }
            self.drain_all();
            got = self.find(cpu, order);
            assert_eq!(got.is_some(), self.has_run(order), "{order} after draining all");
        }
        if let Some(frame) = got {
            self.take(frame, order);
        }
    }

    fn free(&mut self, cpu: usize, frame: FrameNumber, order: Order) {
        let index = self.world.index(frame);
        self.free[index..index + order.frames()].fill(true);
        let freed = if self.bypasses[cpu] {
            self.world.frames.free_uncached(frame, order)
        } else {
            self.world.frames.free(&self.magazines[cpu], frame, order)
        };
        assert_eq!(freed, Ok(()));
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Alloc { cpu, order: number } => self.alloc(cpu, order(number)),
            Step::AllocIn { cpu, order: number, zone, nodes } => {
                self.alloc_in(cpu, FrameRequest { order: order(number), zone, nodes });
            }
            Step::Free { cpu, which } => {
                if !self.out.is_empty() {
                    let (frame, order) = self.out.swap_remove(which % self.out.len());
                    self.free(cpu, frame, order);
                }
            }
            Step::FreeHalf { cpu, which } => {
                if !self.out.is_empty() {
                    let (frame, whole) = self.out.swap_remove(which % self.out.len());
                    match whole.get().checked_sub(1).map(order) {
                        Some(half) => {
                            self.out.push((frame + half.frames(), half));
                            self.free(cpu, frame, half);
                        }
                        None => self.free(cpu, frame, whole),
                    }
                }
            }
            Step::AllocBulk { cpu, count } => {
                let mut frames = std::vec![FrameNumber::new(0); count];
                let alloc_bulk =
                    if self.bypasses[cpu] { Frames::alloc_bulk_uncached } else { Frames::alloc_bulk };
                let got = alloc_bulk(&self.world.frames, &self.magazines[cpu], &mut frames);
                assert!(got == count || self.world.frames.free_frames() == 0, "too few");
                for &frame in &frames[..got] {
                    self.take(frame, Order::FRAME);
                }
            }
            Step::FreeBulk { cpu, count } => {
                let mut frames = Vec::new();
                self.out.retain(|&(frame, order)| {
                    let goes = order == Order::FRAME && frames.len() < count;
                    if goes {
                        frames.push(frame);
                    }
                    !goes
                });
                for &frame in &frames {
                    let index = self.world.index(frame);
                    self.free[index] = true;
                }
                let freed = if self.bypasses[cpu] {
                    self.world.frames.return_singles(&frames)
                } else {
                    self.world.frames.free_bulk(&self.magazines[cpu], &frames)
                };
                assert_eq!(freed, Ok(()));
            }
            Step::Drain { cpu } => assert_eq!(self.world.frames.drain(&self.magazines[cpu]), Ok(())),
            Step::Bypass { cpu, bypasses } => {
                assert_eq!(self.world.frames.drain(&self.magazines[cpu]), Ok(()));
                self.bypasses[cpu] = bypasses;
            }
        }
    }

    /// The oracle's free memory, once everything is back, in the pieces that octopod says it has.
    fn assert_oracle_agrees(&mut self, by_order: &[usize; ORDERS]) {
        for number in (0..ORDERS).rev() {
            for _ in 0..by_order[number] >> number {
                let start = self.oracle.alloc(1 << number);
                assert!(start.is_some(), "the oracle has no piece of order {number}: {by_order:?}");
                self.oracle_out.extend(start.map(|start| (start, 1 << number)));
            }
        }
        assert_eq!(self.oracle.alloc(1), None, "the oracle has more than {by_order:?}");
        for (start, count) in self.oracle_out.drain(..) {
            self.oracle.dealloc(start, count);
        }
    }

    fn assert_consistent(&mut self) {
        let (frames, magazines) = (&self.world.frames, &self.magazines);
        assert_eq!(frames.validate(), Ok(()));
        let in_magazines: usize = magazines.iter().map(Magazine::cached_frames).sum();
        for (magazine, bypasses) in magazines.iter().zip(self.bypasses) {
            assert!(!bypasses || !magazine.may_have(Order::BLOCK), "it caches frames or reserves a block");
        }
        let free = self.free.iter().filter(|&&is_free| is_free).count();
        assert_eq!(frames.free_frames() + in_magazines, free);
        assert_eq!(frames.free_by_order().iter().sum::<usize>(), frames.free_frames());
    }
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Checks this of random values: of `PROPTEST_CASES`, and on until `check` has counted so many `operations`. What fails is
/// shrunk first.
fn check_random<S: Strategy>(values: S, operations: u64, check: impl Fn(S::Value, &Cell<u64>)) {
    let cases = setting("PROPTEST_CASES").map_or(96, |cases| cases as u32);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let (done, mut runs) = (Cell::new(0), 0);
    while runs == 0 || done.get() < operations {
        let outcome = TestRunner::new(config.clone()).run(&values, |value| {
            check(value, &done);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
        runs += cases;
    }
    std::println!("counted {} operations", done.get());
    std::println!("counted {runs} cases");
}

/// How many operations the long tier wants.
fn long_tier() -> u64 {
    setting("FRAMES_MODEL_OPERATIONS").unwrap_or(0)
}

#[test]
fn random_steps_agree_with_the_model() {
    let steps = prop::collection::vec(step(), 1..250);
    let divisions = prop::sample::select(std::vec![Zones::None, Zones::Before, Zones::After]);
    check_random((memory_map(), divisions, steps), long_tier(), |(map, zones, steps), done| {
        let mut model = Model::new(&map, zones);
        let before = model.world.frames.free_by_order();
        model.assert_oracle_agrees(&before);
        for (index, step) in steps.iter().enumerate() {
            model.run(step);
            if index % 32 == 0 {
                model.assert_consistent();
            }
        }
        model.assert_consistent();
        // One CPU can get every free frame once the others are drained.
        model.drain_all();
        let free = model.free.iter().filter(|&&is_free| is_free).count();
        let rest = model.world.take_everything(&model.magazines[0]);
        assert_eq!(rest.len(), free);
        for frame in rest {
            model.take(frame, Order::FRAME);
        }
        for (index, (frame, order)) in core::mem::take(&mut model.out).into_iter().enumerate() {
            model.free(index % CPUS, frame, order);
        }
        model.drain_all();
        model.world.assert_as_before(before);
        model.assert_oracle_agrees(&before);
        done.update(|done| done + steps.len() as u64);
    });
}

/// The same requests to both, until either says no: as long as nothing is free but whole, both say yes.
#[test]
fn what_the_oracle_allocates_by_size_can_be_allocated() {
    let orders = prop::collection::vec(0..=13u8, 1..60);
    // A case has few, and costs as much to set up.
    check_random(orders, long_tier() / 10, |mut orders, done| {
        orders.sort_unstable_by(|a, b| b.cmp(a));
        let mut model = Model::new(core::slice::from_ref(&(0..20 * 512)), Zones::None);
        for &number in &orders {
            let here = model.world.frames.alloc(&model.magazines[0], order(number));
            let there = model.oracle.alloc(1 << number);
            assert_eq!(here.is_some(), there.is_some(), "order {number}");
            if let Some(frame) = here {
                model.take(frame, order(number));
            }
        }
        assert_eq!(model.world.frames.validate(), Ok(()));
        done.update(|done| done + orders.len() as u64);
    });
}
