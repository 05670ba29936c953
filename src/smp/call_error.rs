//! The errors of calls between CPUs.

use core::fmt;

use crate::apic::ApicError;
use crate::config::IPI_CALL_TIMEOUT_MS;
use crate::cpu::CpuId;
use crate::sync::call_queue::SLOTS;

/// The most nested waits of one CPU. A CPU that waits runs the calls of other CPUs, which may wait in turn. The main
/// stack has room for so many, also in a kernel without optimisation, and for a panic in the innermost.
pub const MAX_DEPTH: u32 = 4;

/// Why a call was not run on every target. All targets that the error does not concern have run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Targets did not begin the call within [`IPI_CALL_TIMEOUT_MS`]. It was withdrawn from them and never runs there.
    Unanswered {
        /// The first of them.
        first: CpuId,
        /// Their number.
        count: u32,
    },
    /// A target is not online and takes no calls.
    Offline {
        /// The first such target.
        first: CpuId,
    },
    /// The IPI to a target could not be sent.
    NotSent {
        /// The first such target.
        first: CpuId,
        /// Why not.
        error: ApicError,
    },
    /// This CPU already has [`MAX_DEPTH`] nested waits. No target runs the call.
    TooDeep,
    /// This CPU has [`SLOTS`] pending calls, and none ended within [`IPI_CALL_TIMEOUT_MS`]. No target runs the call.
    TooMany,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Unanswered { first, count: 1 } => {
                write!(f, "cpu {first} did not answer a call in {IPI_CALL_TIMEOUT_MS} ms")
            }
            CallError::Unanswered { first, count } => {
                write!(
                    f,
                    "cpu {first} and {} more did not answer a call in {IPI_CALL_TIMEOUT_MS} ms",
                    count - 1
                )
            }
            CallError::Offline { first } => write!(f, "cpu {first} is not online and takes no calls"),
            CallError::NotSent { first, error } => write!(f, "cpu {first} could not be called: {error}"),
            CallError::TooDeep => write!(f, "more than {MAX_DEPTH} nested waits for calls on one CPU"),
            CallError::TooMany => {
                write!(f, "{SLOTS} calls of one CPU are pending, none completed in {IPI_CALL_TIMEOUT_MS} ms")
            }
        }
    }
}
