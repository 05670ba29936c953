//! Memory for the library allocator's own bookkeeping, which asks Rust's global allocator for tree nodes while it holds its
//! lock. Nothing else in this kernel has a heap, and this is none for anything else: it must never call back into an
//! allocator under test, and it lends what it was given to whoever asks while the stress runs.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;

use crate::sync::SpinLockIrq;

/// Sizes are powers of two from 16 bytes to a page.
const SMALLEST_SHIFT: u32 = 4;
const CLASSES: usize = 9;

/// Freed memory of each size, linked through its first word, and memory that was never asked for.
struct Pool {
    free: [usize; CLASSES],
    next: usize,
    end: usize,
}

struct Arena(SpinLockIrq<Pool>);

/// The arena as a global allocator: that of every program without a heap of its own (see [`program!`](crate::program!)).
pub struct ArenaHeap;

// SAFETY: each call goes to `ARENA`, whose implementation satisfies the same contract.
unsafe impl GlobalAlloc for ArenaHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the layout has a size, guaranteed by the caller of `GlobalAlloc::alloc`.
        unsafe { ARENA.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `alloc` returned the block for this layout, guaranteed by the caller of `GlobalAlloc::dealloc`.
        unsafe { ARENA.dealloc(block, layout) }
    }
}

static ARENA: Arena = Arena(SpinLockIrq::new(Pool { free: [0; CLASSES], next: 0, end: 0 }));
crate::name_lock!(ARENA, |_, is_so| is_so(ARENA.0.owner()));

/// Gives the arena that memory; all that was handed out from it before is void.
///
/// # Safety
/// The memory is writable, aligned to a page and used for nothing else until [`withdraw`]; nothing from the arena is in use.
pub unsafe fn lend(start: *mut u8, bytes: usize) {
    *ARENA.0.lock() = Pool { free: [0; CLASSES], next: start.addr(), end: start.addr() + bytes };
}

/// Takes the memory away again.
///
/// # Safety
/// Nothing from the arena is in use.
pub unsafe fn withdraw() {
    *ARENA.0.lock() = Pool { free: [0; CLASSES], next: 0, end: 0 };
}

fn class_of(layout: Layout) -> Option<usize> {
    let bytes = layout.size().max(layout.align()).next_power_of_two();
    let class = bytes.trailing_zeros().saturating_sub(SMALLEST_SHIFT) as usize;
    (class < CLASSES).then_some(class)
}

// SAFETY: a block is handed out once until it comes back: it is cut from untouched memory, or taken off the list of its size.
// Its address is a multiple of its size, since memory is cut at such multiples.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else { return null_mut() };
        let mut pool = self.0.lock();
        let first = pool.free[class];
        if first != 0 {
            // SAFETY: a block on the list is free, and its first word holds the next one's address.
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
        // SAFETY: the block was handed out by `alloc` with this layout, is the caller's, and holds at least a word.
        unsafe { *block.cast::<usize>() = pool.free[class] };
        pool.free[class] = block.addr();
    }
}
