//! How far the workload at hand is: told by a timer of the boot processor's, whatever that CPU is doing.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use crate::boot::command_line::Workload;
use crate::config::PROGRESS_MS;
use crate::sync::IrqMutex;
use crate::time::timer::{self, Expiry, TimerId};
use crate::wire::{self, Record};
use crate::{console, per_cpu, smp, time};

per_cpu! {
    /// This CPU's operations in the workload at hand.
    pub static OPERATIONS: AtomicU64 = AtomicU64::new(0);
}

/// The workload at hand.
#[derive(Clone, Copy)]
pub struct Progress {
    /// Which.
    pub workload: Workload,
    /// Its place among those of this run.
    pub index: u32,
    /// How many this run has.
    pub of: u32,
    /// When it began.
    pub began_us: u64,
    /// How long it may take.
    pub budget_us: u64,
}

static CURRENT: IrqMutex<Option<Progress>> = IrqMutex::new(None);
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
        workload: current.workload.name(),
        index: current.index,
        of: current.of,
        elapsed_ms: time::now_us().saturating_sub(current.began_us) / 1000,
        budget_ms: current.budget_us / 1000,
        operations: total_operations(),
    }));
}

/// The operations of all CPUs in the workload at hand.
pub fn total_operations() -> u64 {
    smp::cpus().iter().filter_map(|cpu| cpu.get(OPERATIONS)).map(|one| one.load(Ordering::Relaxed)).sum()
}
