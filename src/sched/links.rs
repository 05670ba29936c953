//! The place of a thread on the list of its CPU's threads.

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::cpu::CpuId;

/// The links of an entry, which belong to the holder of its list's lock.
pub(super) struct Links<T> {
    pub(super) next: Cell<*const T>,
    pub(super) previous: Cell<*const T>,
    /// The CPU whose list it is: set before other CPUs know the entry.
    cpu: AtomicU32,
}

impl<T> Links<T> {
    pub(super) const fn new() -> Links<T> {
        Links { next: Cell::new(ptr::null()), previous: Cell::new(ptr::null()), cpu: AtomicU32::new(0) }
    }

    /// Returns the CPU whose list it is. **Context:** any.
    pub(super) fn cpu(&self) -> CpuId {
        CpuId(self.cpu.load(Ordering::Relaxed))
    }

    /// Notes the CPU whose list it is. **Context:** that CPU, before others know the entry.
    pub(super) fn set_cpu(&self, cpu: CpuId) {
        self.cpu.store(cpu.0, Ordering::Relaxed);
    }
}
