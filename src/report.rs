//! Reports of the run to the launcher, except those of the workloads. Each module sends the records of one subject.

mod bring_up;
mod memory;
mod program;
pub(crate) mod reason;
mod threads;
mod times;
pub(crate) mod trace;
mod verdict;

pub(crate) use bring_up::boot;
pub(crate) use memory::{free_before_work, memory_map, page_table_audit, zones};
pub use program::{MAX_NAME_BYTES, MAX_TEXT_BYTES, figure, mean, number, text};
pub(crate) use reason::Reason;
pub(crate) use reason::missing_cpus;
pub(crate) use times::clocksource;
pub(crate) use verdict::verdict;
#[cfg(feature = "shell")]
pub(crate) use verdict::verdict_and_reset;
