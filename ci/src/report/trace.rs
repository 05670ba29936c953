//! What came of a trace.

use serde::{Deserialize, Serialize};

/// The trace beside the report, in `trace.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// CPUs that recorded.
    pub cpus: usize,
    /// Events that came.
    pub events: u64,
    /// Events that were recorded and lost.
    pub lost: u64,
}

/// One of a CPU's last events before a panic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventReport {
    /// How long before the panic, in microseconds; what came after it has a minus.
    pub us_before: f64,
    /// What it was.
    pub text: String,
}
