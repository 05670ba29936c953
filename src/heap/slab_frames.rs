//! The frames of slabs: a new slab gets them, one without allocated objects returns them.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::allocator::Heap;
use super::backing::{Backing, order_of_bytes};
#[cfg(feature = "faults")]
use super::faults::{self, HeapFault};
use super::map::Kind;
use super::mark::FREE_BYTE;
use super::size_class::SizeClass;
use super::slab::{Slab, SlabList};
use crate::memory::frames::FRAME_SHIFT;

impl<B: Backing> Heap<B> {
    /// Makes a slab for the node's depot, which does not have it yet. `None` if there is no memory.
    pub(super) fn make_slab(&self, node: usize, class: SizeClass) -> Option<NonNull<Slab>> {
        let order = order_of_bytes(class.slab_bytes())?;
        let start = self.backing.alloc(order)?;
        let record = {
            let mut chunks = self.chunks.lock();
            let is_covered = self.map.cover(&mut chunks, start.addr().get() + class.slab_bytes());
            let record = if is_covered { chunks.alloc(&self.backing, class.record()) } else { None };
            record.and_then(|record| {
                if self.map.set_entry(&mut chunks, &self.backing, start.addr().get(), record.as_ptr()) {
                    return Some(record);
                }
                // SAFETY: it was allocated above, and nothing uses it.
                unsafe { chunks.free(&self.backing, record) };
                None
            })
        };
        let Some(record) = record else {
            // SAFETY: the frames were allocated above, and nothing uses them.
            unsafe { self.backing.free(start, order.frames()) };
            return None;
        };
        if self.fills_slabs.load(Ordering::Relaxed) {
            // SAFETY: the frames were allocated above, and nothing uses them.
            unsafe { start.write_bytes(FREE_BYTE, class.slab_bytes()) };
        }
        // SAFETY: the record was allocated above with the size for this class, and the slab begins at `start`.
        let slab = unsafe { Slab::create(record, start, class, node) };
        self.map.set_kind(start, class.slab_bytes(), Kind::Slab(class));
        Some(slab)
    }

    /// Frees a slab that no depot has any more, with all of its objects.
    ///
    /// # Safety
    /// The slab is valid and the caller's alone.
    pub(super) unsafe fn release_slab(&self, slab: NonNull<Slab>) {
        // SAFETY: the slab is valid, guaranteed by the caller (see # Safety).
        let start = unsafe { Slab::start(slab) };
        // SAFETY: the slab is valid and the caller's alone, guaranteed by the caller (see # Safety).
        let state = unsafe { Slab::state(slab) };
        let bytes = state.class().slab_bytes();
        self.map.set_kind(start, bytes, Kind::None);
        {
            let mut chunks = self.chunks.lock();
            self.map.clear_entry(&mut chunks, &self.backing, start.addr().get());
            // SAFETY: `make_slab` allocated the record from this pool, and the map no longer names it.
            unsafe { chunks.free(&self.backing, slab.cast()) };
        }
        // SAFETY: all objects of the slab are free, and nothing names the slab any more.
        unsafe { self.backing.free(start, bytes >> FRAME_SHIFT) };
    }

    /// Releases the slabs of a list.
    pub(super) fn release_all(&self, mut slabs: SlabList) {
        while let Some(slab) = slabs.first() {
            // SAFETY: it is in the list, which is this call's alone.
            unsafe { slabs.remove(slab) };
            #[cfg(feature = "faults")]
            if faults::strikes(HeapFault::HeapLeakSlab) {
                continue;
            }
            // SAFETY: the slab was taken out of its depot with all of its objects.
            unsafe { self.release_slab(slab) };
        }
    }
}
