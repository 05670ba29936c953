//! Records of warnings, which do not end the run.

use serde::{Deserialize, Serialize};

use super::LockWait;

/// A warning about a CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning<S> {
    /// The CPU.
    pub cpu: u32,
    /// The source: `call`; `watchdog`; `timer`; `lock` if the CPU waits for a spin lock; `lock_holder` if another CPU waits for a
    /// lock that this CPU holds; `machine_check` for a corrected error;
    /// `affinity` for a thread that lost its affinity to CPUs that are offline.
    pub kind: S,
    /// The message, without a full stop.
    pub message: S,
    /// The instruction that an NMI interrupted, or the timer callback that took too long; `None` if the CPU did not respond to the
    /// NMI, and for a corrected error.
    pub rip: Option<u64>,
    /// The run-time address minus the address in the kernel's ELF file.
    pub slide: u64,
    /// Its wait for a spin lock, if it waits for one.
    pub wait: Option<LockWait<S>>,
}

/// A return address on the stack of the CPU of the last [`Warning`] with this CPU number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WarningFrame {
    /// The CPU.
    pub cpu: u32,
    /// The run-time address.
    pub address: u64,
}
