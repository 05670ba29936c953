//! The words of the scheduler's trace events.

use serde::{Deserialize, Serialize};

/// Why a CPU leaves a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum LeaveReason {
    /// It gives up the CPU by `yield_now`.
    Yielded = 0,
    /// Another thread runs before it.
    Preempted = 1,
    /// It may not run on this CPU any more.
    Moved = 2,
    /// It waits for an `unpark`.
    Parked = 3,
    /// It waits for an event.
    Blocked = 4,
    /// It has ended.
    Ended = 5,
}

impl LeaveReason {
    /// All reasons.
    pub const ALL: [LeaveReason; 6] = [
        LeaveReason::Yielded,
        LeaveReason::Preempted,
        LeaveReason::Moved,
        LeaveReason::Parked,
        LeaveReason::Blocked,
        LeaveReason::Ended,
    ];

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            LeaveReason::Yielded => "yielded",
            LeaveReason::Preempted => "preempted",
            LeaveReason::Moved => "moved",
            LeaveReason::Parked => "parked",
            LeaveReason::Blocked => "blocked",
            LeaveReason::Ended => "ended",
        }
    }
}

/// The thread in a word of an event; `None` is the CPU's own, which runs while there is no other.
pub const fn thread_in(word: u64) -> Option<u64> {
    if word == NO_THREAD { None } else { Some(word) }
}

/// The word of a CPU's own thread.
pub const NO_THREAD: u64 = u64::MAX;

/// The first bit of the reason in the word of a [`ThreadLeft`].
const REASON_SHIFT: u32 = 56;

/// The thread that a CPU leaves, and why: the second word of [`ThreadSwitch`](super::TraceEvent::ThreadSwitch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadLeft {
    /// Its number.
    pub thread: u64,
    /// Why.
    pub reason: LeaveReason,
}

impl ThreadLeft {
    /// Returns the word.
    pub const fn word(self) -> u64 {
        self.thread & ((1 << REASON_SHIFT) - 1) | (self.reason as u64) << REASON_SHIFT
    }

    /// Returns what a word means; `None` if the CPU has left its own thread.
    pub fn from_word(word: u64) -> Option<ThreadLeft> {
        let reason = *LeaveReason::ALL.get((word >> REASON_SHIFT) as usize)?;
        Some(ThreadLeft { thread: word & ((1 << REASON_SHIFT) - 1), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_the_thread_and_the_reason() {
        for reason in LeaveReason::ALL {
            for thread in [0, 7, (1 << REASON_SHIFT) - 1] {
                let left = ThreadLeft { thread, reason };
                assert_eq!(ThreadLeft::from_word(left.word()), Some(left));
            }
        }
        assert_eq!(ThreadLeft::from_word(NO_THREAD), None);
        assert_eq!((thread_in(NO_THREAD), thread_in(3)), (None, Some(3)));
    }
}
