//! The sequence count of a CPU's transfers, by which other CPUs can tell whether frames are in flight.
//!
//! A free frame is in the shared allocator or in a magazine. While its CPU moves it between the two, it is in neither, and a reader
//! misses it. So each CPU counts its transfers like the writer of a seqcount: once at the begin and once at the end. A reader that finds
//! all counts even, scans everything, and finds the same counts again, has seen a moment without a frame in flight.
//!
//! A `pop` or a `push` of a magazine is not counted: the frame is allocated before or after it.

use crate::memory::frames::sync::{AtomicUsize, MODELLED, Ordering, fence};

/// The transfers that one CPU has begun and ended: odd during a transfer. Only that CPU writes it.
#[derive(Debug)]
pub(in crate::memory) struct TransferSeq(AtomicUsize);

impl TransferSeq {
    pub(in crate::memory) const fn of(count: AtomicUsize) -> Self {
        Self(count)
    }

    /// Begins a transfer: before the first change that may make a frame invisible to readers.
    #[inline(always)]
    pub(in crate::memory) fn begin(&self) {
        self.count();
        // A reader that sees one of the following changes, and then reads the count, sees this.
        fence(Ordering::Release);
    }

    /// Ends a transfer: each frame is visible to readers again.
    #[inline(always)]
    pub(in crate::memory) fn end(&self) {
        fence(Ordering::Release);
        self.count();
    }

    #[inline(always)]
    fn count(&self) {
        if MODELLED {
            // In a model too, a magazine's words are the processor's atomics, of which no old value is read. The model may return
            // an old value of this count for a load, but not for a read-modify-write.
            self.0.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// The count; `None` during a transfer.
    pub(in crate::memory) fn seen(&self) -> Option<usize> {
        Some(self.0.load(Ordering::Acquire)).filter(|count| count.is_multiple_of(2))
    }
}
