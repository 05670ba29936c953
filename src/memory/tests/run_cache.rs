//! The run cache of a CPU: runs are allocated again, drained on request, and refused when they are freed twice.

use super::concurrent::{THREADS, rounds, run};
use super::{World, order};
use crate::memory::cache::Magazine;
use crate::memory::frames::{FRAMES_PER_BLOCK, FrameNumber, Frames, FreeError, Order};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::vec::Vec;

/// Every order that a CPU keeps a run of.
fn cached_orders() -> impl Iterator<Item = Order> {
    (1..=Order::BLOCK.get()).map(order)
}

#[test]
fn the_run_freed_last_is_allocated_next() {
    let world = World::new(16);
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    for order in cached_orders() {
        let first = world.frames.alloc(&magazine, order).expect("there is memory");
        let second = world.frames.alloc(&magazine, order).expect("there is memory");
        let cached = magazine.cached_frames();
        assert_eq!(world.frames.free(&magazine, second, order), Ok(()));
        assert_eq!(magazine.cached_frames(), cached + order.frames(), "{order}");
        // One is kept; the next one is everybody's.
        let free = world.frames.free_frames();
        assert_eq!(world.frames.free(&magazine, first, order), Ok(()));
        assert_eq!(magazine.cached_frames(), cached + order.frames(), "{order}");
        assert_eq!(world.frames.free_frames(), free + order.frames(), "{order}");
        assert_eq!(world.frames.validate(), Ok(()));
        assert_eq!(world.frames.alloc(&magazine, order), Some(second));
        assert_eq!(magazine.cached_frames(), cached);
        assert_eq!(world.frames.free(&magazine, second, order), Ok(()));
    }
    let kept: usize = cached_orders().map(Order::frames).sum();
    assert_eq!(magazine.cached_frames(), kept);
    assert_eq!(world.frames.free_frames() + kept, world.frames.total_frames());
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert_eq!(magazine.cached_frames(), 0);
    world.assert_as_before(before);
}

#[test]
fn a_run_is_cached_if_its_block_is_reserved_for_its_order() {
    let world = World::new(16);
    let (magazine, other) = (Magazine::new(), Magazine::new());
    let free = || world.frames.free_frames();
    for order in cached_orders().filter(|order| *order < Order::BLOCK) {
        let [first, second] =
            [(); 2].map(|()| world.frames.alloc(&magazine, order).expect("there is memory"));
        let before = free();
        assert_eq!(world.frames.free(&other, first, order), Ok(()));
        assert_eq!(
            (other.cached_frames(), free()),
            (0, before + order.frames()),
            "another CPU has reserved it"
        );
        assert_eq!(world.frames.free(&magazine, second, order), Ok(()));
        assert_eq!((magazine.cached_frames(), free()), (order.frames(), before + order.frames()));
        assert_eq!(world.frames.alloc(&magazine, order), Some(second));
        assert_eq!(world.frames.drain(&magazine), Ok(()));
        assert_eq!(world.frames.free(&magazine, second, order), Ok(()));
        assert_eq!(magazine.cached_frames(), 0, "no CPU has reserved it");
    }
}

/// Frees a run of every order that is kept to this magazine; how many frames that is.
fn keep_all(world: &World, magazine: &Magazine) -> usize {
    let runs: Vec<_> =
        cached_orders().filter_map(|order| Some((world.frames.alloc(magazine, order)?, order))).collect();
    for (frame, order) in runs {
        assert_eq!(world.frames.free(magazine, frame, order), Ok(()));
    }
    magazine.cached_frames()
}

#[test]
fn a_cpu_without_frames_uses_its_cached_runs() {
    let world = World::new(16);
    let magazine = Magazine::new();
    assert_eq!(keep_all(&world, &magazine), 2 * FRAMES_PER_BLOCK - 2);
    let all = world.take_everything(&magazine);
    assert_eq!(all.len(), world.len, "one by one");
    assert_eq!(world.frames.free_bulk(&magazine, &all), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));

    assert_eq!(keep_all(&world, &magazine), 2 * FRAMES_PER_BLOCK - 2);
    let mut all = std::vec![FrameNumber::new(0); world.len];
    assert_eq!(world.frames.alloc_bulk(&magazine, &mut all), world.len, "in one call");
    assert_eq!(world.frames.free_bulk(&magazine, &all), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));

    assert_eq!(keep_all(&world, &magazine), 2 * FRAMES_PER_BLOCK - 2);
    let blocks = core::iter::from_fn(|| world.frames.alloc(&magazine, Order::BLOCK)).count();
    assert_eq!(blocks, 16, "in blocks");
}

#[test]
fn frames_cached_on_another_cpu_are_free_after_its_drain() {
    let world = World::new(2);
    let (magazine, other) = (Magazine::new(), Magazine::new());
    let kept = keep_all(&world, &other);
    let mut all = world.take_everything(&magazine);
    assert_eq!(all.len() + kept, world.len);
    assert_eq!(world.frames.alloc(&magazine, order(3)), None);
    assert_eq!(world.frames.alloc(&magazine, Order::BLOCK), None);
    assert_eq!(world.frames.drain(&other), Ok(()));
    all.extend(world.take_everything(&magazine));
    assert_eq!(all.len(), world.len);
    // Nothing of it is left behind there.
    assert_eq!(world.frames.alloc(&other, order(3)), None);
    assert_eq!(world.frames.alloc(&other, Order::BLOCK), None);
}

#[test]
fn a_cached_run_freed_again_is_refused() {
    let world = World::new(8);
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    for order in cached_orders() {
        let frame = world.frames.alloc(&magazine, order).expect("there is memory");
        assert_eq!(world.frames.free(&magazine, frame, order), Ok(()));
        assert_eq!(
            world.frames.free(&magazine, frame, order),
            Err(FreeError::DoubleFree { frame }),
            "{order}"
        );
        assert_eq!(magazine.cached_frames(), order.frames());
        // In checked builds parts of it as well, and what it is a part of.
        if Frames::CHECKS_EACH_FREE {
            let last = frame + (order.frames() - 1);
            assert_eq!(
                world.frames.free(&magazine, last, Order::FRAME),
                Err(FreeError::DoubleFree { frame: last })
            );
            let half = super::order(order.get() - 1);
            let second = frame + half.frames();
            assert_eq!(
                world.frames.free(&magazine, second, half),
                Err(FreeError::DoubleFree { frame: second })
            );
            let double = super::order(order.get() + 1);
            let around = FrameNumber::new(frame.get() & !(double.frames() - 1));
            assert_eq!(world.frames.free(&magazine, around, double), Err(FreeError::DoubleFree { frame }));
        }
        assert_eq!(world.frames.drain(&magazine), Ok(()));
        world.assert_as_before(before);
    }
}

#[test]
fn a_block_that_one_cpu_caches_is_refused_on_all() {
    let world = World::new(4);
    let before = world.frames.free_by_order();
    let (magazine, other) = (Magazine::new(), Magazine::new());
    let frame = world.frames.alloc(&magazine, Order::BLOCK).expect("there is memory");
    assert_eq!(world.frames.free(&magazine, frame, Order::BLOCK), Ok(()));
    for number in [1, 3, 6, 8, 9, 10] {
        assert_eq!(
            world.frames.free(&other, frame, order(number)),
            Err(FreeError::DoubleFree { frame }),
            "order {number}"
        );
    }
    assert_eq!(world.frames.return_singles(&[frame]), Err(FreeError::DoubleFree { frame }));
    assert_eq!(other.cached_frames(), 0);
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    assert_eq!(world.frames.free(&other, frame, Order::BLOCK), Err(FreeError::DoubleFree { frame }));
    world.assert_as_before(before);
}

/// As with single frames: two CPUs cache the run, and the second one that drains it gets an error.
#[test]
fn a_run_that_two_cpus_free_is_caught_when_the_first_drains() {
    let world = World::new(4);
    let before = world.frames.free_by_order();
    let (magazine, other) = (Magazine::new(), Magazine::new());
    for order in (1..Order::BLOCK.get()).map(order) {
        let frame = world.frames.alloc(&magazine, order).expect("there is memory");
        assert_eq!(world.frames.free(&magazine, frame, order), Ok(()));
        assert_eq!(world.frames.free(&other, frame, order), Ok(()));
        assert_eq!(world.frames.drain(&magazine), Err(FreeError::DoubleFree { frame }), "{order}");
        assert_eq!(world.frames.drain(&other), Ok(()));
        world.assert_as_before(before);
    }
}

#[test]
fn runs_that_were_not_allocated_are_not_cached() {
    let world = World::empty(4);
    // The first three frames of a block are foreign.
    assert_eq!(world.insert(512 + 3..3 * 512), Ok(1021));
    let before = world.frames.free_by_order();
    let magazine = Magazine::new();
    let run = world.frames.alloc(&magazine, order(1)).expect("there is memory");
    for number in 1..=8 {
        let foreign = world.first + 512;
        let result = world.frames.free(&magazine, foreign, order(number));
        assert_eq!(result, Err(FreeError::NotManaged { frame: foreign }));
        // Larger than the allocation: the rest of the run is free.
        let around = FrameNumber::new(run.get() & !(order(number).frames() - 1));
        if number > 1 {
            assert!(world.frames.free(&magazine, around, order(number)).is_err(), "order {number}");
        }
        assert_eq!(magazine.cached_frames(), 0);
    }
    assert_eq!(world.frames.free(&magazine, run, order(1)), Ok(()));
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(before);
}

/// Two CPUs free the same block at the same moment, by whichever way: one of them is refused, and the counts stay right.
#[test]
fn of_two_cpus_that_free_a_block_at_once_one_is_refused() {
    // Each way once at least.
    let all_rounds = rounds(2000).max(3);
    let world = World::new(4);
    let before = world.frames.free_by_order();
    let start = Barrier::new(2);
    let mut contexts: [(Magazine, usize); 2] = core::array::from_fn(|_| (Magazine::new(), 0));
    for round in 0..all_rounds {
        // Where a magazine has a block already, the next goes by way of the lock.
        for (magazine, _) in &mut contexts[..round % 3] {
            let block = world.frames.alloc(magazine, Order::BLOCK).expect("there is memory");
            assert_eq!(world.frames.free(magazine, block, Order::BLOCK), Ok(()));
        }
        let frame = world.frames.alloc(&Magazine::new(), Order::BLOCK).expect("there is memory");
        std::thread::scope(|scope| {
            for (magazine, freed) in &mut contexts {
                let (world, start) = (&world, &start);
                scope.spawn(move || {
                    start.wait();
                    match world.frames.free(magazine, frame, Order::BLOCK) {
                        Ok(()) => *freed += 1,
                        Err(error) => assert_eq!(error, FreeError::DoubleFree { frame }),
                    }
                });
            }
        });
        for (magazine, _) in &mut contexts {
            assert_eq!(world.frames.drain(magazine), Ok(()));
        }
        world.assert_as_before(before);
    }
    assert_eq!(contexts[0].1 + contexts[1].1, all_rounds);
    assert_eq!(world.frames.double_frees_caught(), all_rounds);
}

/// Blocks that one CPU takes and another frees, whole or by halves that two CPUs free at once.
#[test]
fn blocks() {
    type Parcel = Vec<(FrameNumber, Order)>;
    let post: [Mutex<Parcel>; THREADS] = core::array::from_fn(|_| Mutex::default());
    let collect = |number: usize| core::mem::take(&mut *post[number].lock().expect("no panics"));
    let send = |number: usize, frame, order| {
        post[number % THREADS].lock().expect("no panics").push((frame, order));
    };
    let finished = AtomicUsize::new(0);
    run(12, |cpu| {
        for _ in 0..rounds(20_000) {
            let order = order([8, 9, 9, 9, 10][cpu.random.below(5)]);
            if let Some(frame) = cpu.alloc(order) {
                let half = super::order(order.get() - 1);
                match cpu.random.below(4) {
                    0 => {
                        send(cpu.number + 1, frame, half);
                        send(cpu.number + 2, frame + half.frames(), half);
                    }
                    1 => send(cpu.number + 1, frame, order),
                    _ => cpu.free(frame, order),
                }
            }
            for (frame, order) in collect(cpu.number) {
                cpu.free(frame, order);
            }
        }
        // The last one clears up what was sent to those that had finished.
        if finished.fetch_add(1, Ordering::AcqRel) == THREADS - 1 {
            for (frame, order) in (0..THREADS).flat_map(collect) {
                cpu.free(frame, order);
            }
        }
    });
}
