//! The drain of this CPU's cache into the shared allocator.

use super::counters::DRAINS;
use super::fast_path::{deactivate, is_inactive, with_magazine};
use super::shortage;
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::memory::heap_slot::drain_heap;
use crate::trace;

/// Moves all frames that this CPU caches to the shared allocator, those that the heap has cached too, and deactivates the cache.
///
/// **Context:** thread or interrupt context, interrupts disabled.
pub(crate) fn drain_this_cpu(guard: &IrqGuard) {
    drain_heap(guard);
    drain_frames(guard);
}

/// [`drain_this_cpu`], for another CPU's allocation, for which [`note_shortage`](super::note_shortage) was called: the following operations
/// of this CPU bypass its cache.
///
/// **Context:** as for [`drain_this_cpu`].
pub(crate) fn drain_for_shortage(guard: &IrqGuard) {
    drain_this_cpu(guard);
    shortage::learn(guard);
}

/// Moves all frames that this CPU caches to the shared allocator, and deactivates the cache. A frame that was free already is
/// counted and skipped.
///
/// **Context:** thread or interrupt context, interrupts disabled.
pub(super) fn drain_frames(guard: &IrqGuard) {
    if is_inactive() {
        return;
    }
    DRAINS.increment();
    trace!(FrameDrain);
    // The call that has freed such a frame twice has returned long ago: there is no caller to return the error to.
    let _ = with_magazine(guard, |frames, magazine| frames.drain(magazine));
    deactivate(guard);
}
