//! Runs the workloads, on each allocator and each number of CPUs, and compares snapshots before and after each.

use core::sync::atomic::{AtomicBool, Ordering};

use super::allocators::{self, Allocator, Needs};
use super::barrier::Barrier;
use super::donated::DonatedFrames;
use super::error::{FailedRun, StressError};
use super::failure::FailureLog;
use super::figures::{Measured, figures};
use super::histogram::{Histogram, buckets};
use super::kernel::Kernel;
use super::owners::Owners;
use super::parameters::{CpuCounts, MAX_CPU_COUNTS, StressParameters};
use super::prefault;
use super::progress::{self, OPERATIONS, Progress, Reporter};
use super::replay::AllocTrace;
use super::snapshot::{AllocatorSnapshot, Discrepancy};
use super::source::{AllocContext, FrameSource, KernelAllocator};
use super::tables::Tables;
use super::workloads::{self, Details, Setup, Shared, Workload};
use crate::boot::command_line::{NameList, Switch};
use crate::config::STRESS_GRACE_MS;
use crate::console::LineBuffer;
use crate::cpu::CpuId;
use crate::sync::Deadline;
use crate::wire::{self, BUCKETS_IN_RECORD, Record};
use crate::{console, patchable, smp, time};

/// The default time of all workloads together, on one allocator and all CPUs.
const DEFAULT_MS: u64 = 4_000;

/// The default time of each workload if allocators or numbers of CPUs are compared.
const DEFAULT_COMPARED_MS: u64 = 200;

/// The plan of a stress.
struct Plan<'a> {
    parameters: &'a StressParameters,
    /// The numbers of CPUs to run on, one after the other.
    cpus: CpuCounts,
    seed: u64,
    budget_us: u64,
}

impl<'a> Plan<'a> {
    fn new(parameters: &'a StressParameters, seed: u64, online: u32) -> Result<Plan<'a>, StressError> {
        if let Some(asked) = parameters.cpus.iter().find(|asked| *asked > online) {
            return Err(StressError::TooFewCpus { asked, online });
        }
        let cpus = if parameters.cpus != CpuCounts::NONE {
            parameters.cpus
        } else if parameters.allocators.len() == 1 {
            CpuCounts::of([online])
        } else {
            let powers = (0..u32::BITS).map(|shift| 1 << shift).take_while(|power| *power < online);
            // The last number is that of all CPUs.
            CpuCounts::of(powers.take(MAX_CPU_COUNTS - 1).chain([online]))
        };
        let mut plan = Plan { parameters, cpus, seed, budget_us: 0 };
        let runs = plan.runs().max(1) as u64;
        let default_ms = if plan.compares() { DEFAULT_COMPARED_MS * runs } else { DEFAULT_MS };
        let total_us = parameters.time.map_or(default_ms * 1000, |time| time.as_micros() as u64);
        plan.budget_us = total_us / runs;
        Ok(plan)
    }

    /// The number of runs of a workload.
    fn runs(&self) -> usize {
        self.parameters.workloads.len() * self.parameters.allocators.len() * self.cpus.iter().count()
    }

    /// Whether each workload runs more than once.
    fn compares(&self) -> bool {
        self.parameters.allocators.len() * self.cpus.iter().count() > 1
    }
}

/// Runs the workloads that the parameters select, and reports each. `trace` is the text of the trace for `replay`.
/// `before_work` is called when everything is ready, with the number of free frames. `give_up` is called when a CPU is stuck:
/// it may still use memory that this function borrows, so this function must not return.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failure. It ends the stress, unless it concerns an allocator on donated frames only: then the other runs of that
/// allocator are skipped.
#[inline(never)]
pub(crate) fn run(
    parameters: &StressParameters,
    seed: u64,
    trace: Option<&[u8]>,
    before_work: impl FnOnce(u64),
    give_up: fn(StressError) -> !,
) -> Result<(), StressError> {
    let plan = Plan::new(parameters, seed, smp::online().count() as u32)?;
    // An unresponsive CPU is found here, before any CPU waits for the others.
    smp::call(&smp::all_online(), &|| {}).map_err(StressError::Call)?;
    let trace = if parameters.workloads.contains(&workloads::REPLAY) {
        Some(trace.ok_or(StressError::NoTrace)?)
    } else {
        None
    };
    let holds_runs = parameters.workloads.iter().any(|workload| workload.holds_runs);
    let tables = Tables::new(trace, holds_runs)?;
    let trace = trace.map(|text| tables.load(text)).transpose()?;
    let traced = trace.as_ref().map_or(0, AllocTrace::cpus);
    if let Some(cpus) = plan.cpus.iter().find(|cpus| (*cpus as usize) < traced) {
        return Err(StressError::TraceForMore { traced, cpus });
    }
    let _reporter = Reporter::start();
    log::info!("seed {seed:#x}, {} ms for each workload", plan.budget_us / 1000);
    let seed_text = LineBuffer::<20>::format(format_args!("{seed:#x}"));
    console::send(&Record::text("stress", "seed", seed_text.as_str()));
    drain(&KernelAllocator)?;
    // The frames of the tables are free again at the end.
    before_work((KernelAllocator.free_frames() + tables.frames()) as u64);
    console::send(&Record::Work(wire::WorkStart { entry_to_work_us: time::now_us() }));
    if plan.runs() > 1 {
        prefault::free_blocks();
    }
    let mut index = 0;
    let mut skipped: NameList<&Allocator, { allocators::MOST }> = NameList::EMPTY;
    let mut first = None;
    for cpus in plan.cpus.iter() {
        for allocator in parameters.allocators.iter() {
            if skipped.contains(allocator) {
                index += parameters.workloads.len() as u32;
                continue;
            }
            let mut bench = AllocatorRun {
                plan: &plan,
                tables: &tables,
                trace: trace.as_ref(),
                allocator,
                cpus,
                index: &mut index,
                give_up,
            };
            let ran = if allocator.is_kernels() {
                bench.run_all(&KernelAllocator)
            } else {
                bench.run_all_on_donated_frames()
            };
            match ran {
                Ok(()) => {}
                Err(error) if error.concerns_borrower_only() => {
                    log::error!("{error}: skipping {allocator}");
                    console::send(&Record::text("stress", "skipped", allocator.name));
                    skipped.push(allocator);
                    first.get_or_insert(error);
                    // The donated frames are free again, whatever their owner words say.
                    tables.owners.iter().for_each(|owner| owner.store(0, Ordering::Relaxed));
                }
                Err(error) => return Err(error),
            }
        }
    }
    drop(tables);
    // The donated frames and the tables were freed, perhaps to a magazine. The caller compares the number of free frames with
    // that before.
    drain(&KernelAllocator)?;
    first.map_or(Ok(()), Err)
}

patchable! {
    /// Called after each workload, before the second snapshot.
    pub(crate) fn workload_over(source: &dyn FrameSource, allocator: &'static Allocator) {
        let _ = (source, allocator);
    }
}

/// The runs of one allocator on one number of CPUs.
struct AllocatorRun<'a> {
    plan: &'a Plan<'a>,
    tables: &'a Tables,
    /// The trace of `replay`.
    trace: Option<&'a AllocTrace<'a>>,
    allocator: &'static Allocator,
    cpus: u32,
    /// The index of the next run of a workload in the stress.
    index: &'a mut u32,
    give_up: fn(StressError) -> !,
}

impl AllocatorRun<'_> {
    /// Not inlined, as `DonatedFrames` takes much of the stack.
    #[inline(never)]
    fn run_all_on_donated_frames(&mut self) -> Result<(), StressError> {
        // Frames in the caches of the CPUs are donated as well.
        drain(&KernelAllocator)?;
        // Each CPU has a context, and so has its timer handler.
        let contexts = 2 * self.tables.ids().len();
        let needs = Needs { frames: KernelAllocator.free_frames(), contexts };
        let mut donated = DonatedFrames::take(self.allocator.metadata_pages(&needs))
            .ok_or(StressError::TooLittleToDonate)?;
        let mut outcome = None;
        donated.run(self.allocator, contexts, &mut |source| outcome = Some(self.run_all(source)));
        outcome.expect("a borrower makes its allocator and runs the workloads on it")
    }

    fn run_all(&mut self, source: &dyn FrameSource) -> Result<(), StressError> {
        let workloads = &self.plan.parameters.workloads;
        let end = *self.index + workloads.len() as u32;
        for workload in workloads.iter() {
            let ran = self.run_one(source, workload);
            *self.index = if ran.is_ok() { *self.index + 1 } else { end };
            ran?;
        }
        Ok(())
    }

    fn run_one(&self, source: &dyn FrameSource, workload: &'static Workload) -> Result<(), StressError> {
        let run = FailedRun { workload, allocator: self.allocator };
        drain(source)?;
        let before = AllocatorSnapshot::of(source);
        for operations in smp::online().filter_map(|cpu| cpu.get(OPERATIONS)) {
            operations.store(0, Ordering::Relaxed);
        }
        let (tables, cpus) = (self.tables, self.cpus as usize);
        let ids = &tables.ids()[..cpus];
        tables.histograms.iter().for_each(Histogram::clear);
        let failures = FailureLog::new();
        let shared = Shared::new(Setup {
            workload,
            seed: self.plan.seed,
            source,
            owners: Owners::new(&tables.owners),
            histograms: &tables.histograms[..2 * cpus],
            ids,
            rings: &tables.rings[..cpus],
            failures: &failures,
            free_before: before.free(),
            trace: self.trace,
            runs: tables.runs(workload),
            check_every_frame: self.plan.parameters.check_every_frame == Switch::On,
        });
        let began_us = time::now_us();
        let kernel = Kernel {
            end: Deadline::after_us(self.plan.budget_us),
            barrier: Barrier::new(ids.iter().copied().map(CpuId).collect()),
            is_cpu_stuck: AtomicBool::new(false),
        };
        progress::set(Some(self.progress(workload, began_us)));
        let give_up = self.give_up;
        // Returns when all CPUs have passed the last barrier.
        let ran = smp::on_each_cpu(STRESS_GRACE_MS, &|cpu| {
            // Not the CPU's current rank, which changes when other CPUs go offline.
            if let Ok(rank) = ids.binary_search(&cpu.id().0) {
                // SAFETY: a context must be unique. `ids` has each CPU once, so each has the context of its own index and its
                // handler's.
                workloads::run(&kernel, &shared, unsafe { AllocContext::new(rank) });
                if rank == 0
                    && kernel.is_cpu_stuck.load(Ordering::Acquire)
                    && let Some(failure) = failures.first()
                {
                    let discrepancy = Discrepancy::Failure(failure);
                    give_up(StressError::Discrepancy { run, discrepancy });
                }
            }
        });
        let elapsed_us = time::now_us() - began_us;
        progress::set(None);
        ran.map_err(StressError::Work)?;
        workload_over(source, self.allocator);
        drain(source)?;
        let after = AllocatorSnapshot::of(source);
        self.report(&shared, elapsed_us, before.lost_and_gained(&after));
        before
            .compare(&after, &failures, source)
            .map_err(|discrepancy| StressError::Discrepancy { run, discrepancy })
    }

    fn progress(&self, workload: &'static Workload, began_us: u64) -> Progress {
        Progress {
            workload,
            allocator: self.allocator,
            cpus: self.cpus,
            index: *self.index,
            of: self.plan.runs() as u32,
            began_us,
            budget_us: self.plan.budget_us,
        }
    }

    fn report(&self, shared: &Shared, elapsed_us: u64, lost_and_gained: (u64, u64)) {
        let workload = shared.workload.name;
        for cpu in smp::online().take(self.cpus as usize) {
            let operations = cpu.get(OPERATIONS).map_or(0, |operations| operations.load(Ordering::Relaxed));
            console::send(&Record::StressCpu(wire::StressCpu { workload, cpu: cpu.id().0, operations }));
        }
        let mut latencies = buckets(shared.histograms).peekable();
        while latencies.peek().is_some() {
            let buckets = latencies.by_ref().take(BUCKETS_IN_RECORD).collect();
            console::send(&Record::Latency(wire::Latency { workload, buckets }));
        }
        if shared.scores().next().is_some() {
            let scores = shared.scores().collect();
            console::send(&Record::Fragmentation(wire::Fragmentation { workload, scores }));
        }
        let measured = Measured { operations: progress::total_operations(), elapsed_us, lost_and_gained };
        let figures = figures(shared, self.allocator, measured);
        let wire::Stress { allocator, cpus, operations, lost, double_allocated, .. } = figures;
        if self.plan.compares() {
            log::info!(
                "{workload}, {allocator}, {cpus} CPUs: {operations} operations, {lost} lost, {double_allocated} double-allocated"
            );
        } else {
            log::info!(
                "{workload}: {operations} operations, {lost} lost, {double_allocated} double-allocated"
            );
        }
        if shared.workload.details.is_some() {
            log::info!("{workload}: {}", Details(shared));
        }
        console::send(&Record::Stress(figures));
    }
}

/// Drains the allocator's per-CPU caches.
fn drain(source: &dyn FrameSource) -> Result<(), StressError> {
    let cpus = smp::online().count();
    let drained = smp::on_each_cpu(STRESS_GRACE_MS, &|cpu| {
        if let Some(rank) = cpu.rank() {
            for number in [rank, cpus + rank] {
                // SAFETY: a context must be unique. Each CPU uses its own two, and no workload runs.
                source.drain(&mut unsafe { AllocContext::new(number) });
            }
        }
    });
    drained.map_err(StressError::Work)
}
