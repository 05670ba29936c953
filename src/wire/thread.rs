//! Records of threads.

use serde::{Deserialize, Serialize};

/// The most threads that a report lists.
pub const MAX_THREADS: usize = 256;

/// A thread at the end of the work: one that has not ended, or the one that used its stack most deeply of those that have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadRow<S> {
    /// Its number.
    pub id: u64,
    /// Its name; may be empty.
    pub name: S,
    /// `running`, `ready`, `parked`, `blocked` or `ended`.
    pub state: S,
    /// The CPU that runs it or has run it last.
    pub cpu: u32,
    /// The CPUs on which it may run.
    pub affinity: S,
    /// The size of its stack in bytes; `None` for the thread that the boot has begun with.
    pub stack_bytes: Option<u64>,
    /// How much of that was written, from the end of the stack down to its lowest page that was.
    pub stack_used_bytes: Option<u64>,
    /// Whether the thread itself has used so much; if not, an earlier thread of the same stack has, and this one at most as much.
    pub is_own_use: bool,
    /// How long CPUs have run it, in nanoseconds; `None` unless all events were recorded.
    #[serde(default)]
    pub ran_ns: Option<u64>,
}
