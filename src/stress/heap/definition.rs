//! A heap that the stress can test, and where its memory comes from.

use core::fmt;

use super::arena::HeapArena;
use crate::heap::source::HeapSource;

/// A heap that the stress can test.
pub struct Heap {
    /// Its name, on the command line and in reports.
    pub name: &'static str,
    /// Its description, in one sentence.
    pub summary: &'static str,
    /// Where its memory comes from.
    pub backing: HeapBacking,
}

/// The function that uses a heap.
pub type HeapRun<'a> = &'a mut dyn FnMut(&dyn HeapSource);

/// The origin of a heap's memory.
#[derive(Clone, Copy)]
pub enum HeapBacking {
    /// It is octopod's own heap, on the frames of the kernel; on the host on that many bytes of memory, for that many threads. The
    /// function passes it to the other one, once.
    Kernel(fn(usize, usize, HeapRun<'_>)),
    /// It works on an arena, which the kernel lends it for its run. The function makes the heap on this memory, and passes it to
    /// the other function, once. The heap ends when the function returns.
    Arena(fn(&HeapArena<'_>, HeapRun<'_>)),
}

impl Heap {
    /// Whether it is octopod's own heap.
    pub fn is_kernels(&self) -> bool {
        matches!(self.backing, HeapBacking::Kernel(_))
    }
}

impl PartialEq for Heap {
    fn eq(&self, other: &Heap) -> bool {
        self.name == other.name
    }
}

impl Eq for Heap {}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}
