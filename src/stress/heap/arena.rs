//! The memory of a heap under test.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;

use crate::cpu::PAGE_BYTES;

/// The memory of a heap under test: contiguous, aligned to a page, and the heap's alone for its run.
pub struct HeapArena<'a> {
    start: NonNull<u8>,
    bytes: usize,
    cpus: usize,
    declined: Cell<Option<&'static str>>,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> HeapArena<'a> {
    /// An arena at this address, for that many CPUs.
    ///
    /// # Panics
    /// If the address is not aligned to a page.
    ///
    /// # Safety
    /// The memory is valid for reads and writes, and used for nothing else during `'a`.
    pub unsafe fn new(start: NonNull<u8>, bytes: usize, cpus: usize) -> HeapArena<'a> {
        assert!(start.addr().get().is_multiple_of(PAGE_BYTES), "an arena begins with a page");
        HeapArena { start, bytes, cpus, declined: Cell::new(None), memory: PhantomData }
    }

    /// Its first byte. Valid for reads and writes of [`bytes`](Self::bytes), as the last user of the memory left it.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Its size in bytes, a multiple of the page size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of CPUs that may use the heap: [`this_cpu`](crate::heap::source::this_cpu) is less.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// Notes why the heap cannot run on this machine. The function that makes the heap then returns without passing it on, and the
    /// stress skips the heap.
    pub fn decline(&self, reason: &'static str) {
        self.declined.set(Some(reason));
    }

    /// Why the heap has not run.
    pub(in crate::stress) fn declined(&self) -> Option<&'static str> {
        self.declined.get()
    }

    /// Its addresses.
    pub(in crate::stress) fn addresses(&self) -> Range<usize> {
        let start = self.start.addr().get();
        start..start + self.bytes
    }
}

/// The largest arena, in bytes. The heaps of other crates search linearly, and a workload that allocates all memory frees it object by
/// object.
pub(in crate::stress) const MOST_BYTES: usize = 32 << 20;
