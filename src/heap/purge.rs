//! What the heap knows of the caches of objects above it: how they return what they have cached.

use crate::cpu::IrqGuard;

/// A cache of objects, as the heap uses it when it needs memory.
pub trait Purge: Sync {
    /// Drops the free objects of this CPU. Returns whether there were any.
    ///
    /// **Context:** thread or interrupt, interrupts off.
    fn drain_this_cpu(&self, guard: &IrqGuard) -> bool;

    /// Drops the free objects that all CPUs share. Returns whether there were any.
    ///
    /// **Context:** thread, preemption off: a drop must not block.
    fn drain_shared(&self) -> bool;
}

/// All caches of the program.
#[linkme::distributed_slice]
pub static CACHES: [&'static dyn Purge];
