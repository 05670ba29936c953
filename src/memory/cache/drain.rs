//! The drain of this CPU's cache into the shared allocator.

use super::counters::DRAINS;
use super::fast_path::{deactivate, is_inactive, with_magazine};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::trace;

/// Gives all frames that this CPU keeps to the shared layers. A frame among them that was free already is left out;
/// the allocator counts it.
pub fn drain_this_cpu(guard: &IrqGuard) {
    if is_inactive() {
        return;
    }
    DRAINS.increment();
    trace!(FrameDrain);
    // What is wrong with a frame here was the fault of whoever freed it, who is long gone.
    let _ = with_magazine(guard, |frames, magazine| frames.drain(magazine));
    deactivate(guard);
}
