//! What firmware, the boot loader or the command line describes wrongly.

use serde::{Deserialize, Serialize};

/// A defect in a description. The kernel goes on without the part that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defect<S> {
    /// What holds it: a table by its signature, or another name, as `memory map` or `command line`.
    pub table: S,
    /// The physical address that it concerns: the table's own, or the address that the table names.
    pub address: Option<u64>,
    /// Where in the table, in bytes.
    pub offset: Option<u64>,
    /// What is wrong, and what that costs, without a full stop.
    pub reason: S,
}
