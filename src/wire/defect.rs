//! Records of defects in the descriptions of firmware, the boot loader or the command line.

use serde::{Deserialize, Serialize};

/// A defect. The kernel ignores the part that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defect<S> {
    /// The table's signature, or another name such as `memory map` or `command line`.
    pub table: S,
    /// The physical address of the table, or the address that the table contains.
    pub address: Option<u64>,
    /// The offset in the table, in bytes.
    pub offset: Option<u64>,
    /// The error and its consequence, without a full stop.
    pub reason: S,
}
