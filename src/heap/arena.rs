//! The arena: what the global heap allocates from while an allocator of frames is under test that keeps its metadata in Rust's `alloc`.
//! `buddy_system_allocator` allocates tree nodes while it holds its lock. They must not come from frames under test. The arena has memory only
//! while a stress runs.

use core::alloc::Layout;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::sync::SpinLockIrq;

/// The smallest size class has 16 bytes.
const SMALLEST_SHIFT: u32 = 4;
/// Size classes: powers of two from 16 bytes to a page.
const CLASSES: usize = 9;

/// For each class a list of free blocks, linked through their first words; and the memory that was never allocated.
struct Pool {
    free: [usize; CLASSES],
    next: usize,
    end: usize,
}

static ARENA: SpinLockIrq<Pool> = SpinLockIrq::new(Pool { free: [0; CLASSES], next: 0, end: 0 });
crate::name_lock!(ARENA);

/// The arena's memory: its first address, and its size in bytes, 0 without memory.
static START: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Donates memory to the arena. All blocks allocated from it before become invalid.
///
/// # Safety
/// The memory must be writable, aligned to a page, and used for nothing else until [`revoke`]. No block of the arena may be in
/// use.
pub(crate) unsafe fn donate(start: *mut u8, bytes: usize) {
    let start = start.expose_provenance();
    *ARENA.lock() = Pool { free: [0; CLASSES], next: start, end: start + bytes };
    START.store(start, Ordering::Relaxed);
    BYTES.store(bytes, Ordering::Release);
}

/// Revokes the arena's memory.
///
/// # Safety
/// No block of the arena may be in use.
pub(crate) unsafe fn revoke() {
    BYTES.store(0, Ordering::Release);
    *ARENA.lock() = Pool { free: [0; CLASSES], next: 0, end: 0 };
}

/// Whether it has memory.
pub(super) fn is_active() -> bool {
    BYTES.load(Ordering::Acquire) != 0
}

/// Whether an address lies in it.
pub(super) fn contains(address: usize) -> bool {
    address.wrapping_sub(START.load(Ordering::Relaxed)) < BYTES.load(Ordering::Acquire)
}

fn class_of(layout: Layout) -> Option<usize> {
    let bytes = layout.size().max(layout.align()).next_power_of_two();
    let class = bytes.trailing_zeros().saturating_sub(SMALLEST_SHIFT) as usize;
    (class < CLASSES).then_some(class)
}

/// Allocates a block. Null if there is none: the layout is larger than a page, or the memory is used up.
///
/// **Context:** thread or interrupt.
pub(super) fn alloc(layout: Layout) -> *mut u8 {
    let Some(class) = class_of(layout) else { return null_mut() };
    let mut pool = ARENA.lock();
    let first = pool.free[class];
    if first != 0 {
        let block = core::ptr::with_exposed_provenance_mut::<usize>(first);
        // SAFETY: the read must be of a free block's first word. Only `dealloc` adds blocks to the list, and writes that
        // word.
        pool.free[class] = unsafe { block.read() };
        return block.cast();
    }
    let bytes = 1 << (class as u32 + SMALLEST_SHIFT);
    let start = pool.next.next_multiple_of(bytes);
    match start.checked_add(bytes).filter(|end| *end <= pool.end && start != 0) {
        Some(end) => {
            pool.next = end;
            core::ptr::with_exposed_provenance_mut(start)
        }
        None => null_mut(),
    }
}

/// Frees a block.
///
/// # Safety
/// [`alloc`] returned the block for this layout, and nothing uses it any more.
pub(super) unsafe fn dealloc(block: *mut u8, layout: Layout) {
    let Some(class) = class_of(layout) else { return };
    let mut pool = ARENA.lock();
    // SAFETY: the write must be to memory that the arena owns. The block came from `alloc` with this layout (guaranteed by
    // the caller) and holds at least a word.
    unsafe { block.cast::<usize>().write(pool.free[class]) };
    pool.free[class] = block.expose_provenance();
}
