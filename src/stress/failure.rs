//! Failures during a workload.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(target_os = "none"))]
use spin::Mutex as Lock;

use super::lent::LentRanges;
use super::marks::ObjectViolation;
use super::owners::OwnershipViolation;
use super::source::uninterrupted;
use crate::heap::source::HeapError;
use crate::memory::frames::{FrameNumber, FreeError, Order};
#[cfg(target_os = "none")]
use crate::sync::SpinLockIrq as Lock;

/// The failures of a workload: the first in full, the others as a count.
pub struct FailureLog {
    ownership_violations: AtomicU64,
    first: Lock<Option<Failure>>,
}

/// A failed check of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A frame has another owner than expected.
    OwnershipViolation(OwnershipViolation),
    /// Free frames could not be allocated.
    Stranded {
        /// How many were allocated.
        taken: u64,
        /// How many were free.
        free: u64,
    },
    /// A run is not aligned to its order.
    Misaligned {
        /// Its first frame.
        frame: FrameNumber,
        /// Its order.
        order: Order,
    },
    /// A run was allocated of which not all frames were lent to the allocator.
    OutsideMemory {
        /// Its first frame.
        frame: FrameNumber,
        /// Its order.
        order: Order,
        /// What was lent.
        lent: LentRanges,
    },
    /// A run was allocated although no two contiguous frames were free.
    FromNowhere {
        /// Its first frame.
        frame: FrameNumber,
        /// Its order.
        order: Order,
    },
    /// The allocator rejected a free.
    Rejected(FreeError),
    /// The allocator accepted a free that it had promised to reject.
    InvalidFreeAccepted {
        /// The first frame.
        frame: FrameNumber,
        /// The order of the free.
        order: Order,
        /// Why it was invalid.
        free: InvalidFree,
    },
    /// An object of a heap was not its owner's alone, or not as requested.
    Object(ObjectViolation),
    /// A heap refused to free or resize an object.
    HeapRefused(HeapError),
    /// A heap has less room for objects than before.
    ObjectsStranded {
        /// How many were allocated.
        taken: u64,
        /// How many there was room for.
        room: u64,
    },
    /// A CPU read through a stale entry of its TLB.
    StaleEntry {
        /// Its number.
        cpu: u32,
        /// The rank of the CPU whose mapping it read.
        owner: u32,
        /// What it read.
        read: u64,
        /// What the mapping contains.
        expected: u64,
    },
    /// Mappings that were dropped could not be freed.
    MappingsNotFreed,
    /// Two CPUs run one thread.
    RanTwice {
        /// The number of the thread in its workload.
        thread: u32,
        /// The CPU that has found it.
        cpu: u32,
        /// The CPU that the thread's owner word names, if it names one.
        other: Option<u32>,
    },
    /// A thread ran on a CPU where it may not run.
    RanElsewhere {
        /// The number of the thread in its workload.
        thread: u32,
        /// The CPU.
        cpu: u32,
    },
    /// Threads were spawned that have not ended, or have ended and are listed.
    ThreadsLeft {
        /// Those that were spawned.
        spawned: u64,
        /// Those that have ended.
        ended: u64,
        /// Those that are listed.
        listed: u64,
    },
    /// Not as many steps were done as were ordered.
    StepsDiffer {
        /// The steps that were ordered.
        ordered: u64,
        /// Those that were done.
        done: u64,
    },
    /// A number that two threads count up in turn is not the one that this thread expects.
    WrongTurn {
        /// The number of the thread in its workload.
        thread: u32,
        /// What it expects.
        expected: u64,
        /// What it has found.
        found: u64,
    },
    /// A thread has another value than other threads should have given it: a message that was not sent, or was not next; or the set of
    /// the threads that ran.
    WrongValue {
        /// The number of the thread in its workload.
        thread: u32,
        /// What it expects.
        expected: u64,
        /// What it has found.
        found: u64,
    },
    /// The sum of what threads have received, or counted behind a lock, is not the sum of what they have sent, or of the times that they had
    /// the lock.
    SumsDiffer {
        /// The sum that is expected.
        expected: u64,
        /// The sum that was found.
        found: u64,
    },
    /// No CPU has stolen a thread from one on which all were.
    NotStolen {
        /// The CPU.
        cpu: u32,
    },
    /// A sleep was too short.
    SleptShort {
        /// The number of the thread in its workload.
        thread: u32,
        /// How long it was, in nanoseconds.
        ns: u64,
        /// How long it was to be.
        asked_ns: u64,
    },
    /// The time of a wait was over that another thread was to end long before.
    WaitedLong {
        /// The number of the thread in its workload.
        thread: u32,
    },
    /// Two threads hold one mutex.
    HeldTwice {
        /// The number of the thread that has found it.
        thread: u32,
        /// The number of the other.
        other: u32,
    },
    /// A thread has kept another one from its CPU, which has a mutex that a more urgent one waits for.
    PriorityInverted {
        /// The number of the thread in its workload.
        thread: u32,
        /// The steps that it has done meanwhile.
        steps: u64,
    },
    /// A thread has run with a priority that it had inherited after it has unlocked the mutex.
    PriorityKept {
        /// The number of the thread in its workload.
        thread: u32,
    },
    /// A CPU did not acknowledge an offline request.
    DidNotGoOffline {
        /// Its number.
        cpu: u32,
    },
    /// A CPU is stuck going offline.
    StuckGoingOffline {
        /// Its number.
        cpu: u32,
        /// The last state that it reached.
        stage: &'static str,
    },
    /// A CPU did not come online.
    DidNotComeOnline {
        /// Its number.
        cpu: u32,
        /// The last stage that it reached.
        stage: &'static str,
    },
}

/// A free that is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidFree {
    /// The frames are free.
    Twice,
    /// The frames were not lent to the allocator.
    NotLent,
}

impl fmt::Display for InvalidFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InvalidFree::Twice => "which was free already",
            InvalidFree::NotLent => "which the allocator was not lent",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::OwnershipViolation(violation) => violation.fmt(f),
            Failure::Stranded { taken, free } => {
                write!(f, "all CPUs together allocated {taken} of {free} free frames")
            }
            Failure::Misaligned { frame, order } => {
                let frames = order.frames();
                write!(f, "{frame} was allocated at {order}, whose frames are multiples of {frames:#x}")
            }
            Failure::OutsideMemory { frame, order, lent } => {
                write!(f, "{frame} was allocated at {order}, outside the memory of the allocator: {lent}")
            }
            Failure::FromNowhere { frame, order } => {
                write!(f, "{frame} was allocated at {order} while every second frame was in use")
            }
            Failure::Rejected(error) => write!(f, "the allocator rejected a free: {error}"),
            Failure::InvalidFreeAccepted { frame, order, free } => {
                write!(f, "the allocator did not reject a free of {frame} at {order}, {free}")
            }
            Failure::Object(violation) => violation.fmt(f),
            Failure::HeapRefused(error) => write!(f, "the heap refused to free or resize an object: {error}"),
            Failure::ObjectsStranded { taken, room } => {
                write!(f, "all CPUs together allocated {taken} objects, where there was room for {room}")
            }
            Failure::StaleEntry { cpu, owner, read, expected } => write!(
                f,
                "cpu {cpu} read {read:#x} through a stale entry of its TLB, in a mapping of rank {owner}, not {expected:#x}"
            ),
            Failure::MappingsNotFreed => f.write_str("mappings that were dropped could not be freed"),
            Failure::RanTwice { thread, cpu, other: Some(other) } => {
                write!(f, "thread {thread} runs on cpu {cpu} and on cpu {other}")
            }
            Failure::RanTwice { thread, cpu, other: None } => {
                write!(f, "thread {thread} runs on cpu {cpu}, and another CPU has left it meanwhile")
            }
            Failure::RanElsewhere { thread, cpu } => {
                write!(f, "thread {thread} ran on cpu {cpu}, where it may not run")
            }
            Failure::ThreadsLeft { spawned, ended, listed } => {
                write!(f, "{spawned} threads were spawned, {ended} have ended, and {listed} are listed")
            }
            Failure::StepsDiffer { ordered, done } => {
                write!(f, "{ordered} steps were ordered, and {done} were done")
            }
            Failure::WrongTurn { thread, expected, found } => {
                write!(f, "thread {thread} found the number {found} in its turn, not {expected}")
            }
            Failure::WrongValue { thread, expected, found } => {
                write!(f, "thread {thread} found the value {found:#x}, not {expected:#x}")
            }
            Failure::SumsDiffer { expected, found } => {
                write!(f, "the sum of all threads is {found:#x}, not {expected:#x}")
            }
            Failure::NotStolen { cpu } => {
                write!(f, "no CPU has stolen a thread from cpu {cpu}, on which all were")
            }
            Failure::SleptShort { thread, ns, asked_ns } => {
                write!(f, "thread {thread} slept for {ns} ns, not {asked_ns}")
            }
            Failure::WaitedLong { thread } => {
                write!(f, "the time-out of thread {thread} has ended a wait that another thread was to end")
            }
            Failure::HeldTwice { thread, other } => {
                write!(f, "thread {thread} holds a mutex that thread {other} holds")
            }
            Failure::PriorityInverted { thread, steps } => write!(
                f,
                "priority inversion: thread {thread} did {steps} steps while a more urgent thread waited for a mutex of a less urgent one"
            ),
            Failure::PriorityKept { thread } => {
                write!(f, "thread {thread} ran with an inherited priority after it had unlocked the mutex")
            }
            Failure::DidNotGoOffline { cpu } => write!(f, "cpu {cpu} did not go offline"),
            Failure::StuckGoingOffline { cpu, stage } => {
                write!(f, "cpu {cpu} is stuck going offline, last seen {stage}")
            }
            Failure::DidNotComeOnline { cpu, stage } => {
                write!(f, "cpu {cpu} did not come back, last seen {stage}")
            }
        }
    }
}

impl FailureLog {
    /// An empty log.
    pub const fn new() -> FailureLog {
        FailureLog { ownership_violations: AtomicU64::new(0), first: Lock::new(None) }
    }

    /// The number of frames, or objects of a heap, that were allocated twice, or freed by a CPU that did not own them, or of threads that two
    /// CPUs ran.
    pub fn ownership_violations(&self) -> u64 {
        self.ownership_violations.load(Ordering::Relaxed)
    }

    /// The first failure.
    pub fn first(&self) -> Option<Failure> {
        uninterrupted(|| *self.first.lock())
    }

    /// Adds a failure, and returns whether it is the first.
    pub fn note(&self, failure: Failure) -> bool {
        let has_two_owners = match &failure {
            Failure::OwnershipViolation(_) | Failure::RanTwice { .. } => true,
            Failure::Object(violation) => violation.is_about_owners(),
            _ => false,
        };
        if has_two_owners {
            self.ownership_violations.fetch_add(1, Ordering::Relaxed);
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
