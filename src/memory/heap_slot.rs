//! What the layer of memory knows of the heap above it: the pointer to this CPU's magazines, and the hook by which they are drained.
//!
//! The pointer is that of [`NO_MAGAZINES`] until the heap is used on this CPU, and while the allocator is disabled on it
//! ([`with_alloc_disabled`](super::with_alloc_disabled)). There the heap's fast path finds neither an object nor room for one.

use core::cell::Cell;
use core::sync::atomic::AtomicU64;

use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::RawAccess;
use crate::per_cpu;
use crate::sync::Hook;
use crate::sync::shared_round::SharedRound;

/// The room that the magazines of a CPU take, at most.
pub(crate) const MAGAZINES_BYTES: usize = 2048;

/// Magazines without an object and without room, as the heap reads them: all words are 0. Nothing writes them.
#[repr(align(128))]
struct NoMagazines {
    _words: [AtomicU64; MAGAZINES_BYTES / size_of::<u64>()],
}

impl NoMagazines {
    const fn new() -> NoMagazines {
        NoMagazines { _words: [const { AtomicU64::new(0) }; MAGAZINES_BYTES / size_of::<u64>()] }
    }
}

static NO_MAGAZINES: NoMagazines = NoMagazines::new();

/// The same, where the heap is in use, but not by its fast path.
static NO_FAST_PATH: NoMagazines = NoMagazines::new();

/// A pointer to the magazines of a CPU.
#[repr(transparent)]
pub(crate) struct HeapCache(Cell<*const NoMagazines>);

// SAFETY: the pointer leads to a static, or to the area of the CPU that has it.
unsafe impl Send for HeapCache {}

per_cpu! {
    /// The magazines of this CPU. Only this CPU accesses it, by single instructions.
    pub(crate) static HEAP_CACHE: HeapCache = HeapCache(Cell::new(&raw const NO_MAGAZINES));
}

/// The address of this CPU's magazines, or of [`NO_MAGAZINES`].
#[inline(always)]
pub(crate) fn heap_cache() -> usize {
    // SAFETY: the variable is one pointer in a cell.
    unsafe { HEAP_CACHE::load_64() as usize }
}

/// The address to set where the heap is in use, and its fast path must find nothing.
pub(crate) fn no_fast_path() -> usize {
    (&raw const NO_FAST_PATH).expose_provenance()
}

/// Whether this CPU's heap is not in use.
pub(crate) fn has_no_heap_cache() -> bool {
    heap_cache() == (&raw const NO_MAGAZINES).addr()
}

/// Sets the address of this CPU's magazines.
///
/// # Safety
/// `address` is that of the heap's magazines for this CPU, or was returned by [`heap_cache`] or [`no_fast_path`].
#[inline(always)]
pub(crate) unsafe fn set_heap_cache(_: &IrqGuard, address: usize) {
    // SAFETY: the variable is one pointer in a cell, and every pointer is valid for the type; the caller guarantees what it leads to.
    unsafe { HEAP_CACHE::store_64(address as u64) };
}

/// Ends the use of this CPU's magazines.
#[inline(always)]
pub(crate) fn clear_heap_cache(guard: &IrqGuard) {
    // SAFETY: the address is that of the magazines that the heap may use on any CPU.
    unsafe { set_heap_cache(guard, (&raw const NO_MAGAZINES).expose_provenance()) };
}

/// What the heap does when memory is needed.
#[derive(Clone, Copy)]
pub(crate) struct HeapHooks {
    /// Returns what this CPU's heap has cached.
    pub(crate) drain_this_cpu: fn(&IrqGuard),
    /// Makes all CPUs return what the heap has cached, unless a round of [`HEAP_RECLAIM`] has ended after so many. Returns whether a
    /// search may find frames that it did not find then. It is called with interrupts enabled, and waits for the other CPUs.
    pub(crate) reclaim: fn(u64) -> bool,
}

static HEAP_HOOK: Hook<HeapHooks> = Hook::new();

/// Sets the hook. Once, before the heap is used; later calls have no effect.
///
/// **Context:** boot, on the BSP.
pub(crate) fn set_heap_hook(hooks: HeapHooks) {
    HEAP_HOOK.set(hooks);
}

/// Returns what this CPU's heap has cached to the frame allocator.
pub(super) fn drain_heap(guard: &IrqGuard) {
    if has_no_heap_cache() {
        return;
    }
    if let Some(hooks) = HEAP_HOOK.get() {
        (hooks.drain_this_cpu)(guard);
    }
}

/// The rounds in which all CPUs return what the heap has cached.
pub(crate) static HEAP_RECLAIM: SharedRound = SharedRound::new();

/// Makes all CPUs return what the heap has cached, unless a round of [`HEAP_RECLAIM`] has ended after the first `ended` ones. Returns whether
/// a search may find frames that it did not find then.
///
/// **Context:** thread, interrupts enabled.
pub(super) fn reclaim_heap(ended: u64) -> bool {
    HEAP_HOOK.get().is_some_and(|hooks| (hooks.reclaim)(ended))
}
