//! What a workload runs on: a frame allocator, a heap, or the scheduler with one of its policies.

use core::fmt;

use super::allocators::Allocator;
use super::heap::Heap;
use crate::sched::policies::Policy;

/// A frame allocator, a heap or a scheduling policy under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A frame allocator.
    Allocator(&'static Allocator),
    /// A heap.
    Heap(&'static Heap),
    /// The scheduler, with this policy.
    Scheduler(&'static Policy),
}

/// The kind of a subject, as reports name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// Frame allocators.
    Frames,
    /// Heaps.
    Heap,
    /// Scheduling policies.
    Scheduler,
}

impl SubjectKind {
    /// All kinds, in the order in which they are run.
    pub const ALL: [SubjectKind; 3] = [SubjectKind::Frames, SubjectKind::Heap, SubjectKind::Scheduler];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            SubjectKind::Frames => "frames",
            SubjectKind::Heap => "heap",
            SubjectKind::Scheduler => "scheduler",
        }
    }
}

impl Subject {
    /// Its name, on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Allocator(allocator) => allocator.name,
            Subject::Heap(heap) => heap.name,
            Subject::Scheduler(policy) => policy.name,
        }
    }

    /// Its kind.
    pub fn kind(self) -> SubjectKind {
        match self {
            Subject::Allocator(_) => SubjectKind::Frames,
            Subject::Heap(_) => SubjectKind::Heap,
            Subject::Scheduler(_) => SubjectKind::Scheduler,
        }
    }

    /// Whether it is octopod's own, or works on memory of the kernel as that does.
    pub fn is_kernels(self) -> bool {
        match self {
            Subject::Allocator(allocator) => allocator.is_kernels(),
            Subject::Heap(heap) => heap.is_kernels(),
            Subject::Scheduler(_) => true,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
