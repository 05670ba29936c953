//! What goes wrong while a workload runs.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;

use super::owners::OwnershipViolation;
use super::source::uninterrupted;
use crate::memory::frames::{FrameNumber, FreeError, Order};

/// What went wrong in a workload: the first thing in full, the rest as a count.
pub struct FailureLog {
    doubled: AtomicU64,
    first: Mutex<Option<Failure>>,
}

/// One thing that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A frame is not whose it should be.
    OwnershipViolation(OwnershipViolation),
    /// Frames that nobody held could not be obtained.
    Stranded {
        /// How many were taken.
        taken: u64,
        /// How many there were.
        free: u64,
    },
    /// A run does not start where its order allows.
    Misaligned {
        /// Its first frame.
        frame: FrameNumber,
        /// Its order.
        order: Order,
    },
    /// A run was handed out although no two free frames were neighbours.
    FromNowhere {
        /// Its first frame.
        frame: FrameNumber,
        /// Its order.
        order: Order,
    },
    /// The allocator would not take a frame back.
    Refused(FreeError),
    /// A CPU did not go offline when it was asked.
    Stayed {
        /// Its number.
        cpu: u32,
    },
    /// A CPU is stuck going offline, or could not be asked.
    Stuck {
        /// Its number.
        cpu: u32,
        /// The step of its departure that it was last seen at.
        stage: &'static str,
    },
    /// A CPU did not come back.
    Gone {
        /// Its number.
        cpu: u32,
        /// The stage of its start that it was last seen at.
        stage: &'static str,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::OwnershipViolation(doubled) => doubled.fmt(f),
            Failure::Stranded { taken, free } => {
                write!(f, "all CPUs together obtained {taken} frames of {free} that were free")
            }
            Failure::Misaligned { frame, order } => write!(f, "{frame} was handed out at {order}"),
            Failure::FromNowhere { frame, order } => {
                write!(f, "{frame} was handed out at {order} while every second frame was in use")
            }
            Failure::Refused(error) => write!(f, "the allocator refused a frame: {error}"),
            Failure::Stayed { cpu } => write!(f, "cpu {cpu} did not go offline"),
            Failure::Stuck { cpu, stage } => {
                write!(f, "cpu {cpu} is stuck going offline, last seen {stage}")
            }
            Failure::Gone { cpu, stage } => write!(f, "cpu {cpu} did not come back, last seen {stage}"),
        }
    }
}

impl FailureLog {
    /// None so far.
    pub const fn new() -> FailureLog {
        FailureLog { doubled: AtomicU64::new(0), first: Mutex::new(None) }
    }

    /// How many frames were handed out twice or returned by a stranger.
    pub fn doubled(&self) -> u64 {
        self.doubled.load(Ordering::Relaxed)
    }

    /// The first thing that went wrong.
    pub fn first(&self) -> Option<Failure> {
        uninterrupted(|| *self.first.lock())
    }

    /// Notes one thing more; whether it is the first.
    pub fn note(&self, failure: Failure) -> bool {
        if let Failure::OwnershipViolation(_) = failure {
            self.doubled.fetch_add(1, Ordering::Relaxed);
        }
        uninterrupted(|| {
            let mut first = self.first.lock();
            let is_first = first.is_none();
            first.get_or_insert(failure);
            is_first
        })
    }
}

impl Default for FailureLog {
    fn default() -> FailureLog {
        FailureLog::new()
    }
}
