//! Why a figure is missing or not exact.

use core::fmt;

/// Why a figure is missing or not exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchError {
    /// The TSC does not advance by one for each instruction.
    NotCounting {
        /// Instructions that were executed.
        executed: u64,
        /// The difference of the TSC.
        counted: u64,
    },
    /// Two measurements of the same benchmark differ.
    Unsteady {
        /// The benchmark.
        name: &'static str,
        /// Instructions in the first measurement.
        first: u64,
        /// Instructions in a later one.
        later: u64,
    },
    /// No whole block of frames is free, or too many blocks are partly used.
    NoMemory,
    /// The repetition costs less with the operation than without.
    Negative {
        /// The benchmark.
        name: &'static str,
    },
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::NotCounting { executed, counted } => write!(
                f,
                "the TSC advanced by {counted} over {executed} instructions: the bench needs -icount shift=0"
            ),
            BenchError::Unsteady { name, first, later } => {
                write!(f, "{name}: {first} instructions in one measurement, {later} in another")
            }
            BenchError::NoMemory => f.write_str("too little or too fragmented memory for the bench"),
            BenchError::Negative { name } => write!(f, "{name}: negative cost"),
        }
    }
}
