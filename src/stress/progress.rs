//! How far the workload at hand is: told by a timer of the boot processor's, whatever that CPU is doing.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::allocators::Allocator;
use super::workloads::Workload;
use crate::config::PROGRESS_MS;
use crate::sync::SpinLockIrq;
use crate::time::timer::{self, Expiry, TimerId};
use crate::wire::{self, LANES_IN_RECORD, Record};
use crate::{console, patchable, per_cpu, smp, time};

per_cpu! {
    /// This CPU's operations in the workload at hand.
    pub static OPERATIONS: AtomicU64 = AtomicU64::new(0);
}

/// The workload at hand.
#[derive(Clone, Copy)]
pub struct Progress {
    /// Which.
    pub workload: &'static Workload,
    /// On what.
    pub allocator: &'static Allocator,
    /// By how many CPUs.
    pub cpus: u32,
    /// Its place among those of this run.
    pub index: u32,
    /// How many this run has.
    pub of: u32,
    /// When it began.
    pub began_us: u64,
    /// How long it may take.
    pub budget_us: u64,
}

static CURRENT: SpinLockIrq<Option<Progress>> = SpinLockIrq::new(None);
crate::name_lock!(CURRENT);

/// From now on progress is that of this workload, or of none.
pub fn set(progress: Option<Progress>) {
    *CURRENT.lock() = progress;
}

/// Tells progress each [`PROGRESS_MS`] while it lives. Made and dropped on the same CPU.
pub struct Reporter(Option<TimerId>);

impl Reporter {
    /// Begins. Without memory for a timer there is no progress to be seen, and nothing else is amiss.
    pub fn start() -> Reporter {
        let timer = timer::every(Duration::from_millis(PROGRESS_MS), tell, 0);
        Reporter(timer.inspect_err(|error| log::warn!("no progress will be told: {error}")).ok())
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.0.take().map(timer::cancel);
    }
}

fn tell(_: &Expiry) {
    let Some(current) = CURRENT.try_lock().and_then(|current| *current) else { return };
    console::send(&Record::Progress(wire::Progress {
        workload: current.workload.name,
        allocator: current.allocator.name,
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
    /// Called after each record of progress, in the timer interrupt of the BSP.
    pub fn reported() {}
}

/// The operations of each CPU at work, or of so many neighbours as share a lane.
fn lanes(cpus: usize) -> heapless::Vec<u64, LANES_IN_RECORD> {
    let mut counts = operations().take(cpus).peekable();
    let each = wire::cpus_per_lane(cpus);
    core::iter::from_fn(|| counts.peek().is_some().then_some(()).map(|()| counts.by_ref().take(each).sum()))
        .take(LANES_IN_RECORD)
        .collect()
}

/// The operations of each CPU that has come online, in the workload at hand.
fn operations() -> impl Iterator<Item = u64> {
    smp::cpus().iter().filter_map(|cpu| cpu.get(OPERATIONS)).map(|one| one.load(Ordering::Relaxed))
}

/// The operations of all CPUs in the workload at hand.
pub fn total_operations() -> u64 {
    operations().sum()
}
