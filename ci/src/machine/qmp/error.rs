//! The errors of QEMU's machine protocol.

use std::io;
use std::time::Instant;

use serde_json::Value;

/// The reason why QEMU gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket failed, or the deadline passed.
    #[error("QMP: {0}")]
    Io(#[from] io::Error),
    /// An answer that is no JSON.
    #[error("QMP sent invalid JSON: {0}")]
    Garbled(#[from] serde_json::Error),
    /// QEMU has not connected, or not greeted yet.
    #[error("QMP: QEMU is not connected")]
    NotConnected,
    /// QEMU closed the connection.
    #[error("QMP: QEMU closed the connection")]
    Closed,
    /// QEMU refused the command.
    #[error("QMP refused {command}: {answer}")]
    Refused {
        /// The command.
        command: String,
        /// The answer of QEMU.
        answer: Value,
    },
}

/// The time that is left; a timeout of zero would mean none at all.
pub(crate) fn left(deadline: Instant) -> io::Result<std::time::Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}
