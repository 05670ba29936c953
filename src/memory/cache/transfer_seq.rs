//! Whether a CPU has frames in its hands that are nobody's, as others can tell.
//!
//! A frame that nobody has asked for lies in the shared layers or in a magazine. Between the two it is in its CPU's hands,
//! and one that looks for it sees it in neither place. So each CPU counts its moves, as a sequence lock counts writes:
//! once when it begins and once when it ends. Whoever finds every count even, looks everywhere, and finds them all as
//! they were, has seen one moment in which nothing was on its way.
//!
//! What is taken from a magazine or put into it needs no count: the frame is somebody's then.

use crate::memory::frames::sync::{AtomicUsize, MODELLED, Ordering, fence};

/// The moves of one CPU, begun and ended: odd while it is at one. Only that CPU counts.
#[derive(Debug)]
pub(in crate::memory) struct TransferSeq(AtomicUsize);

impl TransferSeq {
    pub(in crate::memory) const fn of(count: AtomicUsize) -> Self {
        Self(count)
    }

    /// Before the first change that may take a frame out of sight.
    #[inline(always)]
    pub(in crate::memory) fn begin(&self) {
        self.count();
        // Whoever sees any of the changes to come, and then looks here, sees this.
        fence(Ordering::Release);
    }

    /// When every frame is where it can be found.
    #[inline(always)]
    pub(in crate::memory) fn end(&self) {
        fence(Ordering::Release);
        self.count();
    }

    #[inline(always)]
    fn count(&self) {
        if MODELLED {
            // A magazine's words are the processor's atomics in a model too, of which no old value is read. None must be read
            // here either, and an old one may be of a change that is no exchange.
            self.0.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How many so far; `None` in the middle of one.
    pub(in crate::memory) fn seen(&self) -> Option<usize> {
        Some(self.0.load(Ordering::Acquire)).filter(|count| count.is_multiple_of(2))
    }
}
