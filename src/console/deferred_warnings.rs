//! Warnings about a CPU that malfunctions while the run continues, and the queue of those that could not be written at once.
//! Any context may send one, also a CPU that waits for the console's lock, so the queue is lock-free, as that of lines is.

use core::sync::atomic::{AtomicU64, Ordering};

use super::LineBuffer;
use super::deferred::DeferredQueue;
use crate::sync::LockWait;
use crate::wire::{MAX_FRAME_BYTES, MAX_RECORD_BYTES};

/// The most return addresses of a warning.
pub(crate) const MAX_FRAMES: usize = 32;

/// The longest record of a return address: its JSON, its frame, and the end of the line.
const MAX_FRAME_RECORD_BYTES: usize =
    r#"{"warning_frame":{"cpu":4294967295,"address":18446744073709551615}}"#.len() + MAX_FRAME_BYTES + 2;

/// The longest warning with all its records. They are appended under one lock, so that records of two warnings do not mix.
pub(super) const MAX_WARNING_BYTES: usize = MAX_RECORD_BYTES + 2 + MAX_FRAMES * MAX_FRAME_RECORD_BYTES;

/// A warning about a CPU.
#[derive(Clone)]
pub(crate) struct Warning {
    /// The CPU.
    pub cpu: u32,
    /// The detector: see [`Warning::kind`](crate::wire::Warning::kind).
    pub kind: &'static str,
    /// The message, without a full stop.
    pub message: LineBuffer<120>,
    /// The spin lock that the CPU waits for.
    pub wait: Option<LockWait>,
    /// The CPU's RIP, if known.
    pub rip: Option<u64>,
    /// The KASLR slide: an address minus this is that in the ELF file.
    pub slide: u64,
    /// The return addresses on the CPU's stack, innermost first.
    pub frames: heapless::Vec<u64, MAX_FRAMES>,
}

/// Warnings that could not be written at once.
static DEFERRED: DeferredQueue<Warning, 32> = DeferredQueue::new();

/// The number of deferred warnings.
static WAITING: AtomicU64 = AtomicU64::new(0);

/// Defers a warning. Returns `false` if there is no room.
pub(super) fn push(warning: Warning) -> bool {
    let is_deferred = DEFERRED.push(warning).is_ok();
    if is_deferred {
        // Counted after the push: see `logger::write_deferred`.
        WAITING.fetch_add(1, Ordering::Relaxed);
    }
    is_deferred
}

/// Takes the oldest deferred warning.
pub(super) fn pop() -> Option<Warning> {
    let warning = DEFERRED.pop()?;
    WAITING.fetch_sub(1, Ordering::Relaxed);
    Some(warning)
}

/// Whether there are deferred warnings.
pub(super) fn has_any() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}
