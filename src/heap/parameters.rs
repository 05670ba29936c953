//! The parameters of the heap.

use crate::{named, parameters};

named! {
    /// Whether the heap checks objects.
    pub enum HeapChecks {
        /// It refuses frees of what is not an object.
        Off = "off",
        /// Objects have red zones and call sites, and free objects a poison.
        On = "on",
    }
}

/// The class of the static keys ([`static_key`](crate::cpu::static_key)) that are jumps if the heap is checked. Those of the trace are small
/// numbers.
#[cfg(target_os = "none")]
pub(crate) const CHECKED_KEY: u32 = u32::MAX;

parameters! {
    /// The parameters of the heap.
    pub struct HeapParameters {
        /// Whether objects of the heap have red zones, poison after their free, and call sites.
        pub checked: HeapChecks = HeapChecks::Off, "heap.checked";
    }
}
