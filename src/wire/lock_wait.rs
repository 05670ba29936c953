//! Waits for spin locks.

use serde::{Deserialize, Serialize};

/// A CPU's wait for a spin lock. Source locations are `file:line`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LockWait<S> {
    /// The lock's name.
    pub lock: S,
    /// The source location of the wait.
    pub at: Option<S>,
    /// The start of the wait, in nanoseconds of the kernel's clock; 0 if it has not been recorded yet.
    pub since_ns: u64,
    /// The duration of the wait so far, in nanoseconds.
    pub waited_ns: u64,
    /// The lock holder at the waiting CPU's last check, if there was one.
    pub holder: Option<u32>,
    /// The source location at which the holder acquired the lock.
    pub held_at: Option<S>,
}
