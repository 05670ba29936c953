//! octopod's own heap: in the kernel that of every program, on the host the same code with magazines for each thread.

use super::definition::{Heap, HeapBacking, HeapRun};

/// The heap `octopod`.
pub(in crate::stress) static OCTOPOD: Heap = Heap {
    name: "octopod",
    summary: "The kernel's own: magazines of objects for each CPU, depots for each node, and slabs of frames behind them.",
    backing: HeapBacking::Kernel(with),
};

#[cfg(target_os = "none")]
fn with(_: usize, _: usize, run: HeapRun<'_>) {
    run(&crate::heap::KernelHeap);
}

#[cfg(not(target_os = "none"))]
fn with(bytes: usize, threads: usize, run: HeapRun<'_>) {
    run(&hosted::Hosted::new(bytes, threads));
}

#[cfg(not(target_os = "none"))]
mod hosted {
    extern crate std;

    use core::alloc::Layout;
    use core::ptr::NonNull;
    use std::vec::Vec;

    use crossbeam_utils::CachePadded;

    use crate::heap::Misuse;
    use crate::heap::host::HostHeap;
    use crate::heap::magazines::Magazines;
    use crate::heap::source::{HeapError, HeapSource, HeapStatistics, this_cpu};
    use crate::memory::frames::FRAME_BYTES;

    /// The bytes of a block of the frame allocator.
    const BLOCK: usize = 2 << 20;

    /// The heap, with magazines for each thread.
    pub(super) struct Hosted {
        heap: HostHeap,
        magazines: Vec<CachePadded<Magazines>>,
    }

    // SAFETY: magazines must be used by one thread at a time. A thread uses those of the CPU whose role it has (`this_cpu`), which no
    // other thread has.
    unsafe impl Sync for Hosted {}

    impl Hosted {
        pub(super) fn new(bytes: usize, threads: usize) -> Hosted {
            let magazines = (0..threads).map(|_| CachePadded::new(Magazines::new())).collect();
            Hosted { heap: HostHeap::new(bytes.div_ceil(BLOCK), 1), magazines }
        }

        fn mine(&self) -> &Magazines {
            &self.magazines[this_cpu()]
        }
    }

    // SAFETY: objects must be valid, aligned and disjoint, as the heap guarantees.
    unsafe impl HeapSource for Hosted {
        fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
            self.heap.heap().alloc(self.mine(), layout).ok_or(HeapError::OutOfMemory)
        }

        unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
            // SAFETY: the object must come from this heap with this layout, guaranteed by the caller (see `HeapSource::dealloc`).
            unsafe { self.heap.heap().dealloc(self.mine(), object, layout) }
                .map_err(|_: Misuse| HeapError::NoObject)
        }

        unsafe fn realloc(
            &self,
            object: NonNull<u8>,
            layout: Layout,
            new_size: usize,
        ) -> Result<NonNull<u8>, HeapError> {
            let new =
                Layout::from_size_align(new_size, layout.align()).map_err(|_| HeapError::OutOfMemory)?;
            // SAFETY: the object must come from this heap with this layout, guaranteed by the caller (see `HeapSource::realloc`).
            match unsafe { self.heap.heap().resize(object, layout, new) } {
                Ok(true) => return Ok(object),
                Ok(false) => {}
                Err(_) => return Err(HeapError::NoObject),
            }
            let moved = self.alloc(new)?;
            // SAFETY: both objects must be valid for this many bytes, and disjoint. Both are at least as large, guaranteed by the
            // caller for one and by `alloc` for the other.
            unsafe { moved.copy_from_nonoverlapping(object, layout.size().min(new_size)) };
            // SAFETY: the caller must own the object, guaranteed by the caller (see `HeapSource::realloc`).
            unsafe { self.dealloc(object, layout) }?;
            Ok(moved)
        }

        fn drain(&self) {
            self.heap.drain([self.mine()]);
        }

        fn statistics(&self) -> HeapStatistics {
            let held = (self.heap.frames() * FRAME_BYTES) as u64;
            let heap = self.heap.heap();
            let taken: usize = heap.class_stats().map(|class| class.taken).sum();
            HeapStatistics {
                live_objects: Some((taken + heap.large_stats().objects) as u64),
                held_bytes: Some(held),
            }
        }

        fn validate(&self) -> Result<(), &'static str> {
            self.heap.heap().validate().map_err(|error| error.message())
        }
    }
}
