//! The holder of a lock, and the call site that took it.

use core::panic::Location;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::lock_class::LockClass;
use super::queued::QueuedLock;
use super::wait::Site;
use crate::cpu::CpuId;

/// The state of a lock without its value: its holder and the call site that took it.
///
/// The holder costs nothing: taking the lock stores some word in any case, and a CPU's own word loads as fast as a
/// constant. The call site costs two instructions.
#[repr(C)]
pub struct LockOwner {
    pub(super) lock: QueuedLock,
    /// The [`Site`] that last took the lock. The holder writes it; other CPUs read it for reports only.
    held_at: AtomicUsize,
    pub(super) class: LockClass,
}

impl LockOwner {
    #[cfg_attr(feature = "checked", track_caller)]
    pub(super) const fn new() -> LockOwner {
        LockOwner::of(LockClass::here())
    }

    /// That of a lock of a class.
    pub(super) const fn of(class: LockClass) -> LockOwner {
        LockOwner { lock: QueuedLock::new(), held_at: AtomicUsize::new(0), class }
    }

    /// Returns the CPU that holds the lock, if one does. **Context:** any.
    pub fn get(&self) -> Option<CpuId> {
        self.lock.holder().map(CpuId)
    }

    /// Returns the call site that last took the lock. Just after it was taken, this may still be the previous one.
    /// **Context:** any.
    pub fn site(&self) -> Site {
        // SAFETY: only `record_site` stores, and it stores a site's bits.
        unsafe { Site::from_bits(self.held_at.load(Ordering::Relaxed)) }
    }

    #[inline(always)]
    pub(super) fn record_site(&self, location: &'static Location<'static>) {
        self.held_at.store(Site::of(location).bits(), Ordering::Relaxed);
    }
}
