//! How a thread of a workload is scheduled.

/// How a thread of a workload is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The CPU on which it runs; any of the workload's if there is none.
    pub pinned: Option<u32>,
    /// The priority of a real-time thread.
    pub priority: Option<u8>,
}

impl Spec {
    /// A fair thread on any CPU of the workload.
    pub const ANY: Spec = Spec { pinned: None, priority: None };

    /// A fair thread on one CPU.
    pub const fn pinned(cpu: u32) -> Spec {
        Spec { pinned: Some(cpu), ..Spec::ANY }
    }
}
