//! Threads in the role of CPUs. Each frame has an owner's mark, which is swapped at each change of owner: a frame that is allocated
//! twice has a mark already, and a frame that is freed by another thread than its owner has none.

use super::{World, order};
use crate::memory::cache::Magazine;
use crate::memory::frames::atomic_frame::AtomicFrame;
use crate::memory::frames::bitmap::Bitmap;
use crate::memory::frames::search::Extent;
use crate::memory::frames::{FrameNumber, Order};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::vec::Vec;

pub(super) const THREADS: usize = 4;

/// The owner of each frame.
pub(super) struct Owners {
    marks: Vec<AtomicU8>,
    pub(super) doubled: AtomicUsize,
}

impl Owners {
    pub(super) fn new(world: &World) -> Self {
        Self { marks: (0..world.len).map(|_| AtomicU8::new(0)).collect(), doubled: AtomicUsize::new(0) }
    }

    pub(super) fn take(&self, world: &World, frame: FrameNumber, order: Order) {
        let index = world.index(frame);
        for mark in &self.marks[index..index + order.frames()] {
            if mark.swap(1, Ordering::Relaxed) != 0 {
                self.doubled.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn give(&self, world: &World, frame: FrameNumber, order: Order) {
        let index = world.index(frame);
        for mark in &self.marks[index..index + order.frames()] {
            if mark.swap(0, Ordering::Relaxed) != 1 {
                self.doubled.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A random number generator that is good enough, and the same each time for one seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// One thread's view.
pub(super) struct Cpu<'a> {
    world: &'a World,
    owners: &'a Owners,
    pub(super) number: usize,
    magazine: Magazine,
    pub(super) random: Random,
}

impl Cpu<'_> {
    pub(super) fn alloc(&mut self, order: Order) -> Option<FrameNumber> {
        let frame = self.world.frames.alloc(&self.magazine, order)?;
        assert!(frame.is_aligned_to(order));
        self.owners.take(self.world, frame, order);
        Some(frame)
    }

    pub(super) fn free(&mut self, frame: FrameNumber, order: Order) {
        self.owners.give(self.world, frame, order);
        assert_eq!(self.world.frames.free(&self.magazine, frame, order), Ok(()));
    }
}

/// Runs a workload on every thread, drains, and checks that all is as before; then that one thread gets everything.
pub(super) fn run(blocks: usize, workload: impl Fn(&mut Cpu) + Sync) {
    let world = World::empty(blocks);
    // An edge at either end.
    assert_eq!(world.insert(3..world.len - 5), Ok(world.len - 8));
    let before = world.frames.free_by_order();
    let owners = Owners::new(&world);
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let (world, owners, start, workload) = (&world, &owners, &start, &workload);
            scope.spawn(move || {
                let random = Random(0x5851_f42d_4c95_7f2d ^ (number as u64 + 1));
                let mut cpu = Cpu { world, owners, number, magazine: Magazine::new(), random };
                start.wait();
                workload(&mut cpu);
                assert_eq!(world.frames.drain(&cpu.magazine), Ok(()));
            });
        }
    });
    assert_eq!(owners.doubled.load(Ordering::Relaxed), 0, "frames with two owners");
    world.assert_as_before(before);
    assert_eq!(world.frames.double_frees_caught(), 0);
    let magazine = Magazine::new();
    let all = world.take_everything(&magazine);
    assert_eq!(all.len(), world.len - 8, "one CPU gets every frame that no CPU holds");
}

/// More in the long tier, fewer in Miri.
pub(super) fn rounds(default: usize) -> usize {
    if cfg!(miri) {
        return default.div_ceil(2_000);
    }
    std::env::var("FRAMES_ROUNDS")
        .ok()
        .and_then(|times| times.parse().ok())
        .map_or(default, |times: usize| default * times)
}

#[test]
fn pairs() {
    run(8, |cpu| {
        let mut held = Vec::new();
        for _ in 0..rounds(100_000) {
            if held.len() < 300 && cpu.random.below(2) == 0 {
                held.extend(cpu.alloc(Order::FRAME));
            } else if let Some(frame) = held.pop() {
                cpu.free(frame, Order::FRAME);
            }
        }
        for frame in held {
            cpu.free(frame, Order::FRAME);
        }
    });
}

#[test]
fn bulk() {
    run(8, |cpu| {
        let mut frames = [FrameNumber::new(0); 700];
        for _ in 0..rounds(600) {
            let want = 1 + cpu.random.below(frames.len());
            let got = cpu.world.frames.alloc_bulk(&cpu.magazine, &mut frames[..want]);
            for &frame in &frames[..got] {
                cpu.owners.take(cpu.world, frame, Order::FRAME);
            }
            if cpu.random.below(2) == 0 {
                frames[..got].sort_unstable();
            }
            for &frame in &frames[..got] {
                cpu.owners.give(cpu.world, frame, Order::FRAME);
            }
            assert_eq!(cpu.world.frames.free_bulk(&cpu.magazine, &frames[..got]), Ok(()));
        }
    });
}

#[test]
fn remote() {
    type Parcel = Vec<(FrameNumber, Order)>;
    let post: [Mutex<Parcel>; THREADS] = core::array::from_fn(|_| Mutex::default());
    let collect = |number: usize| core::mem::take(&mut *post[number].lock().expect("no panics"));
    let finished = AtomicUsize::new(0);
    run(8, |cpu| {
        for _ in 0..rounds(600) {
            let mine: Parcel = (0..cpu.random.below(100))
                .filter_map(|_| {
                    let order = order([0, 0, 0, 1, 3][cpu.random.below(5)]);
                    Some((cpu.alloc(order)?, order))
                })
                .collect();
            post[(cpu.number + 1) % THREADS].lock().expect("no panics").extend(mine);
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

/// Long runs in little memory, so that two threads are often after the same one, or a frame of it is taken in between.
#[test]
fn runs() {
    run(3, |cpu| {
        for _ in 0..rounds(4_000) {
            let runs: [_; 3] = core::array::from_fn(|_| {
                let order = order([0, 5, 6, 7, 7, 8, 8][cpu.random.below(7)]);
                (cpu.alloc(order), order)
            });
            for (frame, order) in runs {
                if let Some(frame) = frame {
                    cpu.free(frame, order);
                }
            }
            assert_eq!(cpu.world.frames.drain(&cpu.magazine), Ok(()));
        }
    });
}

/// A run that spans words, while a bit in one of them comes and goes: it is taken whole or not at all.
#[test]
fn a_run_over_words_is_released_if_it_is_not_whole() {
    let bitmap = Bitmap::new();
    bitmap.reset_to_free_from(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut one = [FrameNumber::new(0)];
                bitmap.collect(3, FrameNumber::new(0), AtomicFrame::from_mut(&mut one));
                bitmap.set(one[0].get() / 64, 1 << (one[0].get() % 64));
            }
        });
        // Until it has often been seen to fail: the other thread may take its time to start.
        let mut failed = 0;
        while failed < rounds(5_000) {
            match bitmap.take_run(0, order(8)) {
                Some(index) => {
                    failed += usize::from(index != 0);
                    for word in index / 64..index / 64 + 4 {
                        assert_eq!(bitmap.set(word, u64::MAX), 0);
                    }
                }
                None => failed += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(bitmap.load(), [u64::MAX; 8]);
}

/// All orders, near the end of memory, with drains in between.
#[test]
fn storm() {
    run(6, |cpu| {
        let mut held: Vec<(FrameNumber, Order)> = Vec::new();
        for _ in 0..rounds(15_000) {
            match cpu.random.below(100) {
                0 => assert_eq!(cpu.world.frames.drain(&cpu.magazine), Ok(())),
                1..55 => {
                    let order = order([0, 0, 0, 0, 1, 2, 3, 5, 6, 7, 8, 9][cpu.random.below(12)]);
                    match cpu.alloc(order) {
                        Some(frame) => held.push((frame, order)),
                        None => {
                            for (frame, order) in held.split_off(held.len() / 2) {
                                cpu.free(frame, order);
                            }
                        }
                    }
                }
                _ if !held.is_empty() => {
                    let which = cpu.random.below(held.len());
                    let (frame, whole) = held.swap_remove(which);
                    let half = whole.get().checked_sub(1).map(order);
                    match half.filter(|_| cpu.random.below(8) == 0) {
                        Some(half) => {
                            held.push((frame + half.frames(), half));
                            cpu.free(frame, half);
                        }
                        None => cpu.free(frame, whole),
                    }
                }
                _ => {}
            }
        }
        for (frame, order) in held {
            cpu.free(frame, order);
        }
    });
}

/// A block that moves between the buddy and the table all the time is never missed in flight.
#[test]
fn a_block_in_transit_is_not_out_of_memory() {
    let world = World::new(1);
    let before = world.frames.free_by_order();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let magazine = Magazine::new();
                for _ in 0..rounds(4_000) {
                    // All magazines together hold half of the frames.
                    let frame = world.frames.alloc(&magazine, Order::FRAME).expect("half is free");
                    assert_eq!(world.frames.free(&magazine, frame, Order::FRAME), Ok(()));
                    assert_eq!(world.frames.drain(&magazine), Ok(()));
                }
            });
        }
    });
    world.assert_as_before(before);
}

/// Frames that a search for a run has reserved and released are not missed by a search for any frame.
#[test]
fn frames_reserved_and_released_are_not_out_of_memory() {
    let world = World::new(1);
    let (holder, magazine) = (Magazine::new(), Magazine::new());
    // The holder keeps the block; two frames of it are free that are no run.
    let mut all = world.take_everything(&holder);
    all.sort_unstable();
    assert_eq!(world.frames.return_singles(&[all[1], all[130]]), Ok(()));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (world, stop) = (&world, &stop);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(world.frames.find_many(&holder.hint, order(1), Extent::All), None);
            }
        });
        for _ in 0..rounds(20_000) {
            let mut one = [FrameNumber::new(0)];
            let got = world.frames.take_singles(&magazine.hint, AtomicFrame::from_mut(&mut one), Extent::All);
            if got == 0 {
                stop.store(true, Ordering::Relaxed);
                panic!("two frames were free, and none was found");
            }
            assert_eq!(world.frames.return_singles(&one), Ok(()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(world.frames.validate(), Ok(()));
}

/// Parts of one large allocation, freed by all at once.
#[test]
#[cfg_attr(miri, ignore = "32,768 frames are too many for an interpreter")]
fn a_huge_block_is_freed_in_parts_by_all_cpus() {
    let world = World::new(64);
    let before = world.frames.free_by_order();
    for round in 0..rounds(20) {
        let start = world.frames.alloc(&Magazine::new(), order(15)).expect("all is free");
        std::thread::scope(|scope| {
            for number in 0..THREADS {
                let world = &world;
                scope.spawn(move || {
                    let magazine = Magazine::new();
                    // Neighbouring pieces go to different threads.
                    let part = order([0, 3, 6, 8, 9][round % 5]);
                    for piece in (number..(1 << 15) / part.frames()).step_by(THREADS) {
                        let frame = start + piece * part.frames();
                        assert_eq!(world.frames.free(&magazine, frame, part), Ok(()));
                    }
                    assert_eq!(world.frames.drain(&magazine), Ok(()));
                });
            }
        });
        world.assert_as_before(before);
    }
}
