//! Why a command did not do what it was asked for.

use core::fmt;

use crate::bench;
use crate::console;
use crate::cpu::CpuId;
use crate::smp::hotplug::{OfflineError, OnlineError};
use crate::smp::{self, BacktraceError, CallError, Cpu};
use crate::stress::StressError;

/// Why a command did not do what it was asked for.
#[derive(Clone, Copy, Debug)]
pub enum CommandError {
    /// There is no such CPU.
    NotListed {
        /// Its number.
        cpu: CpuId,
    },
    /// A CPU that is not online is nowhere.
    NotOnline {
        /// Its number.
        cpu: CpuId,
    },
    /// A CPU does not say where it is.
    BacktraceError {
        /// Its number.
        cpu: CpuId,
        /// Why not.
        error: BacktraceError,
    },
    /// No processor goes there.
    NotCanonical {
        /// The address.
        address: u64,
    },
    /// See there.
    Offline(OfflineError),
    /// See there.
    Online(OnlineError),
    /// See there.
    Call(CallError),
    /// See there.
    Stress(StressError),
    /// A stress has failed before, and the books are no longer what they were.
    StressedOut,
    /// The kernel was told to record nothing.
    NoTrace,
    /// See there.
    Bench(bench::Failure),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::NotListed { cpu } => {
                write!(f, "there is no cpu {cpu}: {} are listed, from 0", smp::cpus().len())
            }
            CommandError::NotOnline { cpu } => write!(f, "cpu {cpu} is not online"),
            CommandError::BacktraceError { cpu, error } => write!(f, "no backtrace of cpu {cpu}: {error}"),
            CommandError::NotCanonical { address } => {
                write!(f, "{address:#x} is not canonical: its bits 63 to 47 are not all alike")
            }
            CommandError::Offline(error) => error.fmt(f),
            CommandError::Online(error) => error.fmt(f),
            CommandError::Call(error) => error.fmt(f),
            CommandError::Stress(error) => write!(f, "fail: {error}"),
            CommandError::StressedOut => {
                f.write_str("a stress has failed before: memory is not fit for another")
            }
            CommandError::NoTrace => f.write_str("nothing is recorded: the kernel was booted with trace=off"),
            CommandError::Bench(failure) => failure.fmt(f),
        }
    }
}

/// Says so, in one line.
pub fn refuse(command: &str, error: &CommandError) {
    console::print(format_args!("{command}: {error}"));
}

/// The CPU with that number.
pub fn listed(cpu: CpuId) -> Result<&'static Cpu, CommandError> {
    smp::cpus().get(cpu.index()).ok_or(CommandError::NotListed { cpu })
}
