//! Why the verdict of a stress is fail.

use core::fmt;

use super::allocators::Allocator;
use super::failure::Failure;
use super::replay::TraceError;
use super::snapshot::Discrepancy;
use super::workloads::Workload;

/// Where something went wrong.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The workload.
    pub workload: &'static Workload,
    /// The allocator.
    pub allocator: &'static Allocator,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { workload, allocator } = self;
        if allocator.is_kernels() { workload.fmt(f) } else { write!(f, "{workload} on {allocator}") }
    }
}

/// Why the verdict is fail.
#[derive(Clone, Copy, Debug)]
pub enum StressError {
    /// There is no memory for the stress's own tables.
    OutOfMemory {
        /// What they need in a row.
        bytes: usize,
    },
    /// There is too little memory to lend some to another allocator.
    TooLittleToDonate,
    /// More CPUs were asked for than are online.
    TooFewCpus {
        /// How many were asked for.
        asked: u32,
        /// How many are online.
        online: u32,
    },
    /// A CPU does not answer calls.
    #[cfg(target_os = "none")]
    Call(crate::smp::CallError),
    /// Work was not run on all CPUs.
    #[cfg(target_os = "none")]
    Work(crate::smp::WorkError),
    /// `replay` without a trace to be replayed.
    NoTrace,
    /// The trace is none.
    Trace(TraceError),
    /// There are fewer CPUs than in the trace.
    TraceForMore {
        /// How many are in the trace.
        traced: usize,
        /// How many are to replay it.
        cpus: u32,
    },
    /// Something is wrong after a workload.
    Discrepancy {
        /// Where.
        place: Place,
        /// What.
        discrepancy: Discrepancy,
    },
}

impl StressError {
    /// Whether it is about an allocator that frames were lent to, and about nothing else: every CPU is where it should be,
    /// and what was lent comes back whole.
    pub fn concerns_borrower_only(&self) -> bool {
        let StressError::Discrepancy { place, discrepancy } = self else { return false };
        let is_about_cpus = matches!(
            discrepancy,
            Discrepancy::Failure(Failure::Stayed { .. } | Failure::Stuck { .. } | Failure::Gone { .. })
        );
        !place.allocator.is_kernels() && !is_about_cpus
    }
}

impl fmt::Display for StressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StressError::OutOfMemory { bytes } => {
                write!(f, "no memory for the stress's own tables: {bytes} bytes in a row")
            }
            StressError::TooLittleToDonate => {
                f.write_str("too little memory to lend some to another allocator")
            }
            StressError::TooFewCpus { asked, online } => {
                write!(f, "stress.cpus asks for {asked} CPUs, and {online} are online")
            }
            #[cfg(target_os = "none")]
            StressError::Call(error) => error.fmt(f),
            #[cfg(target_os = "none")]
            StressError::Work(error) => error.fmt(f),
            StressError::NoTrace => {
                f.write_str("replay needs a trace, which is the first module that is loaded")
            }
            StressError::Trace(error) => write!(f, "the trace: {error}"),
            StressError::TraceForMore { traced, cpus } => {
                write!(f, "the trace is for {traced} CPUs, and is to be replayed by {cpus}")
            }
            StressError::Discrepancy { place, discrepancy } => write!(f, "{place}: {discrepancy}"),
        }
    }
}
