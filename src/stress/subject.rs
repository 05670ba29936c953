//! What a workload runs on: a frame allocator or a heap.

use core::fmt;

use super::allocators::Allocator;
use super::heap::Heap;

/// A frame allocator or a heap under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A frame allocator.
    Allocator(&'static Allocator),
    /// A heap.
    Heap(&'static Heap),
}

impl Subject {
    /// Its name, on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Subject::Allocator(allocator) => allocator.name,
            Subject::Heap(heap) => heap.name,
        }
    }

    /// Its kind in reports.
    pub fn kind(self) -> &'static str {
        match self {
            Subject::Allocator(_) => "frames",
            Subject::Heap(_) => "heap",
        }
    }

    /// Whether it is octopod's own.
    pub fn is_kernels(self) -> bool {
        match self {
            Subject::Allocator(allocator) => allocator.is_kernels(),
            Subject::Heap(heap) => heap.is_kernels(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
