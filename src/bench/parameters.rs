//! The parameters of the bench.

use super::{BenchName, LIST};
use crate::boot::command_line::NameList;
use crate::parameters;

/// Names of benchmarks.
pub type BenchList = NameList<BenchName, { LIST.len() + MAX_NAMED }>;

/// The most benchmarks of a program that a list can name.
const MAX_NAMED: usize = 16;

parameters! {
    /// The parameters of the bench.
    pub struct BenchParameters {
        /// The benchmarks to run. By default those that need little memory.
        pub only: BenchList = BenchList::EMPTY, "bench.only";
    }
}
