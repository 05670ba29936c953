//! What an operation that the fast path does not serve does with the cache of its CPU.

use super::drain::drain_frames;
use super::fast_path::{activate, is_alloc_disabled, is_inactive};
use super::shortage;
use crate::cpu::IrqGuard;

/// What such an operation does with the cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It uses the cache, which is active.
    Active,
    /// It bypasses the cache, which is inactive, because memory is short.
    Bypass,
    /// It fails: the allocator is disabled.
    Disabled,
}

/// Makes the cache active, unless memory is short; then it makes the cache inactive. Returns which, or that the allocator is disabled.
///
/// **Context:** any, interrupts disabled.
#[inline(always)]
pub(super) fn prepare(guard: &IrqGuard) -> Readiness {
    if is_inactive() || shortage::is_new(guard) { prepare_slow(guard) } else { Readiness::Active }
}

#[cold]
#[inline(never)]
fn prepare_slow(guard: &IrqGuard) -> Readiness {
    if is_alloc_disabled() {
        return Readiness::Disabled;
    }
    // It is active if another CPU has noted a shortage meanwhile.
    drain_frames(guard);
    if shortage::bypasses(guard) {
        return Readiness::Bypass;
    }
    activate(guard);
    Readiness::Active
}
