//! A CPU out of memory scans the cache of another CPU while that CPU transfers frames. A free run is not missed.

use super::super::order;
use super::*;
use crate::memory::cache::{Reclaimable, RemoteMagazine};
use crate::memory::frames::Stolen;
use crate::memory::frames::search_target::{Ownership, SearchTarget, SingleFrames};
use core::cell::{Cell, UnsafeCell};

/// A CPU's magazine that another one looks at.
struct Seen {
    model: Arc<Model>,
    magazine: UnsafeCell<Magazine>,
}

// SAFETY: one thread uses the magazine; another reads it by `RemoteMagazine`, whose fields are `Sync`.
unsafe impl Sync for Seen {}
// SAFETY: the magazine is used by one thread at a time, and read by another by `RemoteMagazine`, whose fields are `Sync`.
unsafe impl Send for Seen {}

impl Seen {
    fn of(cpu: Cpu) -> Arc<Seen> {
        Arc::new(Seen { model: cpu.model, magazine: UnsafeCell::new(cpu.magazine) })
    }

    fn remote(&self) -> RemoteMagazine {
        // SAFETY: it lives as long as `self`. A model's threads take turns, between two operations of the checker's.
        unsafe { RemoteMagazine::new(self.magazine.get()) }
    }

    /// Does something with the magazine on a thread of its own; once only.
    fn on_thread<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Frames, &Magazine) -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        // SAFETY: no other thread writes to it.
        thread::spawn(move || work(self.model.frames(), unsafe { &*self.magazine.get() }))
    }

    fn end(self: Arc<Self>) -> Cpu {
        let seen = Arc::into_inner(self).expect("the thread has ended");
        Cpu { model: seen.model, magazine: seen.magazine.into_inner() }
    }
}

/// All is in use but an aligned run of frames: those of `table` lie in the table, those of `kept` in the magazine of a CPU
/// that does `work`. Meanwhile another looks for the run.
fn assert_seen(
    table: core::ops::Range<usize>,
    kept: core::ops::Range<usize>,
    work: impl Fn(&Frames, &Magazine) + Copy + Send + Sync + 'static,
) {
    check_interleavings(UNBOUNDED, move || {
        let (model, [here, mut there]) = Cpu::all_taken(1);
        let frames =
            |range: core::ops::Range<usize>| range.map(|index| model.frame(0, index)).collect::<Vec<_>>();
        here.flush(&frames(table.clone()));
        for frame in frames(kept.clone()) {
            there.free(frame, Order::FRAME);
        }
        let wanted = order((table.len() + kept.len()).ilog2() as u8);
        let seen = Seen::of(there);
        let thread = seen.clone().on_thread(work);
        let reclaimable =
            model.frames().estimate_reclaimable(wanted, [seen.remote()].into_iter()).reclaimable;
        assert_ne!(reclaimable, Reclaimable::Nothing);
        thread.join().expect("the thread has not panicked");
        model.end([here, Seen::end(seen)]);
    });
}

#[test]
fn a_refill_hides_no_run() {
    assert_seen(2..4, 0..0, |frames, magazine| assert_eq!(frames.fill(magazine, Extent::All), 2));
}

#[test]
fn a_drain_hides_no_run() {
    assert_seen(2..3, 3..4, |frames, magazine| assert_eq!(frames.drain(magazine), Ok(())));
}

#[test]
fn a_drain_and_a_refill_hide_no_run() {
    assert_seen(2..3, 3..4, |frames, magazine| {
        assert_eq!(frames.drain(magazine), Ok(()));
        assert_eq!(frames.fill(magazine, Extent::All), 2);
    });
}

/// A search for a run of two words releases the first word, because a third CPU has meanwhile taken a frame of the second: the first
/// word is not missed.
#[test]
fn a_failed_search_hides_no_run() {
    check_interleavings(Some(3), || {
        let (model, [here, there, beyond]) = Cpu::all_taken(1);
        // One more, so that two CPUs can reserve theirs.
        here.flush(&(0..129).map(|index| model.frame(0, index)).collect::<Vec<_>>());
        let seen = Seen::of(there);
        let searcher = seen.clone().on_thread(|frames, magazine| frames.alloc(magazine, order(7)));
        let taker = beyond.on_thread(|cpu| {
            let (mut frame, word) = ([FrameNumber::new(0)], Cell::new(1));
            let block = cpu.model.world.first.block();
            let want = &mut SingleFrames { out: AtomicFrame::from_mut(&mut frame) };
            assert_eq!(want.try_take(cpu.model.frames(), block, Ownership::Steal, &word), Some(1));
            cpu.model.take(frame[0], Order::FRAME);
        });
        let reclaimable =
            model.frames().estimate_reclaimable(order(6), [seen.remote()].into_iter()).reclaimable;
        let found = searcher.join().expect("the thread has not panicked");
        let (beyond, ()) = join(taker);
        match found {
            Some(run) => model.take(run, order(7)),
            None => assert_ne!(reclaimable, Reclaimable::Nothing),
        }
        model.end([here, beyond, Seen::end(seen)]);
    });
}

/// A block that is free throughout is seen, although the free of the other half of its run makes its word blank meanwhile.
#[test]
fn a_merge_hides_no_free_block() {
    check_interleavings(UNBOUNDED, || {
        let model = Model::new(2);
        let (mut here, beside) = (Cpu::new(&model), Cpu::new(&model));
        let lower = here.alloc(Order::BLOCK).expect("all is free");
        assert_eq!(lower, model.world.first);
        let merger = here.on_thread(move |cpu| {
            cpu.model.give(lower, Order::BLOCK);
            assert_eq!(cpu.model.frames().free_blocks_to_buddy(lower, Order::BLOCK), Ok(()));
        });
        let reclaimable = model.frames().estimate_reclaimable(order(3), [].into_iter()).reclaimable;
        assert_ne!(reclaimable, Reclaimable::Nothing);
        let (here, ()) = join(merger);
        model.end([here, beside]);
    });
}

/// Of a CPU that allocates the block that it caches and another one that reclaims it, one gets it.
#[test]
fn a_cached_block_is_taken_by_its_cpu_or_by_another() {
    check_interleavings(UNBOUNDED, || {
        let model = Model::new(1);
        let (here, mut there) = (Cpu::new(&model), Cpu::new(&model));
        let block = there.alloc(Order::BLOCK).expect("all is free");
        there.free(block, Order::BLOCK);
        let seen = Seen::of(there);
        let owner = seen.clone().on_thread(|frames, magazine| frames.alloc_cached(magazine, Order::BLOCK));
        model.frames().reclaim_blocks(block..block + Order::BLOCK.frames(), [seen.remote()].into_iter());
        let reclaimed = model.frames().alloc_blocks(ANYWHERE, Order::BLOCK);
        let kept = owner.join().expect("the thread has not panicked");
        assert!(kept.is_some() != reclaimed.is_some(), "{kept:?} and {reclaimed:?}");
        model.take(kept.or(reclaimed).expect("one of them is some"), Order::BLOCK);
        model.end([here, Seen::end(seen)]);
    });
}

/// Of a CPU that allocates the block that it caches and two that steal it, one gets it.
#[test]
fn a_cached_block_is_stolen_once() {
    check(Some(3), || {
        let model = Model::new(1);
        let (here, mut there) = (Cpu::new(&model), Cpu::new(&model));
        let block = there.alloc(Order::BLOCK).expect("all is free");
        there.free(block, Order::BLOCK);
        let seen = Seen::of(there);
        let owner = seen.clone().on_thread(|frames, magazine| frames.alloc_cached(magazine, Order::BLOCK));
        let thief = here.on_thread({
            let seen = seen.clone();
            // For single frames: the block is freed.
            move |cpu| cpu.model.frames().steal_blocks(Order::FRAME, [seen.remote()].into_iter())
        });
        let stolen = model.frames().steal_blocks(Order::BLOCK, [seen.remote()].into_iter());
        let (here, freed) = join(thief);
        let kept = owner.join().expect("the thread has not panicked");
        let takers = [stolen != Stolen::Nothing, freed != Stolen::Nothing, kept.is_some()];
        assert_eq!(takers.iter().filter(|has| **has).count(), 1, "{stolen:?}, {freed:?}, {kept:?}");
        if freed == Stolen::Freed {
            assert_eq!(model.frames().alloc_blocks(ANYWHERE, Order::BLOCK), Some(block));
        }
        model.take(block, Order::BLOCK);
        model.end([here, Seen::end(seen)]);
    });
}
