//! What may go wrong when CPUs go offline and come back.

use core::fmt;

use crate::cpu::CpuId;
use crate::memory::frames::Invalid;
use crate::smp::CallError;
use crate::smp::hotplug::{OfflineError, OnlineError};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A CPU did not go.
    Offline(OfflineError),
    /// A CPU did not come back.
    Online(OnlineError),
    /// What should have been refused was not, or not with this error.
    Refusal {
        /// What was tried.
        what: &'static str,
    },
    /// Who is online is not as it should be.
    Ranks {
        /// After which CPU went or came.
        cpu: CpuId,
    },
    /// A line still interrupts a CPU that is offline.
    Lines {
        /// The CPU.
        cpu: CpuId,
    },
    /// A call failed.
    Call {
        /// The caller.
        cpu: CpuId,
        /// The error.
        error: CallError,
    },
    /// Calls to a CPU, or timers of its, did not come out even.
    Count {
        /// The CPU.
        cpu: CpuId,
        /// Of what.
        what: &'static str,
        /// How many there should be.
        sent: u64,
        /// How many were run.
        ran: u64,
    },
    /// CPUs did not go as often as they were taken off.
    Departures {
        /// How often one was taken off.
        asked: u32,
        /// How often one was away.
        away: u64,
    },
    /// Frames did not come back.
    Frames {
        /// How many were free before.
        before: u64,
        /// How many are now.
        after: u64,
    },
    /// The allocator's books.
    Books(Invalid),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Offline(error) => error.fmt(f),
            Failure::Online(error) => error.fmt(f),
            Failure::Refusal { what } => write!(f, "{what} was not refused as it should be"),
            Failure::Ranks { cpu } => {
                write!(f, "the list of online CPUs is wrong after cpu {cpu} went or came")
            }
            Failure::Lines { cpu } => write!(f, "device interrupts still go to cpu {cpu}, which is offline"),
            Failure::Call { cpu, error } => write!(f, "a call of cpu {cpu}'s: {error}"),
            Failure::Count { cpu, what, sent, ran } => {
                write!(f, "cpu {cpu} should have run {sent} {what}, and {ran} were run")
            }
            Failure::Departures { asked, away } => {
                write!(f, "CPUs were taken offline {asked} times, and were away {away} times")
            }
            Failure::Frames { before, after } => {
                write!(f, "{before} frames were free before CPUs went and came, and {after} after that")
            }
            Failure::Books(invalid) => write!(f, "the allocator's books are wrong: {invalid}"),
        }
    }
}
