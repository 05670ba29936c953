//! External NMIs: those that no CPU of this kernel sent. They are counted from the first instruction on that has a gate
//! for them.
//!
//! [`count`] is the handler until the SMP layer registers its own. The handoff has the number of NMIs that 32-bit code
//! took before.

use core::sync::atomic::{AtomicU64, Ordering};

use super::counts::COUNTS;
use super::frame::TrapFrame;
use super::vector::Vector;
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::per_cpu;

per_cpu! {
    /// The number of NMIs that no CPU of this kernel sent. NMIs that were merged with another one on delivery are not
    /// included.
    pub(crate) static EXTERNAL_NMIS: AtomicU64 = AtomicU64::new(0);
}

/// Counts an NMI as external. It does not log: before a CPU has IST stacks it runs on the stack of the interrupted code,
/// which may hold the console lock. **Context:** NMI.
pub(crate) fn count(_: &mut TrapFrame) {
    EXTERNAL_NMIS.increment();
}

/// Adds the NMIs that this CPU took before it had gates of its own.
pub(super) fn add_early(guard: &IrqGuard, nmis: u32) {
    EXTERNAL_NMIS.add(nmis.into());
    let vector = usize::from(Vector::NMI.get());
    COUNTS.with(guard, |counts| counts[vector].fetch_add(nmis.into(), Ordering::Relaxed));
}
