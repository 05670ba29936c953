//! CPUs that wait for a spin lock.

use serde::{Deserialize, Serialize};

/// What is known of a CPU's wait for a spin lock. Places are `file:line`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LockWait<S> {
    /// The lock's name.
    pub lock: S,
    /// Where the CPU waits.
    pub at: Option<S>,
    /// Since when, in nanoseconds of the kernel's clock; 0 if the wait had only just begun.
    pub since_ns: u64,
    /// How long the wait had taken by then, in nanoseconds.
    pub waited_ns: u64,
    /// The CPU that holds the lock, if one did when the waiting CPU last looked.
    pub holder: Option<u32>,
    /// Where the holder took the lock.
    pub held_at: Option<S>,
}
