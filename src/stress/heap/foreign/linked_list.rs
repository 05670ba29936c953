//! The heap of the crate `linked_list_allocator`, behind one lock.

use core::alloc::Layout;
use core::ptr::NonNull;

use linked_list_allocator::Heap as List;
use spin::Mutex;

use crate::heap::source::{HeapError, HeapSource, HeapStatistics};
use crate::memory::source::uninterrupted;
use crate::stress::heap::arena::HeapArena;
use crate::stress::heap::definition::{Heap, HeapBacking};

/// The heap `linked_list`.
pub(in crate::stress::heap) static LINKED_LIST: Heap = Heap {
    name: "linked_list",
    summary: "The heap of the crate `linked_list_allocator`: one list of holes, behind one lock.",
    backing: HeapBacking::Arena(|arena, run| run(&Locked::on(arena))),
};

/// The list, used with interrupts disabled.
struct Locked(Mutex<List>);

impl Locked {
    fn on(arena: &HeapArena<'_>) -> Locked {
        let mut list = List::empty();
        // SAFETY: the memory must be valid, and the heap's alone as long as it is used. The arena is, and it outlives `run`.
        unsafe { list.init(arena.start().as_ptr(), arena.bytes()) };
        Locked(Mutex::new(list))
    }
}

// SAFETY: objects must be valid, aligned and disjoint. `allocate_first_fit` guarantees it.
unsafe impl HeapSource for Locked {
    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        uninterrupted(|| self.0.lock().allocate_first_fit(layout)).map_err(|()| HeapError::OutOfMemory)
    }

    unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        // SAFETY: the object must come from the list with this layout, guaranteed by the caller (see `HeapSource::dealloc`).
        uninterrupted(|| unsafe { self.0.lock().deallocate(object, layout) });
        Ok(())
    }

    fn statistics(&self) -> HeapStatistics {
        let held = uninterrupted(|| self.0.lock().used());
        HeapStatistics { live_objects: None, held_bytes: Some(held as u64) }
    }
}
