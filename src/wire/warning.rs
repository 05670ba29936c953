//! What is wrong and does not end the run.

use serde::{Deserialize, Serialize};

use super::LockWait;

/// A CPU that is not doing what it should.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning<S> {
    /// The CPU.
    pub cpu: u32,
    /// Who noticed: `call`, `watchdog`, `timer`, `lock` where the CPU itself waits for a spin lock, `lock_holder` where another CPU
    /// waits for a lock that this CPU holds, or `machine_check` for an error that the processor had corrected.
    pub kind: S,
    /// What is wrong, without a full stop.
    pub message: S,
    /// The instruction at which an NMI interrupted it, or the timer callback that took too long; absent if it did not answer the
    /// NMI, and for a corrected error.
    pub rip: Option<u64>,
    /// What to subtract from an address to find it in the kernel's ELF file.
    pub slide: u64,
    /// The spin lock that it waits for, if it does.
    pub wait: Option<LockWait<S>>,
}

/// A return address on the stack of the CPU that the last [`Warning`] of that number spoke of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WarningFrame {
    /// The CPU.
    pub cpu: u32,
    /// The address as the CPU had it.
    pub address: u64,
}
