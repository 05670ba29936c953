//! Records of interrupt counts.

use serde::{Deserialize, Serialize};

/// The maximum number of counts in a record: each has up to 20 digits and a comma.
pub const COUNTS_IN_RECORD: usize = 32;

/// The numbers of interrupts on a vector, by CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interrupts<S> {
    /// The vector.
    pub vector: u8,
    /// The name of the vector.
    pub name: S,
    /// The CPU of the first count.
    pub first_cpu: u32,
    /// The counts of this CPU and the following ones.
    pub counts: heapless::Vec<u64, COUNTS_IN_RECORD>,
}
