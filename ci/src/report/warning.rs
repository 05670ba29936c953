//! What was wrong on the way and did not end the run.

use octopod::wire::Warning;
use serde::{Deserialize, Serialize};

use super::FrameReport;

/// A CPU that did not do what it should.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WarningReport {
    /// The CPU.
    pub cpu: u32,
    /// Who noticed: `call` or `watchdog`.
    pub kind: String,
    /// What is wrong.
    pub message: String,
    /// Where it was, innermost call first; empty if not even an NMI reached it.
    pub backtrace: Vec<FrameReport>,
}

impl WarningReport {
    /// Without the backtrace, which takes symbols.
    pub(super) fn of(warning: &Warning<String>) -> WarningReport {
        let Warning { cpu, kind, message, .. } = warning.clone();
        WarningReport { cpu, kind, message, backtrace: Vec::new() }
    }
}
