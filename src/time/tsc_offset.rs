//! Offsets of the TSC, for fault injection.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::cpu::per_cpu::PerCpu;
use crate::per_cpu;

per_cpu! {
    /// The offset that is added to this CPU's TSC, in cycles.
    pub(super) static SHIFT: Cell<u64> = Cell::new(0);
}

/// The offset that is added to all TSCs, in cycles.
pub(super) static JUMPED: AtomicU64 = AtomicU64::new(0);

/// The offset of this CPU's TSC, in cycles.
#[inline]
pub(super) fn shift() -> u64 {
    SHIFT.get().wrapping_add(JUMPED.load(Ordering::Relaxed))
}
