//! The lock of hotplug operations.

use super::super::{cpus, wake};
use crate::sync::hotplug::HotplugLock;

/// The lock of hotplug operations.
pub(super) static LOCK: HotplugLock = HotplugLock::new();

/// Returns whether a hotplug operation is in progress. **Context:** any.
#[cfg(feature = "faults")]
pub(crate) fn is_operation_active() -> bool {
    LOCK.holder().is_some()
}

/// Wakes the CPU that runs the current hotplug operation.
pub(super) fn wake_requester() {
    if let Some(requester) = LOCK.holder() {
        wake::wake_waiter(&cpus()[requester.index()]);
    }
}
