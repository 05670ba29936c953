//! The frame allocator of the crate `buddy_system_allocator` behind its lock. This is the baseline of comparisons.

use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use buddy_system_allocator::LockedFrameAllocator;

use crate::memory::frames::{FrameNumber, FreeError, ORDERS, Order};
use crate::stress::allocator::{Allocator, Backing, BorrowedMemory, Borrower, MemoryShape};
use crate::stress::source::{AllocContext, FrameSource, uninterrupted};

/// The allocator `locked`.
pub(crate) static LOCKED: Allocator = Allocator {
    name: "locked",
    summary: "The `LockedFrameAllocator` of the crate `buddy_system_allocator`, behind one lock.",
    backing: Backing::Borrowed(Borrower {
        metadata_bytes: |_| 0,
        shape: MemoryShape::Ranges,
        run: |memory, run| run(&Locked::on(memory)),
    }),
};

/// `LockedFrameAllocator`, with a count of free frames, which it lacks.
pub(crate) struct Locked {
    allocator: LockedFrameAllocator<ORDERS>,
    /// Written under the allocator's lock only.
    free: AtomicUsize,
}

impl Locked {
    /// An allocator without frames.
    pub(crate) const fn new() -> Locked {
        Locked { allocator: LockedFrameAllocator::new(), free: AtomicUsize::new(0) }
    }

    /// An allocator with all frames of this memory.
    pub(crate) fn on(memory: &BorrowedMemory<'_>) -> Locked {
        let locked = Locked::new();
        for frames in memory.frames() {
            locked.insert(frames.clone());
        }
        locked
    }

    /// Adds frames.
    pub(crate) fn insert(&self, frames: Range<FrameNumber>) {
        uninterrupted(|| {
            let mut allocator = self.allocator.lock();
            allocator.add_frame(frames.start.get(), frames.end.get());
            self.count(frames.end.get() - frames.start.get());
        });
    }

    /// Allocates up to `frames.len()` single frames under one acquisition of the lock, and returns their number.
    pub(crate) fn alloc_many(&self, frames: &mut [FrameNumber]) -> usize {
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

    /// Frees single frames under one acquisition of the lock.
    pub(crate) fn free_many(&self, frames: &[FrameNumber]) {
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
