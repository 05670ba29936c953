//! What things cost.

use serde::{Deserialize, Serialize};

/// A benchmark's result: what one operation costs is `total / operations`, and neither is rounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bench<S> {
    /// The benchmark's name, as `config/bench.toml` has it.
    pub name: S,
    /// What `total` counts: `instructions`.
    pub unit: S,
    /// What all operations together took.
    pub total: u64,
    /// How many they were.
    pub operations: u64,
}
