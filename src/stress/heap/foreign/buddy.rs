//! The heap of the crate `buddy_system_allocator`, behind one lock.

use core::alloc::Layout;
use core::ptr::NonNull;

use buddy_system_allocator::Heap as Buddy;
use spin::Mutex;

use crate::heap::source::{HeapError, HeapSource, HeapStatistics};
use crate::memory::source::uninterrupted;
use crate::stress::heap::arena::HeapArena;
use crate::stress::heap::definition::{Heap, HeapBacking};

/// The orders of the heap: its largest block has 2^31 bytes.
const ORDERS: usize = 32;

/// The heap `buddy`.
pub(in crate::stress::heap) static BUDDY: Heap = Heap {
    name: "buddy",
    summary: "The heap of the crate `buddy_system_allocator`: blocks of powers of two, behind one lock.",
    backing: HeapBacking::Arena(|arena, run| run(&Locked::on(arena))),
};

/// The heap, used with interrupts disabled.
struct Locked(Mutex<Buddy<ORDERS>>);

impl Locked {
    fn on(arena: &HeapArena<'_>) -> Locked {
        let mut buddy = Buddy::new();
        // SAFETY: the memory must be valid, and the heap's alone as long as it is used. The arena is, and it outlives `run`.
        unsafe { buddy.init(arena.start().as_ptr().expose_provenance(), arena.bytes()) };
        Locked(Mutex::new(buddy))
    }
}

// SAFETY: objects must be valid, aligned and disjoint. `Heap::alloc` guarantees it.
unsafe impl HeapSource for Locked {
    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        uninterrupted(|| self.0.lock().alloc(layout)).map_err(|()| HeapError::OutOfMemory)
    }

    unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        // SAFETY: the object must come from the heap with this layout, guaranteed by the caller (see `HeapSource::dealloc`).
        uninterrupted(|| unsafe { self.0.lock().dealloc(object, layout) });
        Ok(())
    }

    fn statistics(&self) -> HeapStatistics {
        let held = uninterrupted(|| self.0.lock().stats_alloc_actual());
        HeapStatistics { live_objects: None, held_bytes: Some(held as u64) }
    }
}
