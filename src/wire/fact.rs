//! Records of what parts of the kernel have determined, for programs that check a run.

use serde::{Deserialize, Serialize};

/// A number or a text that a part of the kernel has determined. `docs/report.md` lists them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact<S> {
    /// The part of the kernel: `selftest.calls`, `memory.node1`.
    pub subject: S,
    /// What it has determined about itself: `rounds`.
    pub name: S,
    /// The number, if it is one.
    pub value: Option<u64>,
    /// The text, if it is one.
    pub text: Option<S>,
}
