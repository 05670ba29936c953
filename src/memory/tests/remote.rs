//! A magazine's owner and another CPU that reads it, at the same time. Miri runs this test too, and reports a data race if an
//! access of the owner or of the reader is not atomic.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::memory::cache::magazine::{BATCH, CAPACITY};
use crate::memory::cache::{Magazine, Reclaimable, RemoteMagazine};
use crate::memory::frames::{FrameNumber, Order};
use crate::memory::host::World;

/// Ends the reader also where the owner panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Another CPU's magazine, to be read on a thread of its own.
struct Remote(RemoteMagazine);

// SAFETY: it is there to be read from other CPUs; the magazine outlives the thread.
unsafe impl Send for Remote {}

#[test]
fn a_magazine_is_read_while_its_owner_changes_it() {
    let world = World::new(3);
    let magazine = Magazine::new();
    let stop = AtomicBool::new(false);
    // Frames that the reader has seen in the magazine.
    let seen = AtomicUsize::new(0);
    let (first, end) = (world.first, world.first + world.len);
    std::thread::scope(|scope| {
        // SAFETY: the magazine outlives the scope, and is neither moved nor borrowed by `&mut` in it.
        let remote = Remote(unsafe { RemoteMagazine::new(&raw const magazine) });
        let (frames, stop, seen) = (&world.frames, &stop, &seen);
        let reader = scope.spawn(move || {
            let remote = { remote };
            let mut looks = 0;
            while !stop.load(Ordering::Relaxed) || looks == 0 {
                for (frame, order) in remote.0.cached() {
                    // Frame 0 is what a place holds in which no frame has been yet.
                    assert!(frame.get() == 0 || (first <= frame && frame + order.frames() <= end), "{frame}");
                    seen.fetch_add(1, Ordering::Relaxed);
                }
                remote.0.has_any_of(first, end);
                let reclaimable =
                    frames.estimate_reclaimable(Order::BLOCK, [remote.0].into_iter()).reclaimable;
                assert!(matches!(
                    reclaimable,
                    Reclaimable::Nothing | Reclaimable::Run(_) | Reclaimable::Unknown
                ));
                looks += 1;
                std::thread::yield_now();
            }
            looks
        });
        let done = Stop(stop);
        let rounds = if cfg!(miri) { 3 } else { 2_000 };
        for _ in 0..rounds {
            every_way(&world, &magazine);
            std::thread::yield_now();
        }
        // The reader finds frames that stay.
        let frame = world.frames.alloc(&magazine, Order::FRAME).expect("there is memory");
        assert_eq!(world.frames.free(&magazine, frame, Order::FRAME), Ok(()));
        let before = seen.load(Ordering::Relaxed);
        while seen.load(Ordering::Relaxed) < before + 1 {
            std::thread::yield_now();
        }
        drop(done);
        let looks = reader.join().expect("the reader has not panicked");
        assert!(looks > 0);
    });
    assert_eq!(world.frames.drain(&magazine), Ok(()));
    world.assert_as_before(World::new(3).frames.free_by_order());
}

/// Every way in which an owner writes to its magazine: pops and pushes, a refill, a flush, bulk calls of both sizes, runs and
/// blocks that are kept, a second block that is held, a search that drains, a request past the magazine, and a drain.
fn every_way(world: &World, magazine: &Magazine) {
    let frames = &world.frames;
    let single: Vec<_> = (0..3 * CAPACITY / 2).map_while(|_| frames.alloc(magazine, Order::FRAME)).collect();
    let mut bulk = [FrameNumber::new(0); BATCH + 7];
    let taken = frames.alloc_bulk(magazine, &mut bulk);
    assert_eq!(frames.free_bulk(magazine, &bulk[..taken]), Ok(()));
    let few = frames.alloc_bulk(magazine, &mut bulk[..5]);
    assert_eq!(frames.free_bulk(magazine, &bulk[..few]), Ok(()));
    single.into_iter().for_each(|frame| assert_eq!(frames.free(magazine, frame, Order::FRAME), Ok(())));
    for number in (1..=9).chain([3, 9]) {
        let order = Order::new(number).expect("an order");
        if let Some(run) = frames.alloc(magazine, order) {
            assert_eq!(frames.free(magazine, run, order), Ok(()));
        }
    }
    // More than there is.
    assert_eq!(frames.alloc(magazine, Order::new(11).expect("an order")), None);
    assert_eq!(frames.drain(magazine), Ok(()));
    magazine.set_local_node(magazine.local_node());
}
