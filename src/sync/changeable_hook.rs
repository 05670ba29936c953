//! Hooks that change while they are used.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A hook as [`Hook`](super::Hook) that may change while it is used: a reference.
pub(crate) struct ChangeableHook<T: 'static>(AtomicPtr<T>);

impl<T: Sync> ChangeableHook<T> {
    /// Creates a hook that is not set.
    pub(crate) const fn new() -> ChangeableHook<T> {
        ChangeableHook(AtomicPtr::new(ptr::null_mut()))
    }

    /// Sets the hook. **Context:** any.
    pub(crate) fn set(&self, value: &'static T) {
        self.0.store(ptr::from_ref(value).cast_mut(), Ordering::Release);
    }

    /// Returns what was set last, if anything was. **Context:** any.
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: the pointer must be null or that of a valid value: `set` alone stores it, a reference for ever.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }
}
