//! Fault injection: bugs of the heap that the tests arm, to show that the checks find them. One can be armed at a time, for all heaps:
//! see [`arm`].

use core::alloc::Layout;
use core::ptr::NonNull;

use super::fault_names::heap_faults;
use super::misuse::Misuse;
use crate::boot::command_line::Armed;
use crate::named;

/// A fault happens once in so many chances: several times in each round of a stress run, so that one round on a slow host is enough.
const EVERY: usize = 8;

heap_faults! { named! {
    /// A fault of the heap.
    #[expect(clippy::enum_variant_names, reason = "the names are those of `Fault`")]
    pub(crate) enum HeapFault {}
} }

static ARMED: Armed<HeapFault> = Armed::new();

/// Arms a fault, or none.
pub(crate) fn arm(fault: Option<HeapFault>) {
    ARMED.arm(fault);
}

/// Whether this fault is armed.
pub(super) fn is_armed(fault: HeapFault) -> bool {
    ARMED.is(fault)
}

/// Whether this fault happens now.
pub(super) fn strikes(fault: HeapFault) -> bool {
    ARMED.strikes(fault, EVERY)
}

/// [`strikes`] for a fault that is to happen once. What it has broken lets the heap's own checks panic, before or after the stress has
/// found it; of one object that is unlikely.
pub(super) fn strikes_once(fault: HeapFault) -> bool {
    ARMED.strikes_once(fault, EVERY)
}

/// The object that is returned instead of this one.
pub(super) fn returned(object: NonNull<u8>, layout: Layout) -> NonNull<u8> {
    if layout.align() > 8 && strikes(HeapFault::HeapMisalign) { object.map_addr(|at| at | 8) } else { object }
}

/// The object that is taken from a slab instead of this one, the next after `before`, both of so many bytes.
pub(super) fn taken(object: NonNull<u8>, before: Option<NonNull<u8>>, bytes: usize) -> NonNull<u8> {
    // It begins in the object before it, which the same CPU has: the one that is allocated later finds the other's marks.
    match before {
        Some(before) if bytes.is_multiple_of(16) && strikes(HeapFault::HeapOverlap) => {
            before.map_addr(|at| at.saturating_add(bytes / 2))
        }
        _ => object,
    }
}

/// Before these objects return to their slabs: those that do.
pub(super) fn returning<T>(objects: &[T]) -> &[T] {
    match objects {
        [_, rest @ ..] if strikes(HeapFault::HeapLoseObject) => rest,
        _ => objects,
    }
}

/// Whether objects may begin in others: their frees have no effect then.
pub(super) fn have_overlaps() -> bool {
    is_armed(HeapFault::HeapOverlap)
}

/// Whether this misuse is accepted.
pub(super) fn accepts(misuse: &Misuse) -> bool {
    is_armed(match misuse {
        Misuse::DoubleFree { .. } => HeapFault::HeapAcceptDoubleFree,
        Misuse::Foreign { .. } => HeapFault::HeapAcceptForeign,
        Misuse::Interior { .. } => HeapFault::HeapAcceptInterior,
        Misuse::WrongLayout { .. } => HeapFault::HeapAcceptWrongLayout,
        _ => return false,
    })
}
