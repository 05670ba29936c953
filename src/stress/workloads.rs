//! The workloads. Each CPU runs the same function until the workload ends. The same code runs in the kernel and on the host;
//! [`Platform`] is what it needs of either.

mod exhaust;
mod hotplug;
mod interrupts;
mod mixed;
mod replay;
mod singles;
mod worker;

pub use replay::REPLAY;
pub use singles::PAIRS;
pub use worker::{Details, Platform, Setup, Shared, Timed, Workload, run};

use crate::boot::command_line::Named;

/// All workloads, in the order of the list and of the run. To add one, declare it in a file of its own and add a line.
const ALL: &[&Workload] = &[
    &singles::PAIRS,
    &singles::BULK,
    &mixed::RANDOM,
    &singles::REMOTE,
    &mixed::MIXED_ORDERS,
    &exhaust::FRAGMENTATION,
    &hotplug::HOTPLUG,
    &interrupts::INTERRUPTS,
    &exhaust::STORM,
    &replay::REPLAY,
];

/// The number of workloads.
pub const COUNT: usize = ALL.len();

impl Named for &'static Workload {
    fn all() -> &'static [&'static Workload] {
        ALL
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

/// The workloads that run when none is named.
pub fn defaults() -> impl Iterator<Item = &'static Workload> {
    ALL.iter().copied().filter(|workload| workload.is_default)
}
