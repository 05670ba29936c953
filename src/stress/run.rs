//! One workload after the other, and the books before and after each.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::barrier::Barrier;
use super::histogram::{Histogram, summarise};
use super::owners::Owners;
use super::progress::{self, OPERATIONS, Progress};
use super::ring::Ring;
use super::workloads::{self, Fault, Faults, Shared};
use crate::boot::command_line::{Options, Workload};
use crate::config::STRESS_GRACE_MS;
use crate::cpu::{CpuId, IrqGuard};
use crate::memory::frames::Invalid;
use crate::sync::Deadline;
use crate::wire::{self, Record};
use crate::{console, memory, smp, time};

/// The allocator under test.
const ALLOCATOR: &str = "octopod";

/// Why the verdict is fail.
#[derive(Clone, Copy, Debug)]
pub enum StressError {
    /// There is no memory for the stress's own tables.
    OutOfMemory {
        /// What they need in a row.
        bytes: usize,
    },
    /// Something went wrong while a workload ran.
    Fault {
        /// Which workload.
        workload: Workload,
        /// The first thing that went wrong.
        fault: Fault,
    },
    /// A workload left fewer free frames than it found.
    Lost {
        /// Which workload.
        workload: Workload,
        /// How many fewer.
        frames: u64,
    },
    /// A workload left more free frames than it found.
    Gained {
        /// Which workload.
        workload: Workload,
        /// How many more.
        frames: u64,
    },
    /// The allocator's books are wrong.
    Invalid {
        /// After which workload.
        workload: Workload,
        /// Which rule is broken, and where.
        invalid: Invalid,
    },
}

impl fmt::Display for StressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StressError::OutOfMemory { bytes } => {
                write!(f, "no memory for the stress's own tables: {bytes} bytes in a row")
            }
            StressError::Fault { workload, fault } => write!(f, "{workload}: {fault}"),
            StressError::Lost { workload, frames } => {
                write!(f, "{workload}: {frames} frames that were free before are not free after")
            }
            StressError::Gained { workload, frames } => {
                write!(f, "{workload}: {frames} more frames are free than were before")
            }
            StressError::Invalid { workload, invalid } => {
                write!(f, "{workload}: the allocator's books are wrong: {invalid}")
            }
        }
    }
}

/// Tables for all workloads of a run.
struct Tables {
    owners: &'static [AtomicU64],
    histograms: &'static [Histogram],
    rings: &'static [Ring],
    ids: &'static [CpuId],
}

impl Tables {
    fn new() -> Result<Tables, StressError> {
        fn table<T>(items: impl Iterator<Item = T> + Clone) -> Result<&'static [T], StressError> {
            let bytes = items.clone().count() * size_of::<T>();
            memory::alloc_slice_from(items).map(|slice| &*slice).ok_or(StressError::OutOfMemory { bytes })
        }
        let online = smp::online();
        Ok(Tables {
            owners: table((0..memory::frames().end().get()).map(|_| AtomicU64::new(0)))?,
            histograms: table(online.clone().map(|_| Histogram::new()))?,
            rings: table(online.clone().map(|_| Ring::new()))?,
            ids: table(online.map(|cpu| cpu.id()))?,
        })
    }
}

/// Runs the workloads that the options ask for, and reports each. Only the boot processor calls this, with interrupts
/// on, when all CPUs wait for work. `before_work` is called when everything is ready, with the number of free frames.
///
/// # Errors
/// The first thing that went wrong; the workloads after it are not run.
pub fn run(options: &Options, seed: u64, before_work: impl FnOnce(u64)) -> Result<(), StressError> {
    let tables = Tables::new()?;
    time::set_tick_hook(progress::tick);
    let workloads = options.stress_workloads.as_slice();
    let budget_us = options.stress_time.as_micros() as u64 / workloads.len().max(1) as u64;
    log::info!("seed {seed:#x}, {} ms for each workload", budget_us / 1000);
    before_work(drain_and_count());
    for (index, workload) in workloads.iter().enumerate() {
        let place = (index as u32, workloads.len() as u32);
        run_one(&tables, *workload, place, budget_us, seed)?;
    }
    Ok(())
}

fn run_one(
    tables: &Tables,
    workload: Workload,
    (index, of): (u32, u32),
    budget_us: u64,
    seed: u64,
) -> Result<(), StressError> {
    let free_before = drain_and_count();
    let limit_ms = budget_us / 1000 + STRESS_GRACE_MS;
    let cpus = tables.ids.len() as u32;
    for cpu in smp::online() {
        if let Some(operations) = cpu.get(OPERATIONS) {
            operations.store(0, Ordering::Relaxed);
        }
    }
    tables.histograms.iter().for_each(Histogram::clear);
    let faults = Faults::new();
    let shared = Shared {
        workload,
        seed,
        end: Deadline::after_us(budget_us),
        barrier: Barrier::new(cpus, Deadline::after_ms(limit_ms)),
        owners: Owners::new(tables.owners),
        histograms: tables.histograms,
        ids: tables.ids,
        rings: tables.rings,
        faults: &faults,
        began_tsc: AtomicU64::new(0),
        storm_taken: AtomicU64::new(0),
        storm_free: AtomicU64::new(free_before),
        storm_goes_on: AtomicBool::new(false),
    };
    let began_us = time::now_us();
    progress::set(Some(Progress { workload, index, of, began_us, budget_us }));
    smp::run_on_all(limit_ms, &|cpu| {
        if let Some(rank) = cpu.rank() {
            workloads::run(&shared, rank);
        }
    });
    let elapsed_us = time::now_us() - began_us;
    progress::set(None);
    let free_after = drain_and_count();
    let (lost, gained) = (free_before.saturating_sub(free_after), free_after.saturating_sub(free_before));
    if index == 0 {
        let entry_to_work_us = time::us_at(shared.began_tsc.load(Ordering::Relaxed));
        console::send(&Record::Work(wire::Work { entry_to_work_us }));
    }
    report(tables, &shared, elapsed_us, lost, gained);

    if let Some(fault) = faults.first() {
        return Err(StressError::Fault { workload, fault });
    }
    if lost > 0 {
        return Err(StressError::Lost { workload, frames: lost });
    }
    if gained > 0 {
        return Err(StressError::Gained { workload, frames: gained });
    }
    let _guard = IrqGuard::new();
    memory::frames().validate().map_err(|invalid| StressError::Invalid { workload, invalid })
}

fn report(tables: &Tables, shared: &Shared, elapsed_us: u64, lost: u64, gained: u64) {
    let workload = shared.workload.name();
    for cpu in smp::online() {
        let operations = cpu.get(OPERATIONS).map_or(0, |operations| operations.load(Ordering::Relaxed));
        console::send(&Record::StressCpu(wire::StressCpu { workload, cpu: cpu.id().0, operations }));
    }
    let operations = progress::total_operations();
    // A frame too many has been returned by somebody who did not have it.
    let doubled = shared.faults.doubled().max(gained);
    let cpus = tables.ids.len() as u32;
    log::info!("{workload}: {operations} operations, {lost} lost, {doubled} doubled");
    console::send(&Record::Stress(wire::Stress {
        workload,
        allocator: ALLOCATOR,
        cpus,
        operations,
        elapsed_us,
        lost,
        doubled,
        cycles: summarise(tables.histograms),
    }));
}

/// Empties all magazines and counts the free frames.
fn drain_and_count() -> u64 {
    smp::run_on_all(STRESS_GRACE_MS, &|_| memory::drain_this_cpu(&IrqGuard::new()));
    let _guard = IrqGuard::new();
    memory::frames().free_frames() as u64
}
