//! Two threads: in parallel, and one after the other.

use std::hint::black_box;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use buddy_system_allocator::LockedFrameAllocator;
use criterion::Criterion;
use octopod::memory::frames::{FrameNumber, ORDERS, Order};
use octopod::memory::host::{Cache, World};

use crate::ratios::{Ratios, Statistic, Turn};

/// Frames of a bulk, as in the kernel's bench: those of a block, and several times what a magazine holds.
const BULK: usize = 512;
/// Bulks in a turn: some tens of microseconds, far more than it takes two threads to start together.
const BULKS: usize = 32;
/// Frames that one thread takes and the other frees in a turn: for the slowest, that must not take too long either.
const REMOTE: usize = 4 * BULK;
/// A turn that takes so long was interrupted.
const TOO_LONG: Duration = Duration::from_millis(3);
/// Turns for which threads are started.
const AT_ONCE: usize = 32;
/// Blocks of memory.
const BLOCKS: usize = 64;

/// When something began and ended.
pub(crate) type Span = (Instant, Instant);

pub(crate) fn timed(work: impl FnOnce()) -> Span {
    let start = Instant::now();
    work();
    (start, Instant::now())
}

/// Turns of two threads, which begin each at the same time. A side does its part and tells when that was.
pub(crate) fn together(
    mut one: impl FnMut() -> Span,
    mut other: impl FnMut() -> Span + Send,
) -> Vec<[Span; 2]> {
    let arrived = AtomicUsize::new(0);
    let run = |side: &mut dyn FnMut() -> Span| {
        let turn = |turn| {
            arrived.fetch_add(1, Ordering::AcqRel);
            while arrived.load(Ordering::Acquire) < 2 * turn {
                // The other thread may be waiting for this processor.
                thread::yield_now();
            }
            side()
        };
        (1..=AT_ONCE).map(turn).collect::<Vec<_>>()
    };
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(|| run(&mut other));
        (run(&mut one), other.join().expect("no thread panics"))
    });
    one.into_iter().zip(other).map(|(one, other)| [one, other]).collect()
}

/// How long either took, if the shorter one ran beside the longer one nearly all of its time, and neither was without a
/// processor meanwhile. Otherwise the turn says nothing about two threads.
pub(crate) fn side_by_side([(start, end), (other_start, other_end)]: [Span; 2]) -> Option<[Duration; 2]> {
    let both = end.min(other_end).saturating_duration_since(start.max(other_start));
    let (one, other) = (end - start, other_end - other_start);
    (both * 10 >= one.min(other) * 8 && one.max(other) < TOO_LONG).then_some([one, other])
}

/// Repeats what gives some turns until there are as many as criterion wants.
pub(crate) fn until_enough(wanted: u64, mut some: impl FnMut() -> Vec<Turn>) -> Vec<Turn> {
    let mut turns = Vec::new();
    while turns.len() < wanted as usize {
        turns.extend(some());
    }
    turns.truncate(wanted as usize);
    turns
}

/// The buffers of a thread for bulk calls.
struct AllocContext<'a> {
    cache: Cache<'a>,
    held: [FrameNumber; BULK],
}

impl<'a> AllocContext<'a> {
    fn new(world: &'a World) -> AllocContext<'a> {
        AllocContext { cache: world.cache(), held: [FrameNumber::new(0); BULK] }
    }

    fn turn(&mut self) -> Span {
        timed(|| {
            for _ in 0..BULKS {
                for slot in &mut self.held {
                    let frame = self.cache.alloc(Order::FRAME);
                    *slot = black_box(frame.expect("there is memory"));
                }
                for &frame in &self.held {
                    self.cache.free(frame, Order::FRAME).expect("its own frame");
                }
            }
        })
    }
}

/// Turns of two threads, of which the slower one counts, and of one alone.
fn two_and_one([one, other]: &mut [AllocContext<'_>; 2]) -> Vec<Turn> {
    let two = together(|| one.turn(), || other.turn());
    let alone = || {
        let (start, end) = one.turn();
        end - start
    };
    let slower = two.into_iter().filter_map(side_by_side).map(|[one, other]| one.max(other));
    slower.zip(std::iter::repeat_with(alone)).map(|(two, one)| [two, one]).collect()
}

/// Bulks of two threads at once, and of one; and for comparison of two threads that share nothing, which is what the
/// machine itself takes for a second thread.
pub(crate) fn bulk(criterion: &mut Criterion, ratios: &mut Ratios) {
    let (world, other_world) = (World::new(BLOCKS), World::new(BLOCKS));
    let mut shared = [AllocContext::new(&world), AllocContext::new(&world)];
    let mut apart = [AllocContext::new(&world), AllocContext::new(&other_world)];
    for (name, contexts) in [("bulk_two_to_one", &mut shared), ("bulk_two_apart_to_one", &mut apart)] {
        ratios.compare(criterion, name, Statistic::Median, ["two threads", "one thread"], |wanted| {
            until_enough(wanted, || two_and_one(contexts))
        });
    }
}

/// Frames are taken here while another thread frees those that were taken before; how long its turns took.
fn freed_by_another(mut alloc: impl FnMut() -> usize, mut free: impl FnMut(usize) + Send) -> Vec<Duration> {
    let mut first = [0; REMOTE];
    first.fill_with(&mut alloc);
    // One of them is filled while the other is emptied: each is locked by one thread in a turn.
    let lists = [Mutex::new([0; REMOTE]), Mutex::new(first)];
    let (mut filled, mut emptied) = (0, 0);
    let turns = together(
        || {
            let mut list = lists[filled % 2].lock().expect("no thread panics");
            filled += 1;
            timed(|| list.fill_with(&mut alloc))
        },
        || {
            emptied += 1;
            // A copy, so that what is measured is not how the numbers come over.
            let list = black_box(*lists[emptied % 2].lock().expect("no thread panics"));
            timed(|| list.into_iter().for_each(&mut free))
        },
    );
    let last = *lists[(AT_ONCE + 1) % 2].lock().expect("no thread panics");
    last.into_iter().for_each(&mut free);
    turns.into_iter().filter_map(side_by_side).map(|[_, freeing]| freeing).collect()
}

/// A frame freed on another thread than its first, and the same with the crate's allocator.
pub(crate) fn remote(criterion: &mut Criterion, ratios: &mut Ratios) {
    for (name, blocks) in [("remote_free_to_locked", BLOCKS), ("remote_free_to_locked_16g", 16 * 512)] {
        let world = World::sparse(blocks);
        let (mut taker, mut giver) = (world.cache(), world.cache());
        let locked = LockedFrameAllocator::<ORDERS>::new();
        locked.lock().add_frame(0, world.frame_count());
        ratios.compare(criterion, name, Statistic::Median, ["octopod", "locked"], |wanted| {
            until_enough(wanted, || {
                let ours = freed_by_another(
                    || taker.alloc(Order::FRAME).expect("there is memory").get(),
                    |frame| {
                        let frame = FrameNumber::new(frame);
                        giver.free(frame, Order::FRAME).expect("a frame in use");
                    },
                );
                let theirs = freed_by_another(
                    || locked.lock().alloc(1).expect("there is memory"),
                    |frame| locked.lock().dealloc(frame, 1),
                );
                ours.into_iter().zip(theirs).map(|(ours, theirs)| [ours, theirs]).collect()
            })
        });
    }
}
