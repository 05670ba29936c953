//! What can be wrong about timers.

use core::fmt;

use crate::cpu::CpuId;
use crate::time::timer::TimerError;

/// What a timer did wrong.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// There is no memory for the books.
    OutOfMemory,
    /// A timer could not be armed.
    Arm(TimerError),
    /// A timer expired before its time.
    Early {
        /// Its CPU.
        cpu: CpuId,
        /// By so much.
        ns: u64,
    },
    /// Timers that never expired, within so long that the host cannot be the reason.
    Lost {
        /// Their CPU.
        cpu: CpuId,
        /// How many.
        timers: u64,
    },
    /// A timer that expired on another CPU than the one that armed it.
    Astray {
        /// Whose it was.
        cpu: CpuId,
    },
    /// A timer's expiries and successful cancellations together are not one.
    NotOnce {
        /// Its CPU.
        cpu: CpuId,
        /// How often it expired.
        expired: u32,
        /// How often it was cancelled.
        cancelled: u32,
    },
    /// A queue kept timers, or memory, that nobody needs.
    Left {
        /// Its CPU.
        cpu: CpuId,
        /// How many timers.
        timers: usize,
    },
    /// Timers that expired are not among those whose lateness is counted.
    Uncounted {
        /// Their CPU.
        cpu: CpuId,
        /// How many expired.
        expired: u64,
        /// How many are counted.
        counted: u64,
    },
    /// A CPU with nothing to do took timer interrupts.
    NotIdle {
        /// Which.
        cpu: CpuId,
        /// How many.
        interrupts: u64,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::OutOfMemory => f.write_str("no memory for the timers' books"),
            Failure::Arm(error) => error.fmt(f),
            Failure::Early { cpu, ns } => write!(f, "cpu {cpu}: a timer expired {ns} ns early"),
            Failure::Lost { cpu, timers } => write!(f, "cpu {cpu}: {timers} timers did not expire"),
            Failure::Astray { cpu } => write!(f, "a timer of cpu {cpu}'s expired on another"),
            Failure::NotOnce { cpu, expired, cancelled } => {
                write!(f, "cpu {cpu}: a timer expired {expired} times and was cancelled {cancelled} times")
            }
            Failure::Left { cpu, timers } => write!(f, "cpu {cpu}: {timers} timers are left"),
            Failure::Uncounted { cpu, expired, counted } => {
                write!(f, "cpu {cpu}: {expired} timers expired, and the lateness of {counted} is counted")
            }
            Failure::NotIdle { cpu, interrupts } => {
                write!(f, "cpu {cpu} had nothing to do and took {interrupts} timer interrupts")
            }
        }
    }
}
