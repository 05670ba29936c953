//! The kernel's heap: this CPU's magazines, and [`KernelHeap`], the `GlobalAlloc` of programs.
//!
//! The pointer to this CPU's magazines is in the layer of memory ([`memory::heap_cache`]). Where the allocator is disabled, it leads to magazines
//! without an object and without room; so the fast path fails there, as it does with real ones that are empty or full, and has no check of its own.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicU64, Ordering};

use super::allocator::{Heap, METADATA_ALIGN};
use super::arena;
use super::backing::{Backing, order_of_bytes};
use super::checked::{Found, Shape};
use super::instance::{HEAP, HELD, KernelFrames};
use super::kernel_checked as checked;
use super::magazines::Magazines;
use super::mark::mark_allocated;
use super::misuse::Misuse;
use super::parameters::HeapChecks;
use super::purge::{CACHES, Purge};
use super::size_class::SizeClass;
use super::source::{HeapError, HeapSource, HeapStatistics};
#[cfg(feature = "selftest")]
use super::stats::Inconsistent;
use crate::boot::direct_map;
use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::registers::read_tsc;
use crate::cpu::{CpuSet, IrqGuard, current};
use crate::interrupts::PreemptGuard;
use crate::memory::frames::FRAME_BYTES;
use crate::memory::{self, FrameRange, HEAP_RECLAIM, HeapHooks, MAGAZINES_BYTES};
use crate::sync::Timeout;
use crate::sync::shared_round::Turn;
use crate::{per_cpu, smp, static_key};

per_cpu! {
    static MAGAZINES: Magazines = Magazines::new();
    /// Whether this CPU may have cached objects.
    static NONEMPTY: AtomicU64 = AtomicU64::new(0);
}

const _: () = assert!(size_of::<Magazines>() <= MAGAZINES_BYTES && align_of::<Magazines>() <= 128);

/// Sets the heap up. Without memory for its tables it stays empty, and every allocation fails.
///
/// **Context:** boot, on the BSP, after the zones were set; no other CPU runs.
pub(crate) fn init(nodes: usize, checks: HeapChecks) {
    let bytes = Heap::<KernelFrames>::metadata_bytes(nodes, KernelFrames.end());
    let Some(memory) = tables(bytes) else {
        log::warn!("no memory for {} KiB of tables: disabled", bytes >> 10);
        return;
    };
    const { assert!(METADATA_ALIGN <= FRAME_BYTES) };
    // A free object begins with this word, which no program has by chance.
    let secret = (read_tsc() ^ direct_map::base()).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    // SAFETY: the memory was allocated for this call with the size that the heap wants, page-aligned; it is never freed. The boot calls this
    // once, while no other CPU runs.
    unsafe { HEAP.init(memory, nodes, secret) };
    memory::set_heap_hook(HeapHooks { drain_this_cpu, reclaim: reclaim_since });
    if checks == HeapChecks::On {
        checked::init();
    }
}

/// Frames for the tables, which are never freed.
fn tables(bytes: usize) -> Option<NonNull<u8>> {
    let (tables, rest) =
        FrameRange::alloc_nowait(order_of_bytes(bytes)?)?.split_at(bytes.div_ceil(FRAME_BYTES));
    drop(rest);
    let memory = NonNull::new(tables.as_ptr());
    tables.into_raw();
    memory
}

/// This CPU's magazines, or ones that have nothing and no room.
#[inline(always)]
fn magazines(_: &IrqGuard) -> &Magazines {
    let magazines = core::ptr::with_exposed_provenance::<Magazines>(memory::heap_cache());
    // SAFETY: the pointer leads to this CPU's magazines, which `activate` set and which are never freed, or to zeros of their size, which are valid
    // magazines. The guard excludes this CPU's other code, and no other CPU borrows them but by shared references to atomics.
    unsafe { &*magazines }
}

/// This CPU's magazines, if they are in use.
pub(super) fn active_magazines(guard: &IrqGuard) -> Option<&Magazines> {
    (!memory::is_alloc_disabled() && !memory::has_no_heap_cache()).then(|| own_magazines(guard))
}

/// This CPU's magazines, where the allocator is not disabled.
fn own_magazines(_: &IrqGuard) -> &Magazines {
    // SAFETY: these are this CPU's magazines, which are never freed. The guard excludes this CPU's other code, and no other CPU borrows them.
    unsafe { &*MAGAZINES.as_ptr() }
}

/// Makes this CPU's magazines active; `None` if the allocator is disabled on this CPU.
#[cold]
pub(super) fn activate(guard: &IrqGuard) -> Option<&Magazines> {
    if memory::is_alloc_disabled() {
        return None;
    }
    if memory::has_no_heap_cache() {
        NONEMPTY.set(1);
        MAGAZINES.with(guard, |magazines| magazines.set_node(memory::local_node(guard)));
        let address = match checked::is_on() {
            true => memory::no_fast_path(),
            false => MAGAZINES.as_ptr().expose_provenance(),
        };
        // SAFETY: these are this CPU's magazines, or ones without objects and room.
        unsafe { memory::set_heap_cache(guard, address) };
    }
    HEAP_RECLAIM.set_due();
    Some(own_magazines(guard))
}

/// How often all caches are drained while the drop of an object fills another one.
const DRAIN_PASSES: usize = 64;

/// Runs passes over all caches until one has dropped nothing. A program whose objects' drops allocate objects without end leaves some.
fn drain_caches(mut drain: impl FnMut(&dyn Purge) -> bool) {
    let mut pass = || CACHES.iter().fold(false, |had_any, cache| drain(*cache) | had_any);
    let _ = (0..DRAIN_PASSES).find(|_| !pass());
}

/// Returns what this CPU has cached to the depots' slabs.
///
/// **Context:** thread or interrupt, interrupts off. It drops objects of the program's caches.
fn drain_this_cpu(guard: &IrqGuard) {
    let Some(magazines) = active_magazines(guard) else { return };
    drain_caches(|cache| cache.drain_this_cpu(guard));
    let drained = HEAP.drain(magazines);
    memory::clear_heap_cache(guard);
    NONEMPTY.set(0);
    if let Err(misuse) = drained {
        refuse(misuse);
    }
}

/// Returns what all CPUs and depots have cached to the frame allocator.
///
/// **Context:** thread, interrupts on, no lock held. It waits for the other CPUs.
pub(crate) fn reclaim() {
    let _ = reclaim_since(HEAP_RECLAIM.ended());
}

/// [`reclaim`], if no round has ended after the first `ended` ones. Returns whether a search that has found no frame since then may find one:
/// this CPU or another one has reclaimed. It waits for the other one up to twice [`IPI_CALL_TIMEOUT_MS`].
///
/// **Context:** as for [`reclaim`].
fn reclaim_since(ended: u64) -> bool {
    // It keeps the thread on this CPU, whose number says who reclaims.
    let _stay = PreemptGuard::new();
    // As long as the calls of a round may take.
    let mut limit = Timeout::after_ms(2 * IPI_CALL_TIMEOUT_MS);
    loop {
        match HEAP_RECLAIM.begin(current().0, ended) {
            Turn::Begun => {
                reclaim_all();
                HEAP_RECLAIM.end();
                return true;
            }
            Turn::Done => return true,
            // A part of the round may have made frames free even if it takes longer.
            Turn::Busy if limit.wait_until(|| HEAP_RECLAIM.is_over(ended)).is_err() => return true,
            Turn::Busy => {}
            // The drop of a cached object needs memory, or nothing was cached since the last round.
            Turn::Nested | Turn::NotDue => return false,
        }
    }
}

/// [`reclaim`], by the CPU that alone does it.
fn reclaim_all() {
    let drain_own = || {
        drain_caches(|cache| cache.drain_shared());
        drain_this_cpu(&IrqGuard::new());
    };
    drain_own();
    let has_cached = |cpu: &&smp::Cpu| {
        // A CPU that goes offline drains by itself.
        cpu.get(NONEMPTY).is_some_and(|nonempty| nonempty.load(Ordering::Acquire) != 0)
    };
    let targets: CpuSet = smp::cpus().iter().filter(has_cached).map(smp::Cpu::id).collect();
    if let Err(error) = smp::call_online(&targets, &|| drain_this_cpu(&IrqGuard::new())) {
        log::warn!("objects cached on other CPUs: {error}");
    }
    // A drop on one of them may have returned objects to the arrays that all share.
    drain_own();
    if let Err(misuse) = HEAP.drain_depots() {
        refuse(misuse);
    }
}

/// The size of the tables, in bytes. **Context:** any.
pub(crate) fn table_bytes() -> usize {
    Heap::<KernelFrames>::metadata_bytes(HEAP.nodes(), KernelFrames.end())
}

/// Frames that the heap has, in slabs, large objects, magazines and records. **Context:** any.
#[cfg(feature = "selftest")]
pub(crate) fn held_frames() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// Checks the heap's tables.
///
/// **Context:** thread, while no CPU allocates or frees.
///
/// # Errors
/// The first inconsistency.
#[cfg(feature = "selftest")]
pub(crate) fn validate() -> Result<(), Inconsistent> {
    HEAP.validate()
}

/// Frees an object, as [`KernelHeap`] does.
///
/// **Context:** thread or interrupt.
///
/// # Errors
/// The misuse, for which [`KernelHeap`] panics.
///
/// # Safety
/// As for [`Heap::dealloc`].
#[cfg(feature = "selftest")]
pub(crate) unsafe fn try_dealloc(object: NonNull<u8>, layout: Layout) -> Result<(), Misuse> {
    // SAFETY: the object is one of the heap for this layout that nothing uses any more, guaranteed by the caller (see # Safety).
    unsafe { dealloc_from_heap(object, layout) }.map_err(|found| found.misuse)
}

/// Ends a program that has misused the heap.
#[cold]
#[inline(never)]
fn refuse(misuse: Misuse) -> ! {
    panic!("heap: {misuse}");
}

/// How often an allocation that may wait is attempted.
const TRIES: usize = 3;

/// [`KernelHeap::alloc`] beyond the fast path.
#[cold]
#[inline(never)]
fn alloc_slow(guard: IrqGuard, layout: Layout) -> *mut u8 {
    if memory::is_alloc_disabled() {
        return null_mut();
    }
    if arena::is_active() {
        return arena::alloc(layout);
    }
    if checked::is_on() {
        return alloc_checked(guard, layout);
    }
    alloc_or_wait(guard, layout)
}

/// [`alloc_slow`] of a checked heap. Interrupts are off only while the block is allocated: the object is filled whatever its size.
#[cold]
#[inline(never)]
fn alloc_checked(guard: IrqGuard, layout: Layout) -> *mut u8 {
    let Some(shape) = Shape::of(layout) else { return null_mut() };
    let Some(block) = NonNull::new(alloc_or_wait(guard, shape.block())) else { return null_mut() };
    // SAFETY: the heap has returned the block for the shape's layout, one line above.
    unsafe { checked::set_up(block, shape) }.as_ptr()
}

/// Allocates from the heap as it is, and waits for memory if none is at hand and that is possible.
fn alloc_or_wait(guard: IrqGuard, layout: Layout) -> *mut u8 {
    let Some(cpu) = activate(&guard) else { return null_mut() };
    match HEAP.alloc(cpu, layout) {
        Some(object) => object.as_ptr(),
        None => wait_and_alloc(guard, layout),
    }
}

/// The further attempts of an allocation for which no memory was at hand.
#[cold]
#[inline(never)]
fn wait_and_alloc(mut guard: IrqGuard, layout: Layout) -> *mut u8 {
    let may_wait = guard.were_enabled();
    // The frames of a slab or of a large object: once they were free, the next attempt finds them.
    let bytes = SizeClass::of(layout).map_or(layout.size().max(layout.align()), SizeClass::slab_bytes);
    for _ in 1..TRIES {
        drop(guard);
        if !may_wait {
            break;
        }
        let has_frames = order_of_bytes(bytes).and_then(FrameRange::alloc).is_some();
        guard = IrqGuard::new();
        // Without frames as well: while they were looked for, the CPUs may have returned objects to slabs that exist.
        if let Some(object) = activate(&guard).and_then(|cpu| HEAP.alloc(cpu, layout)) {
            return object.as_ptr();
        }
        if !has_frames {
            break;
        }
    }
    null_mut()
}

/// [`KernelHeap::dealloc`] of an object of a class beyond the fast path. The object is marked as free.
#[cold]
#[inline(never)]
fn dealloc_slow(guard: IrqGuard, class: SizeClass, object: NonNull<u8>) {
    if checked::is_on() {
        // The start of a block, where no object is.
        refuse(Misuse::Interior { address: object.addr().get(), size: class.size() });
    }
    let Some(cpu) = activate(&guard) else { refuse(Misuse::Disabled { address: object.addr().get() }) };
    let freed = HEAP.put(cpu, class, object);
    drop(guard);
    if let Err(misuse) = freed {
        refuse(misuse);
    }
}

/// A free that the fast path does not know: of a large object, of the arena, or misuse.
#[cold]
#[inline(never)]
fn dealloc_other(object: NonNull<u8>, layout: Layout) {
    if arena::contains(object.addr().get()) && !memory::is_alloc_disabled() {
        // SAFETY: a block of the arena, which its owner frees, guaranteed by the caller of `dealloc`.
        return unsafe { arena::dealloc(object.as_ptr(), layout) };
    }
    // SAFETY: the object belongs to the caller, guaranteed by the caller of `dealloc`, or is refused.
    if let Err(found) = unsafe { dealloc_from_heap(object, layout) } {
        checked::refuse(found);
    }
}

/// Frees an object of the heap, with or without checks.
///
/// # Safety
/// As for [`Heap::dealloc`].
unsafe fn dealloc_from_heap(object: NonNull<u8>, layout: Layout) -> Result<(), Found> {
    let disabled = Found::without_object(Misuse::Disabled { address: object.addr().get() });
    if memory::is_alloc_disabled() {
        return Err(disabled);
    }
    let (block, layout) = if checked::is_on() {
        // Outside the guard: it takes a time that grows with the object's size.
        // SAFETY: the object is one of the heap for this layout that nothing uses any more, guaranteed by the caller (see # Safety).
        unsafe { checked::retire(object, layout) }?
    } else {
        (object, layout)
    };
    let guard = IrqGuard::new();
    let cpu = activate(&guard).ok_or(disabled)?;
    // SAFETY: the block is the object, which is the caller's (see # Safety), or what it lay in.
    unsafe { HEAP.dealloc(cpu, block, layout) }.map_err(Found::without_object)
}

/// The kernel's heap as `GlobalAlloc`. [`program!`](crate::program!) makes it that of every program that has none of its own.
///
/// **Context:** thread or interrupt. With interrupts on, an allocation may wait for other CPUs to return what they have cached. With
/// interrupts off it fails at once if no memory is at hand. In an NMI handler an allocation fails, and a free panics.
pub struct KernelHeap;

// SAFETY: allocations must be valid, aligned and disjoint until they are freed. Each call goes to `HEAP` with this CPU's magazines, or to the arena,
// which ensure that.
unsafe impl GlobalAlloc for KernelHeap {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let guard = IrqGuard::new();
        if let Some(class) = SizeClass::of(layout)
            && let Some(object) = magazines(&guard).pop(class)
        {
            // SAFETY: the object is free until it is returned, and has 8 bytes or more, aligned to 8.
            unsafe { mark_allocated(object) };
            drop(guard);
            return object.as_ptr();
        }
        alloc_slow(guard, layout)
    }

    #[inline(always)]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: an allocation is not null, guaranteed by the caller (see `GlobalAlloc::dealloc`).
        let object = unsafe { NonNull::new_unchecked(object) };
        let Some(class) = SizeClass::of(layout) else { return dealloc_other(object, layout) };
        if !HEAP.map.has_object(class, object.addr().get()) || !HEAP.mark_free(object) {
            return dealloc_other(object, layout);
        }
        let guard = IrqGuard::new();
        if magazines(&guard).push(class, object) {
            drop(guard);
            return;
        }
        dealloc_slow(guard, class, object);
    }

    #[inline(always)]
    unsafe fn realloc(&self, object: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the new size is valid with this alignment, guaranteed by the caller (see `GlobalAlloc::realloc`).
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: an allocation is not null, guaranteed by the caller (see `GlobalAlloc::realloc`).
        let object = unsafe { NonNull::new_unchecked(object) };
        // Which object it is is checked when it is freed. An object of the arena has room for all sizes of a class, too.
        if let (Some(old), Some(class)) = (SizeClass::of(layout), SizeClass::of(new))
            && old == class
        {
            // A NOP, or a jump in a checked heap, whose objects move.
            static_key!(crate::heap::CHECKED_KEY, {
                // SAFETY: the object is one of the heap for this layout, guaranteed by the caller (see `GlobalAlloc::realloc`).
                return unsafe { realloc_slow(object, layout, new) };
            });
            return object.as_ptr();
        }
        // SAFETY: the object is one of the heap for this layout, guaranteed by the caller (see `GlobalAlloc::realloc`).
        unsafe { realloc_slow(object, layout, new) }
    }
}

/// [`KernelHeap::realloc`] to another class, of a large object, or of the arena.
///
/// # Safety
/// As for `GlobalAlloc::realloc`: the object is one of the heap for this layout that only the caller uses, and the new size is not 0.
#[cold]
#[inline(never)]
unsafe fn realloc_slow(object: NonNull<u8>, layout: Layout, new: Layout) -> *mut u8 {
    if arena::contains(object.addr().get()) {
        // It moves.
    } else if checked::is_on() {
        // It moves, so that pointers to its old place are found. The check comes before its content is read.
        // SAFETY: the object is one of the heap for this layout, guaranteed by the caller (see # Safety).
        if let Err(found) = unsafe { checked::check(object, layout) } {
            checked::refuse(found);
        }
    } else {
        // SAFETY: the object is one of the heap for this layout, guaranteed by the caller (see # Safety).
        match unsafe { HEAP.resize(object, layout, new) } {
            Ok(true) => return object.as_ptr(),
            Ok(false) => {}
            Err(misuse) => refuse(misuse),
        }
    }
    // SAFETY: the new size is not 0, guaranteed by the caller.
    let moved = unsafe { GlobalAlloc::alloc(&KernelHeap, new) };
    if !moved.is_null() {
        let bytes = layout.size().min(new.size());
        // SAFETY: both are valid for so many bytes, and disjoint: the old one is not freed yet.
        unsafe { moved.copy_from_nonoverlapping(object.as_ptr(), bytes) };
        // SAFETY: the object is one of the heap for this layout, and its content was moved, guaranteed by the caller (see # Safety).
        unsafe { GlobalAlloc::dealloc(&KernelHeap, object.as_ptr(), layout) };
    }
    moved
}

// SAFETY: allocations must be valid, aligned and disjoint until they are freed: as those of `GlobalAlloc`, above.
unsafe impl HeapSource for KernelHeap {
    fn alloc(&self, layout: Layout) -> Result<NonNull<u8>, HeapError> {
        // SAFETY: the size must not be 0, guaranteed by the caller (see `HeapSource::alloc`).
        NonNull::new(unsafe { GlobalAlloc::alloc(self, layout) }).ok_or(HeapError::OutOfMemory)
    }

    /// A free that is refused panics.
    unsafe fn dealloc(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        // SAFETY: the object is one of this heap for this layout that nothing uses any more, guaranteed by the caller (see `HeapSource::dealloc`).
        unsafe { GlobalAlloc::dealloc(self, object.as_ptr(), layout) };
        Ok(())
    }

    unsafe fn realloc(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        new_size: usize,
    ) -> Result<NonNull<u8>, HeapError> {
        // SAFETY: the object is one of this heap for this layout, guaranteed by the caller (see `HeapSource::realloc`).
        let moved = unsafe { GlobalAlloc::realloc(self, object.as_ptr(), layout, new_size) };
        NonNull::new(moved).ok_or(HeapError::OutOfMemory)
    }

    fn drain(&self) {
        drain_this_cpu(&IrqGuard::new());
        if let Err(misuse) = HEAP.drain_depots() {
            refuse(misuse);
        }
    }

    fn statistics(&self) -> HeapStatistics {
        let held = HELD.load(Ordering::Relaxed) * FRAME_BYTES;
        let taken: usize = HEAP.class_stats().map(|class| class.taken).sum();
        let live = taken + HEAP.large_stats().objects;
        HeapStatistics { live_objects: Some(live as u64), held_bytes: Some(held as u64) }
    }

    fn validate(&self) -> Result<(), &'static str> {
        HEAP.validate().map_err(|error| error.message())
    }
}
