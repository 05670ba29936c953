//! The table of interrupts.

use serde::{Deserialize, Serialize};

/// Counts that fit in a record: 20 digits and a comma for each.
pub const COUNTS_IN_RECORD: usize = 32;

/// Interrupts on a vector, by CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interrupts<S> {
    /// The vector.
    pub vector: u8,
    /// What it is called.
    pub name: S,
    /// The CPU of the first count.
    pub first_cpu: u32,
    /// A count for each CPU from there on.
    pub counts: heapless::Vec<u64, COUNTS_IN_RECORD>,
}
