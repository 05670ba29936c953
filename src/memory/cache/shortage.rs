//! Allocation and free while memory is short: past the cache of this CPU, so that no CPU keeps what another one needs.
//!
//! An allocation that finds nothing in the shared allocator makes CPUs drain their caches, or scans these caches again and again because CPUs
//! fill and empty them meanwhile. If they went on, so would each further allocation. So such an allocation notes a shortage. Each CPU that
//! has drained its cache for it, that has asked for it, or that sees it in its slow path, leaves its cache inactive for [`OPERATIONS`]
//! operations, and for as many again if another shortage was noted meanwhile. Soon no CPU caches anything; then an allocation that fails
//! waits for none.
//!
//! An operation past the cache costs some hundred instructions. The fast path knows nothing of this: to it, the cache is inactive. An
//! allocation that fails while other CPUs leave their caches alone, and have nothing for it, begins no shortage. Once there is one, each
//! allocation that fails prolongs it, of whatever order. A program that tries large runs again and again, while single frames are free, uses
//! `alloc_nowait`, which does not.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::PerCpu;
use crate::per_cpu;

/// How many operations bypass the cache of a CPU. They take some milliseconds, so that drains are few even if allocations seldom fail, and
/// if a hypervisor lets the CPUs run in turns.
const OPERATIONS: u32 = 16 << 10;

per_cpu! {
    /// How many more operations bypass the cache of this CPU; 0 if none do.
    static LEFT: AtomicU32 = AtomicU32::new(0);
    /// The [`SHORTAGES`] of which this CPU knows.
    static SEEN: AtomicU64 = AtomicU64::new(0);
}

/// How many shortages were noted.
static SHORTAGES: AtomicU64 = AtomicU64::new(0);

/// Notes that an allocation needs what CPUs cache.
///
/// **Context:** any but NMI.
pub(crate) fn note_shortage() {
    SHORTAGES.fetch_add(1, Ordering::Relaxed);
}

/// Notes a shortage if this CPU bypasses its cache already: an allocation that finds nothing shows that the shortage goes on.
///
/// **Context:** any but NMI.
pub(super) fn prolong() {
    if LEFT.get() > 0 {
        note_shortage();
    }
}

/// Whether a shortage was noted of which this CPU does not know.
///
/// **Context:** any but NMI, interrupts disabled.
#[inline(always)]
pub(super) fn is_new(_: &IrqGuard) -> bool {
    SEEN.get() != SHORTAGES.load(Ordering::Relaxed)
}

/// Makes the following operations of this CPU bypass its cache, which was drained, if there is a new shortage.
///
/// **Context:** any but NMI, interrupts disabled.
pub(super) fn learn(guard: &IrqGuard) {
    if is_new(guard) {
        SEEN.set(SHORTAGES.load(Ordering::Relaxed));
        LEFT.set(OPERATIONS);
    }
}

/// Whether this operation bypasses the cache of this CPU, which is inactive.
///
/// **Context:** any but NMI, interrupts disabled.
pub(super) fn bypasses(guard: &IrqGuard) -> bool {
    if LEFT.get() <= 1 {
        LEFT.set(0);
        learn(guard);
    } else {
        LEFT.set(LEFT.get() - 1);
    }
    LEFT.get() > 0
}

/// Makes this CPU use its cache again, as if it knew of no shortage: for benches and self-tests.
///
/// **Context:** any but NMI, interrupts disabled.
pub(crate) fn end_shortage(_: &IrqGuard) {
    SEEN.set(SHORTAGES.load(Ordering::Relaxed));
    LEFT.set(0);
}
