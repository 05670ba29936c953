//! The errors of CPU hotplug.

use core::fmt;

use super::super::pinned::PinnedThreads;
use super::super::{CallError, Stage};
use super::HotplugState;
use crate::apic::ApicError;
use crate::apic::io_apic::IoApicError;
use crate::cpu::CpuId;
use crate::time::timer::TimerError;

/// Why a CPU did not go offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfflineError {
    /// The caller's interrupts are off, so it must not halt.
    InterruptsOff,
    /// The firmware lists no such CPU.
    NotListed {
        /// Its number.
        cpu: CpuId,
    },
    /// The BSP cannot go offline.
    IsBootCpu,
    /// A CPU cannot take itself offline.
    IsCaller {
        /// The CPU.
        cpu: CpuId,
    },
    /// The CPU is not online.
    NotOnline {
        /// The CPU.
        cpu: CpuId,
    },
    /// Another hotplug operation is in progress.
    Busy {
        /// The CPU that runs it.
        by: CpuId,
    },
    /// Threads may run on no other CPU. It stays online.
    Pinned {
        /// The CPU.
        cpu: CpuId,
        /// The threads.
        threads: PinnedThreads,
    },
    /// The CPU did not acknowledge the request in time. The request was withdrawn, and the CPU is online as before.
    NotAcknowledged {
        /// The CPU.
        cpu: CpuId,
        /// The time-out, in milliseconds.
        ms: u64,
    },
    /// The wake-up IPI could not be sent, and the CPU did not acknowledge the request in time. The request was withdrawn.
    NotSent {
        /// The CPU.
        cpu: CpuId,
        /// Why not.
        error: ApicError,
    },
    /// The CPU acknowledged the request but is not offline in time. It continues to go offline.
    OfflineInProgress {
        /// The CPU.
        cpu: CpuId,
        /// Its state at the time-out.
        stage: HotplugState,
        /// The time-out, in milliseconds.
        ms: u64,
    },
    /// A pending interrupt could not be delivered on the CPU. It stays online.
    InterruptPending {
        /// The CPU.
        cpu: CpuId,
        /// The time-out, in milliseconds.
        ms: u64,
    },
    /// The device interrupts could not be rerouted to the BSP. The CPU stays online.
    Lines {
        /// The CPU.
        cpu: CpuId,
        /// Why not.
        error: IoApicError,
    },
    /// The BSP has no memory to adopt the CPU's timers. The CPU stays online.
    Timers {
        /// The CPU.
        cpu: CpuId,
        /// Why not.
        error: TimerError,
    },
    /// The call that migrates the timers to the BSP failed. The CPU stays online.
    Call {
        /// The CPU.
        cpu: CpuId,
        /// Why not.
        error: CallError,
    },
}

impl fmt::Display for OfflineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OfflineError::InterruptsOff => f.write_str("a CPU cannot be taken offline with interrupts off"),
            OfflineError::NotListed { cpu } => write!(f, "there is no cpu {cpu}"),
            OfflineError::IsBootCpu => f.write_str("the BSP cannot go offline"),
            OfflineError::IsCaller { cpu } => write!(f, "cpu {cpu} cannot take itself offline"),
            OfflineError::NotOnline { cpu } => write!(f, "cpu {cpu} is not online"),
            OfflineError::Busy { by } => write!(f, "hotplug operation by cpu {by} in progress"),
            OfflineError::Pinned { cpu, threads } => {
                write!(
                    f,
                    "cpu {cpu} stays online: {threads} may run on no other CPU; Affinity::Break moves such threads"
                )
            }
            OfflineError::NotAcknowledged { cpu, ms } => {
                let stage = HotplugState::OfflinePending;
                write!(f, "cpu {cpu} did not go offline in {ms} ms, last seen {stage}")
            }
            OfflineError::NotSent { cpu, error } => {
                write!(f, "cpu {cpu} could not be asked to go offline: {error}")
            }
            OfflineError::OfflineInProgress { cpu, stage, ms } => {
                write!(f, "cpu {cpu} did not go offline in {ms} ms, last seen {stage}")
            }
            OfflineError::InterruptPending { cpu, ms } => {
                write!(f, "cpu {cpu} stays online: interrupt pending for {ms} ms")
            }
            OfflineError::Lines { cpu, error } => {
                write!(f, "cpu {cpu} stays online: device interrupts not rerouted: {error}")
            }
            OfflineError::Timers { cpu, error } => {
                write!(f, "cpu {cpu} stays online: timers not migrated: {error}")
            }
            OfflineError::Call { cpu, error } => {
                write!(f, "cpu {cpu} stays online: timers not migrated: {error}")
            }
        }
    }
}

/// Why a CPU did not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnlineError {
    /// The caller's interrupts are off, so it must not halt.
    InterruptsOff,
    /// The firmware lists no such CPU.
    NotListed {
        /// Its number.
        cpu: CpuId,
    },
    /// The CPU is online.
    IsOnline {
        /// The CPU.
        cpu: CpuId,
    },
    /// The CPU did not come online at boot. It is never restarted, since it may run anywhere.
    NeverStarted {
        /// The CPU.
        cpu: CpuId,
    },
    /// The CPU did not come online at an earlier restart. It is never restarted again.
    Failed {
        /// The CPU.
        cpu: CpuId,
    },
    /// The CPU is still going offline.
    OfflineInProgress {
        /// The CPU.
        cpu: CpuId,
        /// Its state.
        stage: HotplugState,
    },
    /// The CPU has passed its bring-up slot, but is not online in time. It will be.
    OnlineInProgress {
        /// The CPU.
        cpu: CpuId,
        /// The last bring-up stage that it has reached.
        stage: Stage,
    },
    /// Another CPU holds a permit to send the CPU an NMI and did not return it in time. The CPU is offline as before.
    NmiPending {
        /// The CPU.
        cpu: CpuId,
    },
    /// The INIT, or each start-up IPI, could not be sent. The CPU is offline as before.
    NotSent {
        /// The CPU.
        cpu: CpuId,
        /// Why not.
        error: ApicError,
    },
    /// Another hotplug operation is in progress.
    Busy {
        /// The CPU that runs it.
        by: CpuId,
    },
    /// The CPU reached no further bring-up stage in time. It is given up permanently.
    NoProgress {
        /// The CPU.
        cpu: CpuId,
        /// The last bring-up stage that it has reached.
        stage: Stage,
        /// The time-out, in milliseconds.
        ms: u64,
    },
}

impl fmt::Display for OnlineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OnlineError::InterruptsOff => f.write_str("a CPU cannot be brought online with interrupts off"),
            OnlineError::NotListed { cpu } => write!(f, "there is no cpu {cpu}"),
            OnlineError::IsOnline { cpu } => write!(f, "cpu {cpu} is online"),
            OnlineError::NeverStarted { cpu } => {
                write!(f, "cpu {cpu} did not start at boot and cannot be restarted")
            }
            OnlineError::Failed { cpu } => {
                write!(f, "cpu {cpu} failed to come online before and cannot be restarted")
            }
            OnlineError::OfflineInProgress { cpu, stage } => {
                write!(f, "cpu {cpu} is still going offline: {stage}")
            }
            OnlineError::OnlineInProgress { cpu, stage } => {
                write!(f, "cpu {cpu} is not online yet, in stage {stage}")
            }
            OnlineError::NmiPending { cpu } => write!(f, "cpu {cpu} is being sent an NMI"),
            OnlineError::NotSent { cpu, error } => write!(f, "cpu {cpu} could not be restarted: {error}"),
            OnlineError::Busy { by } => write!(f, "hotplug operation by cpu {by} in progress"),
            OnlineError::NoProgress { cpu, stage, ms } => {
                write!(
                    f,
                    "cpu {cpu} did not come online: timed out in stage {stage} (no progress for {ms} ms)"
                )
            }
        }
    }
}
