//! Why a call does not end as it should.

use core::fmt;

use super::call::MAX_DEPTH;
use crate::apic::ApicError;
use crate::config::REQUEST_MS;
use crate::cpu::CpuId;
use crate::sync::inboxes::SLOTS;

/// Why a call was not run on every target. On all others it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Targets did not begin within [`REQUEST_MS`]; the call was taken back from them.
    Unanswered {
        /// The first of them.
        first: CpuId,
        /// How many.
        count: u32,
    },
    /// A target takes no calls: it is not online.
    Offline {
        /// The first.
        first: CpuId,
    },
    /// The interrupt to a target could not be sent.
    NotSent {
        /// The first.
        first: CpuId,
        /// Why.
        error: ApicError,
    },
    /// This CPU waits [`MAX_DEPTH`] times already, one wait inside the other.
    TooDeep,
    /// This CPU has [`SLOTS`] calls under way, and none of them ended within [`REQUEST_MS`].
    TooMany,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Unanswered { first, count: 1 } => {
                write!(f, "cpu {first} did not answer a call in {REQUEST_MS} ms")
            }
            CallError::Unanswered { first, count } => {
                write!(f, "cpu {first} and {} more did not answer a call in {REQUEST_MS} ms", count - 1)
            }
            CallError::Offline { first } => write!(f, "cpu {first} is not online and takes no calls"),
            CallError::NotSent { first, error } => write!(f, "cpu {first} could not be called: {error}"),
            CallError::TooDeep => write!(f, "{MAX_DEPTH} waits for calls lie inside each other on one CPU"),
            CallError::TooMany => {
                write!(f, "{SLOTS} calls of one CPU are under way, and none ended in {REQUEST_MS} ms")
            }
        }
    }
}
