//! The workloads. Each CPU runs the same function until the workload ends. The same code runs in the kernel and on the host;
//! [`Platform`] is what it needs of either.

mod churn;
mod exhaust;
mod half;
mod hotplug;
mod interrupts;
mod mixed;
mod replay;
mod run_word;
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
    &churn::CHURN5_50,
    &churn::CHURN0_50,
    &churn::CHURN3_50,
    &churn::CHURN9_50,
    &churn::CHURN0_90,
    &churn::CHURN3_90,
    &churn::CHURN5_90,
    &churn::CHURN9_90,
    &half::HALF_FULL_PAIRS,
    &half::SHUFFLED_FREE,
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
