//! Errors of commands.

use core::fmt;

use crate::bench;
use crate::console;
use crate::cpu::CpuId;
use crate::smp::hotplug::{OfflineError, OnlineError};
use crate::smp::{self, BacktraceError, CallError, Cpu};
use crate::stress::StressError;

/// Why a command failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CommandError {
    /// There is no such CPU.
    NotListed {
        /// Its number.
        cpu: CpuId,
    },
    /// The CPU is not online.
    NotOnline {
        /// Its number.
        cpu: CpuId,
    },
    /// There is no thread of this number.
    NoThread {
        /// The number.
        id: u64,
    },
    /// There is no backtrace of the CPU.
    NoBacktrace {
        /// Its number.
        cpu: CpuId,
        /// The reason.
        error: BacktraceError,
    },
    /// The address is not canonical.
    NotCanonical {
        /// The address.
        address: u64,
    },
    /// `offline` failed.
    Offline(OfflineError),
    /// `online` failed.
    Online(OnlineError),
    /// A call failed.
    Call(CallError),
    /// `stress` failed.
    Stress(StressError),
    /// A stress has failed before, so the state of memory is not known.
    StressFailedBefore,
    /// The kernel was booted with `trace=off`.
    NoTrace,
    /// `bench` failed.
    Bench(bench::BenchError),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::NotListed { cpu } => {
                write!(f, "there is no cpu {cpu}: {} are listed, from 0", smp::cpus().len())
            }
            CommandError::NotOnline { cpu } => write!(f, "cpu {cpu} is not online"),
            CommandError::NoThread { id } => {
                write!(f, "there is no thread {id}, or it has ended; `threads` lists them")
            }
            CommandError::NoBacktrace { cpu, error } => write!(f, "no backtrace of cpu {cpu}: {error}"),
            CommandError::NotCanonical { address } => {
                write!(f, "{address:#x} is not canonical: its bits 63 to 47 are not all alike")
            }
            CommandError::Offline(OfflineError::Pinned { cpu, threads }) => {
                write!(
                    f,
                    "cpu {cpu} stays online: {threads} may run on no other CPU; `offline {cpu} break` moves such threads"
                )
            }
            CommandError::Offline(error) => error.fmt(f),
            CommandError::Online(error) => error.fmt(f),
            CommandError::Call(error) => error.fmt(f),
            CommandError::Stress(error) => write!(f, "fail: {error}"),
            CommandError::StressFailedBefore => {
                f.write_str("a stress has failed before: the state of memory is not known")
            }
            CommandError::NoTrace => f.write_str("nothing is recorded: the kernel was booted with trace=off"),
            CommandError::Bench(failure) => failure.fmt(f),
        }
    }
}

/// Reports an error of a command, in one line.
pub(crate) fn report(command: &str, error: &CommandError) {
    console::print(format_args!("{command}: {error}"));
}

/// The CPU with this number.
///
/// # Errors
/// There is none.
pub(crate) fn listed(cpu: CpuId) -> Result<&'static Cpu, CommandError> {
    smp::cpus().get(cpu.index()).ok_or(CommandError::NotListed { cpu })
}
