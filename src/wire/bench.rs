//! Records of the bench.

use serde::{Deserialize, Serialize};

/// The result of a benchmark. The cost of an operation is `total / operations`; neither is rounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bench<S> {
    /// The benchmark's name, as `config/bench.toml` has it.
    pub name: S,
    /// The unit of `total`: `instructions`.
    pub unit: S,
    /// The cost of all operations.
    pub total: u64,
    /// The number of operations.
    pub operations: u64,
}
