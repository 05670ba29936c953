//! The heap under test, and the tables of the objects that its workloads hold.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::heap::source::HeapSource;
use crate::stress::heap::object::Object;
use crate::stress::marks::Marks;

/// The heap under test, and what its workloads need beside that of all workloads.
#[doc(hidden)]
pub struct HeapTarget<'a> {
    /// The heap.
    pub source: &'a dyn HeapSource,
    /// The marks of its objects.
    pub marks: Marks,
    /// [`SLOTS`] words for each CPU, by rank; all 0.
    pub slots: &'a [AtomicU64],
}

/// The objects that a CPU can hold in its table: those of the thread, and then those of its interrupt handler.
pub(in crate::stress) const SLOTS: usize = THREAD_SLOTS + HANDLER_SLOTS;
/// Those of the thread.
pub(in crate::stress) const THREAD_SLOTS: usize = 640;
/// Those of the handler.
pub(in crate::stress) const HANDLER_SLOTS: usize = 256;

/// Some slots of a table, each with an object or 0.
#[derive(Clone, Copy)]
pub(in crate::stress) struct Slots<'a>(&'a [AtomicU64]);

impl<'a> Slots<'a> {
    /// Those of the thread of the CPU with that rank.
    pub(in crate::stress) fn of_thread(slots: &'a [AtomicU64], rank: usize) -> Slots<'a> {
        Slots(&slots[rank * SLOTS..][..THREAD_SLOTS])
    }

    /// Those of its handler.
    pub(in crate::stress) fn of_handler(slots: &'a [AtomicU64], rank: usize) -> Slots<'a> {
        Slots(&slots[rank * SLOTS + THREAD_SLOTS..][..HANDLER_SLOTS])
    }

    /// Stores an object in a slot, and returns the one that was there.
    pub(in crate::stress) fn replace(self, index: usize, object: Option<Object>) -> Option<Object> {
        let slot = &self.0[index];
        let before = slot.load(Ordering::Relaxed);
        slot.store(object.map_or(0, Object::pack), Ordering::Relaxed);
        Object::unpack(before)
    }

    /// The number of slots.
    pub(in crate::stress) fn len(self) -> usize {
        self.0.len()
    }

    /// The first of them.
    pub(in crate::stress) fn first(self, count: usize) -> Slots<'a> {
        Slots(&self.0[..count])
    }
}
