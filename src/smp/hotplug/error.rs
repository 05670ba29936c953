//! Why a CPU did not go offline, or did not come back.

use core::fmt;

use super::super::{CallError, Stage};
use super::HotplugState;
use crate::apic::ApicError;
use crate::apic::io_apic::IoApicError;
use crate::cpu::CpuId;
use crate::time::timer::TimerError;

/// Why a CPU did not go offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfflineError {
    /// The caller's interrupts are off, so it must not wait.
    InterruptsOff,
    /// There is no such CPU.
    NotListed {
        /// The number.
        cpu: CpuId,
    },
    /// The boot processor stays.
    IsBootCpu,
    /// A CPU is asked by another.
    IsCaller {
        /// It.
        cpu: CpuId,
    },
    /// It is not online.
    NotOnline {
        /// The CPU.
        cpu: CpuId,
    },
    /// Another CPU takes one off or brings one back at the moment.
    Busy {
        /// Which.
        by: CpuId,
    },
    /// It did not acknowledge the request in time, which was withdrawn.
    NotAcknowledged {
        /// The CPU.
        cpu: CpuId,
        /// How long was waited.
        ms: u64,
    },
    /// It could not be interrupted, and did not notice the request by itself in time. The request was withdrawn.
    NotSent {
        /// The CPU.
        cpu: CpuId,
        /// Why not.
        error: ApicError,
    },
    /// It acknowledged the request and is late: it is still on its way.
    StillLeaving {
        /// The CPU.
        cpu: CpuId,
        /// How far it came.
        stage: HotplugState,
        /// How long was waited.
        ms: u64,
    },
    /// It has an interrupt pending that it cannot take.
    InterruptPending {
        /// The CPU.
        cpu: CpuId,
        /// How long it tried.
        ms: u64,
    },
    /// Device interrupts could not be moved to the boot processor.
    Lines {
        /// The CPU.
        cpu: CpuId,
        /// Why not.
        error: IoApicError,
    },
    /// The boot processor has no room for one more timer.
    Timers {
        /// The CPU.
        cpu: CpuId,
        /// Why not.
        error: TimerError,
    },
    /// The boot processor could not be asked to serve the CPU's timers.
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
            OfflineError::InterruptsOff => {
                f.write_str("no CPU is taken offline from where interrupts are off")
            }
            OfflineError::NotListed { cpu } => write!(f, "there is no cpu {cpu}"),
            OfflineError::IsBootCpu => f.write_str("the BSP cannot go offline"),
            OfflineError::IsCaller { cpu } => write!(f, "cpu {cpu} cannot take itself offline"),
            OfflineError::NotOnline { cpu } => write!(f, "cpu {cpu} is not online"),
            OfflineError::Busy { by } => write!(f, "cpu {by} takes a CPU offline or brings one back"),
            OfflineError::NotAcknowledged { cpu, ms } => {
                let stage = HotplugState::OfflinePending;
                write!(f, "cpu {cpu} did not go offline in {ms} ms, last seen {stage}")
            }
            OfflineError::NotSent { cpu, error } => {
                write!(f, "cpu {cpu} could not be asked to go offline: {error}")
            }
            OfflineError::StillLeaving { cpu, stage, ms } => {
                write!(f, "cpu {cpu} did not go offline in {ms} ms, last seen {stage}")
            }
            OfflineError::InterruptPending { cpu, ms } => {
                write!(f, "cpu {cpu} stays online: an interrupt has been pending for {ms} ms")
            }
            OfflineError::Lines { cpu, error } => write!(f, "cpu {cpu} keeps its device interrupts: {error}"),
            OfflineError::Timers { cpu, error } => write!(f, "cpu {cpu} keeps its timers: {error}"),
            OfflineError::Call { cpu, error } => write!(f, "cpu {cpu} keeps its timers: {error}"),
        }
    }
}

/// Why a CPU did not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnlineError {
    /// The caller's interrupts are off, so it must not wait.
    InterruptsOff,
    /// There is no such CPU.
    NotListed {
        /// The number.
        cpu: CpuId,
    },
    /// It is online.
    IsOnline {
        /// The CPU.
        cpu: CpuId,
    },
    /// It did not come at boot, so nobody knows where it stands.
    NeverCame {
        /// The CPU.
        cpu: CpuId,
    },
    /// It has not come back when it was called before.
    GivenUp {
        /// The CPU.
        cpu: CpuId,
    },
    /// It has not gone yet.
    StillLeaving {
        /// The CPU.
        cpu: CpuId,
        /// How far it is.
        stage: HotplugState,
    },
    /// It is past its bring-up slot and will be online, but is not yet.
    StillReturning {
        /// The CPU.
        cpu: CpuId,
        /// Where it was last seen.
        stage: Stage,
    },
    /// Another CPU is about to send it an NMI, and has not finished in time.
    NmiPending {
        /// The CPU.
        cpu: CpuId,
    },
    /// No INIT or start-up interrupt could be sent. It is offline as before.
    NotSent {
        /// The CPU.
        cpu: CpuId,
        /// Why not.
        error: ApicError,
    },
    /// Another CPU takes one off or brings one back at the moment.
    Busy {
        /// Which.
        by: CpuId,
    },
    /// It has not come, and reached no further stage in time.
    DidNotCome {
        /// The CPU.
        cpu: CpuId,
        /// Where it was last seen.
        stage: Stage,
        /// How long was waited.
        ms: u64,
    },
}

impl fmt::Display for OnlineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OnlineError::InterruptsOff => {
                f.write_str("no CPU is brought online from where interrupts are off")
            }
            OnlineError::NotListed { cpu } => write!(f, "there is no cpu {cpu}"),
            OnlineError::IsOnline { cpu } => write!(f, "cpu {cpu} is online"),
            OnlineError::NeverCame { cpu } => {
                write!(f, "cpu {cpu} did not come at boot and is not called again")
            }
            OnlineError::GivenUp { cpu } => {
                write!(f, "cpu {cpu} did not come back before and is not called again")
            }
            OnlineError::StillLeaving { cpu, stage } => {
                write!(f, "cpu {cpu} has not gone yet, last seen {stage}")
            }
            OnlineError::StillReturning { cpu, stage } => {
                write!(f, "cpu {cpu} is not back yet, last seen in stage {stage}")
            }
            OnlineError::NmiPending { cpu } => write!(f, "cpu {cpu} is being sent an NMI"),
            OnlineError::NotSent { cpu, error } => write!(f, "cpu {cpu} could not be restarted: {error}"),
            OnlineError::Busy { by } => write!(f, "cpu {by} takes a CPU offline or brings one back"),
            OnlineError::DidNotCome { cpu, stage, ms } => {
                write!(f, "cpu {cpu} did not come back: last seen in stage {stage}, no progress for {ms} ms")
            }
        }
    }
}
