//! A heap for the metadata of `buddy_system_allocator`, which allocates tree nodes from Rust's global allocator while it holds
//! its lock. The kernel has no other heap. The arena must not call an allocator under test. It has memory only while a stress
//! runs.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;

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

struct Arena(SpinLockIrq<Pool>);

/// The arena as global allocator. [`program!`](crate::program!) installs it for programs without a heap of their own.
pub struct ArenaHeap;

// SAFETY: must satisfy the contract of `GlobalAlloc`. Each call goes to `ARENA`, which does.
unsafe impl GlobalAlloc for ArenaHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the layout must have a size greater than 0, guaranteed by the caller (see `GlobalAlloc::alloc`).
        unsafe { ARENA.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block must come from `alloc` with this layout, guaranteed by the caller (see `GlobalAlloc::dealloc`).
        unsafe { ARENA.dealloc(block, layout) }
    }
}

static ARENA: Arena = Arena(SpinLockIrq::new(Pool { free: [0; CLASSES], next: 0, end: 0 }));
crate::name_lock!(ARENA, |_, is_so| is_so(ARENA.0.owner()));

/// Donates memory to the arena. All blocks allocated from it before become invalid.
///
/// # Safety
/// The memory must be writable, aligned to a page, and used for nothing else until [`revoke`]. No block of the arena may be in
/// use.
pub(crate) unsafe fn donate(start: *mut u8, bytes: usize) {
    *ARENA.0.lock() = Pool { free: [0; CLASSES], next: start.addr(), end: start.addr() + bytes };
}

/// Revokes the arena's memory.
///
/// # Safety
/// No block of the arena may be in use.
pub(crate) unsafe fn revoke() {
    *ARENA.0.lock() = Pool { free: [0; CLASSES], next: 0, end: 0 };
}

fn class_of(layout: Layout) -> Option<usize> {
    let bytes = layout.size().max(layout.align()).next_power_of_two();
    let class = bytes.trailing_zeros().saturating_sub(SMALLEST_SHIFT) as usize;
    (class < CLASSES).then_some(class)
}

// SAFETY: a block must be valid, aligned and allocated once until it is freed. `alloc` takes it off the list of its class, or
// cuts it from memory that was never allocated, at a multiple of its size.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else { return null_mut() };
        let mut pool = self.0.lock();
        let first = pool.free[class];
        if first != 0 {
            // SAFETY: the read must be of a free block's first word. Only `dealloc` adds blocks to the list, and writes that
            // word.
            pool.free[class] = unsafe { *(first as *const usize) };
            return first as *mut u8;
        }
        let bytes = 1 << (class as u32 + SMALLEST_SHIFT);
        let start = pool.next.next_multiple_of(bytes);
        match start.checked_add(bytes).filter(|end| *end <= pool.end && start != 0) {
            Some(end) => {
                pool.next = end;
                start as *mut u8
            }
            None => null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class_of(layout) else { return };
        let mut pool = self.0.lock();
        // SAFETY: the write must be to memory that the arena owns. The block came from `alloc` with this layout (guaranteed by
        // the caller) and holds at least a word.
        unsafe { *block.cast::<usize>() = pool.free[class] };
        pool.free[class] = block.addr();
    }
}
