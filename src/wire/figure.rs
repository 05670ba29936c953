//! Records of the program's own figures.

use serde::{Deserialize, Serialize};

/// A figure that the program has measured: `total / count`; neither is rounded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure<S> {
    /// Its name.
    pub name: S,
    /// The unit of `total`, and of the figure; may be empty.
    pub unit: S,
    /// The sum.
    pub total: u64,
    /// What it is divided by; not 0.
    pub count: u64,
}
