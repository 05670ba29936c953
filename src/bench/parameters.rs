//! The parameters of the bench.

use super::LIST;
use crate::boot::command_line::{NameList, Named};
use crate::{named_values, parameters};

/// The name of a benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchName(pub(super) &'static str);

impl Named for BenchName {
    fn all() -> &'static [BenchName] {
        LIST
    }

    fn name(&self) -> &'static str {
        self.0
    }
}

named_values!(BenchName);

/// Names of benchmarks.
pub type BenchList = NameList<BenchName, { LIST.len() }>;

parameters! {
    /// The parameters of the bench.
    pub struct BenchParameters {
        /// The benchmarks to run. By default those that need little memory.
        pub only: BenchList = BenchList::EMPTY, "bench.only";
    }
}
