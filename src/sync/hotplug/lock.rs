//! The lock of hotplug operations.

use super::super::atomics::{AtomicU32, Ordering};
use crate::cpu::CpuId;

/// The lock of hotplug operations: one at a time. It does not wait.
#[derive(Debug)]
pub(crate) struct HotplugLock(AtomicU32);

/// A [`HotplugLock`], held until this is dropped.
#[derive(Debug)]
pub(crate) struct HotplugGuard<'a>(&'a HotplugLock);

impl HotplugLock {
    /// Creates a free lock.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) const fn new() -> HotplugLock {
        HotplugLock(AtomicU32::new(0))
    }

    /// Creates a free lock.
    #[cfg(any(loom, shuttle))]
    pub fn new() -> HotplugLock {
        HotplugLock(AtomicU32::new(0))
    }

    /// Takes the lock for the CPU `me`.
    ///
    /// # Errors
    /// The CPU that holds it.
    pub(crate) fn try_lock(&self, me: CpuId) -> Result<HotplugGuard<'_>, CpuId> {
        match self.0.compare_exchange(0, me.0 + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(HotplugGuard(self)),
            Err(holder) => Err(CpuId(holder - 1)),
        }
    }

    /// Returns the CPU that holds the lock. **Context:** any.
    pub(crate) fn holder(&self) -> Option<CpuId> {
        self.0.load(Ordering::Acquire).checked_sub(1).map(CpuId)
    }
}

impl Default for HotplugLock {
    fn default() -> Self {
        HotplugLock::new()
    }
}

impl Drop for HotplugGuard<'_> {
    fn drop(&mut self) {
        self.0.0.store(0, Ordering::Release);
    }
}
