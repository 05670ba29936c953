//! The heap of the crate `talc`, behind one lock.

use core::alloc::Layout;
use core::ptr::NonNull;

use spin::Mutex;
use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

use crate::heap::source::{HeapError, HeapSource, HeapStatistics};
use crate::memory::source::uninterrupted;
use crate::stress::heap::arena::HeapArena;
use crate::stress::heap::definition::{Heap, HeapBacking};

/// The heap `talc`.
pub(in crate::stress::heap) static TALC: Heap = Heap {
    name: "talc",
    summary: "The heap of the crate `talc`, behind one lock.",
    backing: HeapBacking::Arena(|arena, run| run(&Locked::on(arena))),
};

/// `Talc`, used with interrupts disabled.
struct Locked(Mutex<Talc<Manual, DefaultBinning>>);

// SAFETY: a `Talc` must be used by one CPU at a time, on memory that all CPUs can access. The mutex sees to the first, and the
// direct map to the second.
unsafe impl Sync for Locked {}

impl Locked {
    fn on(arena: &HeapArena<'_>) -> Locked {
        let mut talc = Talc::new(Manual);
        // SAFETY: the memory must be valid, and the heap's alone as long as it is used. The arena is, and it outlives `run`.
        let claimed = unsafe { talc.claim(arena.start().as_ptr(), arena.bytes()) };
        assert!(claimed.is_some(), "an arena of {} bytes is too small for talc", arena.bytes());
        Locked(Mutex::new(talc))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Talc<Manual, DefaultBinning>) -> R) -> R {
        uninterrupted(|| f(&mut self.0.lock()))
    }
}

// SAFETY: objects must be valid, aligned and disjoint. `Talc::allocate` guarantees it.
unsafe impl HeapSource for Locked {
    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        // SAFETY: the size must not be 0, as `HeapSource::alloc` demands of its callers.
        self.with(|talc| unsafe { talc.allocate(layout) }).ok_or(HeapError::OutOfMemory)
    }

    unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        // SAFETY: the object must come from `allocate` with this layout, guaranteed by the caller (see `HeapSource::dealloc`).
        self.with(|talc| unsafe { talc.deallocate(object.as_ptr(), layout) });
        Ok(())
    }

    unsafe fn realloc(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, HeapError> {
        // SAFETY: the object must come from `allocate` with this layout, and the new size not be 0, guaranteed by the caller (see
        // `HeapSource::realloc`).
        if self.with(|talc| unsafe { talc.try_realloc_in_place(object.as_ptr(), layout, new_size) }) {
            return Ok(object);
        }
        let new = Layout::from_size_align(new_size, layout.align()).map_err(|_| HeapError::OutOfMemory)?;
        let moved = self.alloc(new)?;
        // SAFETY: both objects must be valid for this many bytes, and disjoint. Both are at least as large, guaranteed by the
        // caller for one and by `alloc` for the other.
        unsafe { moved.copy_from_nonoverlapping(object, layout.size().min(new_size)) };
        // SAFETY: the caller must own the object, guaranteed by the caller (see `HeapSource::realloc`).
        unsafe { self.dealloc(object, layout) }?;
        Ok(moved)
    }

    fn statistics(&self) -> HeapStatistics {
        self.with(|talc| {
            let counters = talc.counters();
            HeapStatistics {
                live_objects: Some(counters.allocation_count as u64),
                held_bytes: Some((counters.claimed_bytes - counters.available_bytes) as u64),
            }
        })
    }
}
