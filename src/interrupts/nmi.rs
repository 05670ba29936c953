//! NMIs that no CPU of this kernel sent: counted from the first instruction that has a gate for them.
//!
//! Until the layer that knows all CPUs registers its handler, [`count`] has the vector. What 32-bit code counts before that
//! arrives with the handoff.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{COUNTS, Frame, Vector};
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::per_cpu;

per_cpu! {
    /// NMIs that no CPU of this kernel sent, but for those that were delivered as one with another.
    pub static EXTERNAL_NMIS: AtomicU64 = AtomicU64::new(0);
}

/// Counts an NMI as external. It logs nothing, because before a CPU has interrupt stacks it runs on the stack of the code
/// that it interrupted, which may hold the console. **Context:** NMI.
pub fn count(_: &mut Frame) {
    EXTERNAL_NMIS.increment();
}

/// Counts NMIs that this CPU took before it had gates of its own.
pub(super) fn add_early(guard: &IrqGuard, nmis: u32) {
    EXTERNAL_NMIS.add(nmis.into());
    let vector = usize::from(Vector::NMI.get());
    COUNTS.with(guard, |counts| counts[vector].fetch_add(nmis.into(), Ordering::Relaxed));
}
