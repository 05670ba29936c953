//! Sums over the CPUs of a workload, and their phases.

use core::sync::atomic::AtomicU64;

/// Sums over all CPUs of a workload, one for each phase. Even and odd phases have a sum each, so that one barrier per phase is
/// enough: no CPU adds to phase n + 2 while another still reads phase n.
#[derive(Default)]
pub(in crate::stress) struct Sums(pub(in crate::stress) [AtomicU64; 2]);

/// One CPU's position in the [`Sums`], and their values at its previous read: they are never reset.
#[derive(Clone, Copy, Default)]
pub(in crate::stress) struct Phase {
    pub(in crate::stress) next: usize,
    pub(in crate::stress) found: [u64; 2],
}
