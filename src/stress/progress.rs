//! Progress of the current workload, reported by a timer of the BSP.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::subject::Subject;
use super::workloads::Workload;
use crate::config::PROGRESS_MS;
use crate::sync::SpinLockIrq;
use crate::time::timer::{self, Expiry, TimerId};
use crate::wire::{self, LANES_IN_RECORD, Record};
use crate::{console, patchable, per_cpu, smp, time};

per_cpu! {
    /// This CPU's operations in the current workload.
    pub(crate) static OPERATIONS: AtomicU64 = AtomicU64::new(0);
}

/// The current workload.
#[derive(Clone, Copy)]
pub(crate) struct Progress {
    /// The workload.
    pub workload: &'static Workload,
    /// The allocator or heap.
    pub subject: Subject,
    /// The number of CPUs.
    pub cpus: u32,
    /// Its index in this run.
    pub index: u32,
    /// The number of workloads of this run.
    pub of: u32,
    /// The time of its start, in microseconds.
    pub began_us: u64,
    /// Its time limit, in microseconds.
    pub budget_us: u64,
}

static CURRENT: SpinLockIrq<Option<Progress>> = SpinLockIrq::new(None);
crate::name_lock!(CURRENT);

/// Sets the current workload, or none.
pub(crate) fn set(progress: Option<Progress>) {
    *CURRENT.lock() = progress;
}

/// Reports progress every [`PROGRESS_MS`] until it is dropped. Must be dropped on the CPU that made it.
pub(crate) struct Reporter(Option<TimerId>);

impl Reporter {
    /// Starts reporting. Logs a warning if there is no memory for the timer.
    pub(crate) fn start() -> Reporter {
        let timer = timer::every(Duration::from_millis(PROGRESS_MS), report, 0);
        Reporter(timer.inspect_err(|error| log::warn!("progress reporting disabled: {error}")).ok())
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.0.take().map(timer::cancel);
    }
}

fn report(_: &Expiry) {
    let Some(current) = CURRENT.try_lock().and_then(|current| *current) else { return };
    console::send(&Record::Progress(wire::Progress {
        workload: current.workload.name,
        allocator: current.subject.name(),
        cpus: current.cpus,
        index: current.index,
        of: current.of,
        elapsed_ms: time::now_us().saturating_sub(current.began_us) / 1000,
        budget_ms: current.budget_us / 1000,
        operations: total_operations(),
        lanes: lanes(current.cpus as usize),
    }));
    reported();
}

patchable! {
    /// Called after each progress record, in the timer interrupt of the BSP.
    pub(crate) fn reported() {}
}

/// The operations of each CPU; if there are too many CPUs, of each group of neighbours.
fn lanes(cpus: usize) -> heapless::Vec<u64, LANES_IN_RECORD> {
    let mut counts = operations().take(cpus).peekable();
    let each = wire::cpus_per_lane(cpus);
    core::iter::from_fn(|| counts.peek().is_some().then_some(()).map(|()| counts.by_ref().take(each).sum()))
        .take(LANES_IN_RECORD)
        .collect()
}

/// The operations of each CPU that has come online, in the current workload.
fn operations() -> impl Iterator<Item = u64> {
    smp::cpus().iter().filter_map(|cpu| cpu.get(OPERATIONS)).map(|one| one.load(Ordering::Relaxed))
}

/// The operations of all CPUs in the current workload.
pub(crate) fn total_operations() -> u64 {
    operations().sum()
}
