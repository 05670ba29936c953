//! The allocator or heap under test, and the state of it that is compared.

use core::cmp::Ordering;
use core::ops::Range;
use core::sync::atomic::AtomicU64;

use super::failure::FailureLog;
use super::heap_snapshot::HeapSnapshot;
use super::lent::LentFrames;
use super::lost::Search;
use super::marks::Marks;
use super::snapshot::{AllocatorSnapshot, Discrepancy, LostSearch};
use super::source::{AllocContext, FrameSource};
use super::workloads::HeapTarget;
use crate::heap::source::HeapSource;
use crate::memory::frames::{FrameNumber, FreeError, Order};

/// The allocator, heap or scheduler under test.
#[derive(Clone)]
pub(crate) enum Tested<'a> {
    /// A frame allocator.
    Frames(TestedFrames<'a>),
    /// A heap.
    Heap(TestedHeap<'a>),
    /// The scheduler, which takes its memory from this frame allocator.
    Scheduler(&'a dyn FrameSource),
}

/// A frame allocator under test.
#[derive(Clone, Copy)]
pub(crate) struct TestedFrames<'a> {
    /// The allocator.
    pub source: &'a dyn FrameSource,
    /// The frames that it may allocate.
    pub lent: LentFrames<'a>,
    /// The first frame of a run that it was not lent and that no code uses, at the order of
    /// [`rejects_invalid_frees`](FrameSource::rejects_invalid_frees).
    pub foreign: Option<FrameNumber>,
}

/// A heap under test.
#[derive(Clone)]
pub(crate) struct TestedHeap<'a> {
    /// The heap.
    pub source: &'a dyn HeapSource,
    /// The addresses of its arena.
    pub bounds: Option<Range<usize>>,
    /// The free frames from which it takes its memory, if it does.
    pub free_frames: Option<fn() -> usize>,
}

/// The state of an allocator or heap, or the memory that a scheduler takes.
pub(crate) enum Snapshot {
    Frames(AllocatorSnapshot),
    Heap(HeapSnapshot),
    /// The free frames of the kernel.
    Scheduler(u64),
}

/// The frame allocator of a workload of heaps.
pub(crate) struct NoFrames;

impl FrameSource for NoFrames {
    fn alloc(&self, _: &mut AllocContext, _: Order) -> Option<FrameNumber> {
        None
    }

    unsafe fn free(&self, _: &mut AllocContext, frame: FrameNumber, _: Order) -> Result<(), FreeError> {
        Err(FreeError::DoubleFree { frame })
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        0
    }
}

impl<'a> Tested<'a> {
    /// The frame allocator; for a heap one without frames.
    pub(crate) fn frames(&self) -> TestedFrames<'a> {
        match self {
            Tested::Frames(frames) => *frames,
            Tested::Scheduler(source) => {
                TestedFrames { source: *source, lent: LentFrames::NONE, foreign: None }
            }
            Tested::Heap(_) => TestedFrames { source: &NoFrames, lent: LentFrames::NONE, foreign: None },
        }
    }

    /// The heap, with marks of its own, for a run that uses these slots.
    pub(crate) fn heap<'b>(&self, slots: &'b [AtomicU64], every: bool) -> Option<HeapTarget<'b>>
    where
        'a: 'b,
    {
        match self {
            Tested::Frames(_) | Tested::Scheduler(_) => None,
            Tested::Heap(heap) => {
                Some(HeapTarget { source: heap.source, marks: Marks::new(heap.bounds.clone(), every), slots })
            }
        }
    }

    /// Its state, while no workload runs and everything is drained.
    pub(crate) fn snapshot(&self) -> Snapshot {
        match self {
            Tested::Frames(frames) => Snapshot::Frames(AllocatorSnapshot::of(frames.source)),
            Tested::Heap(heap) => {
                let free_frames = heap.free_frames.map(|free_frames| free_frames() as u64);
                Snapshot::Heap(HeapSnapshot::of(heap.source, free_frames))
            }
            Tested::Scheduler(source) => Snapshot::Scheduler(source.free_frames() as u64),
        }
    }
}

impl Snapshot {
    /// The number of free frames; 0 for a heap.
    pub(crate) fn free(&self) -> u64 {
        match self {
            Snapshot::Frames(snapshot) => snapshot.free(),
            Snapshot::Heap(_) | Snapshot::Scheduler(_) => 0,
        }
    }

    /// What is free in `self` and not in `after`, and the reverse: frames, or bytes of a heap. One of the two is 0.
    pub(crate) fn lost_and_gained(&self, after: &Snapshot) -> (u64, u64) {
        match (self, after) {
            (Snapshot::Frames(before), Snapshot::Frames(after)) => before.lost_and_gained(after),
            (Snapshot::Heap(before), Snapshot::Heap(after)) => before.lost_and_gained(after),
            (Snapshot::Scheduler(before), Snapshot::Scheduler(after)) => {
                (before.saturating_sub(*after), after.saturating_sub(*before))
            }
            _ => (0, 0),
        }
    }

    /// Compares the state after a workload with `self`, the state before. `search` finds lost frames.
    ///
    /// # Errors
    /// The most specific discrepancy.
    pub(crate) fn compare(
        &self,
        after: &Snapshot,
        failures: &FailureLog,
        tested: &Tested<'_>,
        search: Search<'_>,
    ) -> Result<(), Discrepancy> {
        match (self, after, tested) {
            (Snapshot::Frames(before), Snapshot::Frames(after), Tested::Frames(frames)) => {
                before.compare(after, failures, frames.source, search)
            }
            (Snapshot::Heap(before), Snapshot::Heap(after), Tested::Heap(heap)) => {
                before.compare(after, failures, heap.source)
            }
            (Snapshot::Scheduler(before), Snapshot::Scheduler(after), Tested::Scheduler(_)) => {
                match (failures.first(), before.cmp(after)) {
                    (Some(failure), _) => Err(Discrepancy::Failure(failure)),
                    (None, Ordering::Greater) => {
                        Err(Discrepancy::Lost { frames: before - after, which: LostSearch::NotMade })
                    }
                    (None, Ordering::Less) => Err(Discrepancy::Gained { frames: after - before }),
                    (None, Ordering::Equal) => Ok(()),
                }
            }
            _ => unreachable!("both snapshots are of what was tested"),
        }
    }
}
