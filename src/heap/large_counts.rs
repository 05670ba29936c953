//! The counts of large objects.

use core::sync::atomic::{AtomicUsize, Ordering};

/// Counts of large objects.
pub(super) struct LargeCounts {
    pub(super) objects: AtomicUsize,
    /// The bytes that programs have asked for.
    pub(super) bytes: AtomicUsize,
    /// The frames of all.
    pub(super) frames: AtomicUsize,
}

impl LargeCounts {
    pub(super) const fn new() -> LargeCounts {
        LargeCounts { objects: AtomicUsize::new(0), bytes: AtomicUsize::new(0), frames: AtomicUsize::new(0) }
    }

    /// Counts an object of so many bytes in so many frames.
    pub(super) fn add(&self, bytes: usize, frames: usize) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.frames.fetch_add(frames, Ordering::Relaxed);
    }

    /// Counts the end of an object.
    pub(super) fn remove(&self, bytes: usize, frames: usize) {
        self.objects.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.frames.fetch_sub(frames, Ordering::Relaxed);
    }
}
