//! The errors of the local APIC.

use core::fmt;

use crate::cpu::ApicId;
use crate::memory::MapError;

/// An error of the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApicError {
    /// The registers cannot be mapped.
    Map(MapError),
    /// The message was not sent: the ICR stayed busy with the previous one.
    NotDelivered {
        /// The target.
        to: ApicId,
        /// The time that the sender has waited, in milliseconds, including earlier messages of the batch.
        waited_ms: u64,
    },
    /// An NMI handler must not send: it may have interrupted the code that sends.
    InNmi,
}

impl fmt::Display for ApicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApicError::Map(error) => write!(f, "local APIC registers: {error}"),
            ApicError::NotDelivered { to, waited_ms } => {
                write!(f, "IPI to APIC ID {to} not sent: ICR busy for {waited_ms} ms")
            }
            ApicError::InNmi => f.write_str("IPI not sent: in an NMI handler"),
        }
    }
}
