//! Errors of a stress.

use core::fmt;

use super::failure::Failure;
use super::replay::TraceError;
use super::snapshot::Discrepancy;
use super::subject::Subject;
use super::workloads::Workload;

/// The workload and the allocator or heap of a failure.
#[derive(Clone, Copy, Debug)]
pub struct FailedRun {
    /// The workload.
    pub workload: &'static Workload,
    /// The allocator, heap or scheduling policy.
    pub subject: Subject,
}

impl fmt::Display for FailedRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FailedRun { workload, subject } = self;
        match subject {
            Subject::Scheduler(policy) => write!(f, "{workload} with {}", policy.name),
            _ if subject.is_kernels() => workload.fmt(f),
            _ => write!(f, "{workload} on {subject}"),
        }
    }
}

/// Why a stress failed.
#[derive(Clone, Copy, Debug)]
pub enum StressError {
    /// Too little memory for the stress's tables.
    OutOfMemory {
        /// The size of the table, in bytes.
        bytes: usize,
    },
    /// Too little memory to donate some to an allocator or a heap.
    TooLittleToDonate,
    /// Fewer CPUs are online than `stress.cpus` requests.
    TooFewCpus {
        /// The requested number.
        asked: u32,
        /// The number of online CPUs.
        online: u32,
    },
    /// A CPU could not be called.
    #[cfg(target_os = "none")]
    Call(crate::smp::CallError),
    /// Work did not run on all CPUs.
    #[cfg(target_os = "none")]
    Work(crate::smp::WorkError),
    /// The TLBs could not be flushed, so that the frames of dropped stacks stay in use.
    #[cfg(target_os = "none")]
    Purge(crate::smp::ShootdownError),
    /// `replay` has no trace.
    NoTrace,
    /// The trace is malformed.
    Trace(TraceError),
    /// The trace needs more CPUs.
    TraceForMore {
        /// The number of CPUs of the trace.
        traced: usize,
        /// The number of CPUs that would replay it.
        cpus: u32,
    },
    /// A check failed during or after a workload.
    Discrepancy {
        /// The workload and the allocator or heap.
        run: FailedRun,
        /// The failed check.
        discrepancy: Discrepancy,
    },
}

impl StressError {
    /// Whether it concerns an allocator or a heap on donated frames only: all CPUs are where they should be, and the donated frames can be
    /// freed.
    pub fn concerns_borrower_only(&self) -> bool {
        let StressError::Discrepancy { run, discrepancy } = self else { return false };
        let is_about_cpus = matches!(
            discrepancy,
            Discrepancy::Failure(
                Failure::DidNotGoOffline { .. }
                    | Failure::StuckGoingOffline { .. }
                    | Failure::DidNotComeOnline { .. }
            )
        );
        !run.subject.is_kernels() && !is_about_cpus
    }
}

impl fmt::Display for StressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StressError::OutOfMemory { bytes } => {
                write!(f, "out of memory for the stress's tables: {bytes} contiguous bytes")
            }
            StressError::TooLittleToDonate => {
                f.write_str("too little memory to donate some to another allocator or heap")
            }
            StressError::TooFewCpus { asked, online } => {
                write!(f, "stress.cpus requests {asked} CPUs, {online} are online")
            }
            #[cfg(target_os = "none")]
            StressError::Call(error) => error.fmt(f),
            #[cfg(target_os = "none")]
            StressError::Work(error) => error.fmt(f),
            #[cfg(target_os = "none")]
            StressError::Purge(error) => error.fmt(f),
            StressError::NoTrace => f.write_str("replay needs a trace, which must be the first boot module"),
            StressError::Trace(error) => write!(f, "invalid trace: {error}"),
            StressError::TraceForMore { traced, cpus } => {
                write!(f, "the trace is for {traced} CPUs, {cpus} would replay it")
            }
            StressError::Discrepancy { run, discrepancy } => write!(f, "{run}: {discrepancy}"),
        }
    }
}
