//! How far a CPU is on its way out, and why one did not go or come.

use core::fmt;

use super::super::{CallError, Stage};
use crate::apic::io_apic::IoApicError;
use crate::cpu::CpuId;
use crate::time::timer::TimerError;

/// How far a CPU is on its way out; the order is that of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Departure {
    /// Nobody has asked it to go.
    Here,
    /// It has been asked.
    Asked,
    /// It has noticed and stopped working; no device interrupts it any more.
    Noticed,
    /// It takes no calls, and all that came before have been run.
    Closed,
    /// Its timer is still, and no interrupt waits.
    Quiet,
    /// Its timers are another's, its frames are back: it is about to halt.
    Settled,
    /// It halts with interrupts off and touches nothing.
    Gone,
    /// It could not go and is back at work.
    Refused,
    /// It was called back and did not come in time: it never will.
    Lost,
}

impl Departure {
    /// All of them, in their order.
    pub const ALL: [Departure; 9] = [
        Departure::Here,
        Departure::Asked,
        Departure::Noticed,
        Departure::Closed,
        Departure::Quiet,
        Departure::Settled,
        Departure::Gone,
        Departure::Refused,
        Departure::Lost,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Departure::Here => "here",
            Departure::Asked => "asked",
            Departure::Noticed => "noticed",
            Departure::Closed => "closed",
            Departure::Quiet => "quiet",
            Departure::Settled => "settled",
            Departure::Gone => "gone",
            Departure::Refused => "refused",
            Departure::Lost => "lost",
        }
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

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
    /// It did not go in time.
    DidNotLeave {
        /// The CPU.
        cpu: CpuId,
        /// How far it came. At [`Departure::Asked`] it was not asked any longer; anywhere else it may still go.
        stage: Departure,
        /// How long was waited.
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
            OfflineError::IsBootCpu => f.write_str("the boot processor cannot go offline"),
            OfflineError::IsCaller { cpu } => write!(f, "cpu {cpu} cannot take itself offline"),
            OfflineError::NotOnline { cpu } => write!(f, "cpu {cpu} is not online"),
            OfflineError::Busy { by } => write!(f, "cpu {by} takes a CPU offline or brings one back"),
            OfflineError::DidNotLeave { cpu, stage, ms } => {
                write!(f, "cpu {cpu} did not go offline in {ms} ms, last seen {stage}")
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
        stage: Departure,
    },
    /// Another CPU takes one off or brings one back at the moment.
    Busy {
        /// Which.
        by: CpuId,
    },
    /// It did not come in time.
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
            OnlineError::Busy { by } => write!(f, "cpu {by} takes a CPU offline or brings one back"),
            OnlineError::DidNotCome { cpu, stage, ms } => {
                write!(f, "cpu {cpu} did not come back in {ms} ms, last seen in stage {stage}")
            }
        }
    }
}
