extern crate std;

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering::Relaxed;
use std::vec::Vec;

use super::super::magazine::Magazine;
use super::super::transfer_seq::TransferSeq;
use super::*;
use crate::memory::frames::FreeError;
use crate::memory::host::World;

fn order(number: u8) -> Order {
    Order::new(number).expect("an order")
}

/// CPUs, which others can look at.
struct Cpus {
    world: World,
    magazines: Vec<UnsafeCell<Magazine>>,
}

fn magazines(count: usize) -> Vec<UnsafeCell<Magazine>> {
    (0..count).map(|_| UnsafeCell::new(Magazine::new())).collect()
}

impl Cpus {
    /// From frame 0 on, as in a machine: with higher numbers there would be more frames than the encoding distinguishes.
    fn new(blocks: usize, cpus: usize) -> Cpus {
        let world = World::at_zero(blocks);
        assert_eq!(world.insert(0..world.len), Ok(world.len));
        Cpus { world, magazines: magazines(cpus) }
    }

    fn alloc(&mut self, cpu: usize, order: Order) -> FrameNumber {
        self.world.frames.alloc(self.magazines[cpu].get_mut(), order).expect("there is memory")
    }

    fn free(&mut self, cpu: usize, frame: FrameNumber, order: Order) {
        assert_eq!(
            self.world.frames.free(self.magazines[cpu].get_mut(), frame, order),
            Ok::<(), FreeError>(())
        );
    }

    fn drain(&mut self, cpu: usize) {
        assert_eq!(self.world.frames.drain(self.magazines[cpu].get_mut()), Ok(()));
    }

    /// All frames are allocated, and no CPU caches any.
    fn all_taken(blocks: usize, cpus: usize) -> (Cpus, Vec<FrameNumber>) {
        let mut this = Cpus::new(blocks, cpus);
        let mut all = this.world.take_everything(this.magazines[0].get_mut());
        all.sort();
        this.drain(0);
        (this, all)
    }

    fn remote(&self) -> impl Iterator<Item = RemoteMagazine> + Clone {
        // SAFETY: the magazines live while `self` does, and no code writes to them while the iterator is used.
        self.magazines.iter().map(|magazine| unsafe { RemoteMagazine::new(magazine.get()) })
    }

    /// Changes the sequence count of a CPU.
    fn transfer_seq(&self, cpu: usize, change: fn(&TransferSeq)) {
        // SAFETY: the field is shared, and no code borrows the magazine as a whole.
        change(unsafe { &(*self.magazines[cpu].get()).transfer_seq });
    }

    fn estimate_reclaimable(&self, order: Order) -> Reclaimable {
        self.world.frames.estimate_reclaimable(order, self.remote()).reclaimable
    }

    /// The CPUs that would be asked to drain.
    fn asked(&self, reclaimable: &Reclaimable) -> Vec<usize> {
        let Reclaimable::Run(run) = reclaimable else { panic!("{reclaimable:?}") };
        let asked = self.remote().enumerate().filter(|(_, remote)| remote.has_any_of(run.start, run.end));
        asked.map(|(cpu, _)| cpu).collect()
    }

    /// A promised run is available once the CPUs that cache a part of it have drained their caches.
    fn assert_promise(&mut self, order: Order) {
        let reclaimable = self.estimate_reclaimable(order);
        for cpu in self.asked(&reclaimable) {
            self.drain(cpu);
        }
        let Reclaimable::Run(run) = reclaimable else { panic!("{reclaimable:?}") };
        self.world.frames.reclaim_blocks(run.clone(), self.remote());
        let taker = Magazine::new();
        let got = self.world.frames.alloc(&taker, order);
        assert!(got.is_some(), "{order}: promised was {run:?}");
        assert_eq!(self.world.frames.free(&taker, got.expect("it is some"), order), Ok(()));
        assert_eq!(self.world.frames.drain(&taker), Ok(()));
    }
}

#[test]
fn one_missing_frame_is_in_a_magazine_or_in_use() {
    for number in 1..=9 {
        let (mut cpus, all) = Cpus::all_taken(1, 3);
        let order = order(number);
        assert_eq!(cpus.estimate_reclaimable(order), Reclaimable::Nothing, "all is in use");
        // All but one lie in the table.
        for frame in &all[1..order.frames()] {
            cpus.free(1, *frame, Order::FRAME);
        }
        cpus.drain(1);
        assert_eq!(cpus.estimate_reclaimable(order), Reclaimable::Nothing, "{order}: one is in use");
        cpus.free(2, all[0], Order::FRAME);
        let reclaimable = cpus.estimate_reclaimable(order);
        assert_eq!(reclaimable, Reclaimable::Run(all[0]..all[0] + order.frames()), "one is kept");
        assert_eq!(cpus.asked(&reclaimable), [2]);
        cpus.assert_promise(order);
    }
}

#[test]
fn cached_frames_of_other_runs_are_not_counted() {
    let (mut cpus, all) = Cpus::all_taken(1, 2);
    // Much is kept, and nowhere two neighbours.
    all.iter().step_by(16).for_each(|frame| cpus.free(1, *frame, Order::FRAME));
    for number in 1..=9 {
        assert_eq!(cpus.estimate_reclaimable(order(number)), Reclaimable::Nothing, "order {number}");
    }
    cpus.assert_promise(Order::FRAME);
}

#[test]
fn cached_runs_are_reclaimable_at_their_order_and_below() {
    for number in 1..=9 {
        let mut cpus = Cpus::new(2, 2);
        let kept = cpus.alloc(1, order(number));
        cpus.free(1, kept, order(number));
        // The rest is in use.
        let taker = Magazine::new();
        let rest = cpus.world.take_everything(&taker);
        assert_eq!(rest.len(), cpus.world.len - order(number).frames());
        assert_eq!(cpus.estimate_reclaimable(order(number + 1)), Reclaimable::Nothing);
        for wanted in 0..=number {
            // Whole blocks are taken without their CPU.
            let asked: &[usize] = if number >= 9 { &[] } else { &[1] };
            assert_eq!(cpus.asked(&cpus.estimate_reclaimable(order(wanted))), asked, "{wanted} of {number}");
        }
        cpus.assert_promise(order(number));
    }
}

#[test]
fn several_cpus_drain_if_each_has_a_part() {
    let (mut cpus, all) = Cpus::all_taken(2, 4);
    for (index, frame) in all[..512].iter().enumerate() {
        cpus.free(1 + index % 2, *frame, Order::FRAME);
    }
    assert_eq!(cpus.asked(&cpus.estimate_reclaimable(Order::BLOCK)), [1, 2]);
    assert_eq!(cpus.estimate_reclaimable(order(10)), Reclaimable::Nothing);
    cpus.assert_promise(Order::BLOCK);
}

#[test]
fn a_block_reserved_by_another_cpu_is_reclaimable() {
    let mut cpus = Cpus::new(1, 2);
    let frame = cpus.alloc(1, order(3));
    assert_eq!(cpus.estimate_reclaimable(Order::BLOCK), Reclaimable::Nothing);
    assert_eq!(cpus.world.frames.return_run(frame, order(3)), Ok(()));
    assert_eq!(cpus.asked(&cpus.estimate_reclaimable(Order::BLOCK)), [1], "it lies in the table, held");
    cpus.assert_promise(Order::BLOCK);
}

#[test]
fn a_block_that_is_managed_in_part_never_becomes_a_run() {
    let world = World::empty(2);
    assert_eq!(world.insert(0..700), Ok(700));
    let cpus = Cpus { world, magazines: Vec::new() };
    assert_eq!(cpus.estimate_reclaimable(order(10)), Reclaimable::Nothing);
    assert!(matches!(cpus.estimate_reclaimable(Order::BLOCK), Reclaimable::Run(_)), "the first block");
}

#[test]
fn the_estimate_is_unknown_while_frames_are_in_flight() {
    let (cpus, _) = Cpus::all_taken(1, 2);
    cpus.transfer_seq(1, TransferSeq::begin);
    for number in 0..=9 {
        assert_eq!(cpus.estimate_reclaimable(order(number)), Reclaimable::Unknown, "order {number}");
    }
    cpus.transfer_seq(1, TransferSeq::end);
    assert_eq!(cpus.estimate_reclaimable(Order::BLOCK), Reclaimable::Nothing);
}

/// A transfer between two reads of the sequence counts is seen, and the result is unknown.
#[test]
fn the_estimate_is_unknown_while_transfers_are_made() {
    let (cpus, _) = Cpus::all_taken(1, 2);
    // After each scan of all CPUs, a CPU has transferred a frame.
    let restless = cpus.remote().enumerate().inspect(|&(cpu, _)| {
        if cpu == 1 {
            cpus.transfer_seq(1, TransferSeq::begin);
            cpus.transfer_seq(1, TransferSeq::end);
        }
    });
    assert_eq!(
        cpus.world.frames.estimate_reclaimable(Order::BLOCK, restless.map(|(_, remote)| remote)).reclaimable,
        Reclaimable::Unknown
    );
}

#[test]
fn the_estimate_is_unknown_while_cpus_come_online() {
    const LOOKS: usize = 1 + 3 * ATTEMPTS;
    let (cpus, _) = Cpus::all_taken(1, 1 + LOOKS);
    // One more at each look; none of them has moved anything yet.
    let looks = core::cell::Cell::new(0);
    let growing = core::iter::once(()).flat_map(|()| {
        looks.set(looks.get() + 1);
        cpus.remote().skip(1).take(looks.get())
    });
    assert_eq!(
        cpus.world.frames.estimate_reclaimable(Order::BLOCK, growing).reclaimable,
        Reclaimable::Unknown
    );
    assert_eq!(looks.get(), LOOKS);
}

/// Also while their CPUs transfer frames past the cache.
#[test]
fn inactive_caches_have_nothing() {
    let (mut cpus, all) = Cpus::all_taken(1, 2);
    for cpu in 0..2 {
        cpus.drain(cpu);
        cpus.magazines[cpu].get_mut().len.store(Magazine::INACTIVE, Relaxed);
    }
    assert_eq!(cpus.world.frames.free_uncached(all[0], Order::FRAME), Ok(()));
    cpus.transfer_seq(1, TransferSeq::begin);
    for number in 0..=9 {
        assert_eq!(cpus.estimate_reclaimable(order(number)), Reclaimable::Nothing, "order {number}");
    }
    cpus.transfer_seq(1, TransferSeq::end);
    assert_eq!(cpus.remote().flat_map(RemoteMagazine::cached).count(), 0);
    cpus.magazines[1].get_mut().len.store(0, Relaxed);
    cpus.free(1, all[1], Order::FRAME);
    assert_eq!(cpus.estimate_reclaimable(Order::FRAME), Reclaimable::Run(all[1]..all[2]), "one is active");
}

#[test]
fn a_run_anywhere_in_its_block_is_reclaimable() {
    for number in 1..=8 {
        let order = order(number);
        let step = if cfg!(miri) { FRAMES_PER_BLOCK / 2 } else { order.frames() };
        for first in (0..FRAMES_PER_BLOCK).step_by(step) {
            let (mut cpus, all) = Cpus::all_taken(1, 2);
            let run = &all[first..first + order.frames()];
            run[1..].iter().for_each(|frame| cpus.free(0, *frame, Order::FRAME));
            cpus.drain(0);
            cpus.free(1, run[0], Order::FRAME);
            assert_eq!(cpus.estimate_reclaimable(order), Reclaimable::Run(run[0]..run[0] + order.frames()));
        }
    }
}

/// Up to so many runs each is looked at, beyond only whether anything is kept.
#[test]
fn the_estimate_is_unknown_with_too_many_runs() {
    const BLOCKS: usize = MAX_RUNS / (FRAMES_PER_BLOCK / 2);
    for (blocks, kept) in [(BLOCKS, Reclaimable::Nothing), (BLOCKS + 1, Reclaimable::Unknown)] {
        let world = World::at_zero(blocks);
        assert_eq!(world.insert(0..FRAMES_PER_BLOCK), Ok(FRAMES_PER_BLOCK));
        let mut cpus = Cpus { world, magazines: magazines(2) };
        let all = cpus.world.take_everything(cpus.magazines[0].get_mut());
        assert_eq!(
            cpus.estimate_reclaimable(order(1)),
            Reclaimable::Nothing,
            "{blocks} blocks, all is in use"
        );
        cpus.free(1, all[0], Order::FRAME);
        assert_eq!(cpus.estimate_reclaimable(order(1)), kept, "{blocks} blocks");
    }
}

/// A transfer between two reads changes the sequence count; without a transfer it stays.
#[test]
fn transfers_are_counted() {
    let mut cpus = Cpus::new(4, 1);
    let mut last = cpus.remote().next().and_then(RemoteMagazine::transfer_seq);
    let mut has_moved = |cpus: &Cpus| {
        let now = cpus.remote().next().and_then(RemoteMagazine::transfer_seq);
        assert!(now.is_some(), "no move is under way");
        core::mem::replace(&mut last, now) != now
    };
    let frame = cpus.alloc(0, Order::FRAME);
    assert!(has_moved(&cpus), "a refill");
    cpus.free(0, frame, Order::FRAME);
    let frame = cpus.alloc(0, Order::FRAME);
    assert!(!has_moved(&cpus), "a pair in the magazine");
    cpus.free(0, frame, Order::FRAME);
    let many: Vec<_> = (0..200).map(|_| cpus.alloc(0, Order::FRAME)).collect();
    assert!(has_moved(&cpus), "another refill");
    many.iter().for_each(|frame| cpus.free(0, *frame, Order::FRAME));
    assert!(has_moved(&cpus), "a flush");
    let run = cpus.alloc(0, order(8));
    has_moved(&cpus);
    cpus.free(0, run, order(8));
    assert_eq!(cpus.alloc(0, order(8)), run);
    assert!(!has_moved(&cpus), "a run that is kept");
    cpus.free(0, run, order(8));
    cpus.drain(0);
    assert!(has_moved(&cpus), "a drain");
}

#[test]
fn runs_that_share_a_counter_are_overestimated() {
    let (mut cpus, all) = Cpus::all_taken(4, 2);
    // Order 1 has 1024 runs, and 256 counters. Of run 0 a frame is in the table, of run 256 one is kept.
    cpus.free(1, all[0], Order::FRAME);
    cpus.drain(1);
    cpus.free(1, all[512], Order::FRAME);
    let reclaimable = cpus.estimate_reclaimable(order(1));
    assert_eq!(reclaimable, Reclaimable::Run(all[0]..all[0] + 2));
    assert!(cpus.asked(&reclaimable).is_empty(), "so all will be asked");
}
