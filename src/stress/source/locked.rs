//! The crate `buddy_system_allocator`'s frame allocator behind its one lock: what one gets who takes a library and looks no
//! further. The baseline.

use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use buddy_system_allocator::LockedFrameAllocator;

use super::{AllocContext, FrameSource, uninterrupted};
use crate::memory::frames::{FrameNumber, FreeError, ORDERS, Order};
use crate::stress::allocators::{Allocator, Backing, BorrowedMemory, Borrower};

/// The allocator `locked`.
pub static LOCKED: Allocator = Allocator {
    name: "locked",
    summary: "The `LockedFrameAllocator` of the crate `buddy_system_allocator`, behind one lock.",
    backing: Backing::Borrowed(Borrower {
        metadata_bytes: |_| 0,
        run: |memory, run| run(&Locked::on(memory)),
    }),
};

/// `LockedFrameAllocator`. It cannot say how many frames it has, and it checks nothing, so the former is counted here.
pub struct Locked {
    allocator: LockedFrameAllocator<ORDERS>,
    /// Written under the allocator's lock alone.
    free: AtomicUsize,
}

impl Locked {
    /// One without frames.
    pub const fn new() -> Locked {
        Locked { allocator: LockedFrameAllocator::new(), free: AtomicUsize::new(0) }
    }

    /// One with all frames of this memory.
    pub fn on(memory: &BorrowedMemory<'_>) -> Locked {
        let locked = Locked::new();
        for frames in memory.frames() {
            locked.insert(frames.clone());
        }
        locked
    }

    /// Gives it frames.
    pub fn insert(&self, frames: Range<FrameNumber>) {
        uninterrupted(|| {
            let mut allocator = self.allocator.lock();
            allocator.add_frame(frames.start.get(), frames.end.get());
            self.count(frames.end.get() - frames.start.get());
        });
    }

    /// Up to `frames.len()` single frames under one hold of the lock; how many.
    pub fn alloc_many(&self, frames: &mut [FrameNumber]) -> usize {
        uninterrupted(|| {
            let mut allocator = self.allocator.lock();
            let mut taken = 0;
            while taken < frames.len()
                && let Some(frame) = allocator.alloc(1)
            {
                frames[taken] = FrameNumber::new(frame);
                taken += 1;
            }
            self.count(taken.wrapping_neg());
            taken
        })
    }

    /// Takes single frames back under one hold of the lock.
    pub fn free_many(&self, frames: &[FrameNumber]) {
        uninterrupted(|| {
            let mut allocator = self.allocator.lock();
            for frame in frames {
                allocator.dealloc(frame.get(), 1);
            }
            self.count(frames.len());
        });
    }

    fn count(&self, more: usize) {
        let free = self.free.load(Ordering::Relaxed);
        self.free.store(free.wrapping_add(more), Ordering::Relaxed);
    }
}

impl Default for Locked {
    fn default() -> Locked {
        Locked::new()
    }
}

impl FrameSource for Locked {
    fn alloc(&self, _: &mut AllocContext, order: Order) -> Option<FrameNumber> {
        uninterrupted(|| {
            let mut allocator = self.allocator.lock();
            let frame = allocator.alloc(order.frames())?;
            self.count(order.frames().wrapping_neg());
            Some(FrameNumber::new(frame))
        })
    }

    unsafe fn free(&self, _: &mut AllocContext, frame: FrameNumber, order: Order) -> Result<(), FreeError> {
        uninterrupted(|| {
            let mut allocator = self.allocator.lock();
            allocator.dealloc(frame.get(), order.frames());
            self.count(order.frames());
        });
        Ok(())
    }

    fn drain(&self, _: &mut AllocContext) {}

    fn free_frames(&self) -> usize {
        self.free.load(Ordering::Relaxed)
    }
}
