//! Runs the workloads, on each allocator or heap and each number of CPUs, and compares snapshots before and after each.

use core::sync::atomic::{AtomicBool, Ordering};

use super::allocators::{self, Allocator, Needs};
use super::barrier::Barrier;
use super::donated::DonatedFrames;
use super::error::{FailedRun, StressError};
use super::failure::FailureLog;
use super::figures::{Measured, figures};
use super::heap::{self, HeapBacking};
use super::heap_arena::ArenaFrames;
use super::histogram::{Histogram, buckets};
use super::invalid_frees::{self, first_run_from};
use super::kernel::Kernel;
use super::lent::LentFrames;
use super::lost::Search;
use super::owners::Owners;
use super::parameters::StressParameters;
use super::plan::Plan;
use super::prefault;
use super::progress::{self, OPERATIONS, Progress, Reporter};
use super::replay::AllocTrace;
use super::snapshot::Discrepancy;
use super::source::{AllocContext, FrameSource, KernelAllocator};
use super::subject::{Subject, SubjectKind};
use super::tables::Tables;
use super::tested::{Tested, TestedFrames, TestedHeap};
use super::thread_platform;
use super::workloads::{self, Body, Details, EXHAUST_LIMIT, ROUND_CUT, Setup, Shared, Workload};
use crate::boot::command_line::Switch;
use crate::boot::image;
use crate::config::STRESS_GRACE_MS;
use crate::console::LineBuffer;
use crate::cpu::CpuId;
use crate::heap::KernelHeap;
use crate::heap::source::HeapSource;
use crate::memory::FrameRange;
use crate::memory::frames::FrameNumber;
use crate::sched::policies::{self, Policy};
use crate::sync::Deadline;
use crate::thread::Affinity;
use crate::wire::{self, BUCKETS_IN_RECORD, Record};
use crate::{console, memory, patchable, sched, smp, time};

/// The most allocators, heaps and scheduling policies of a run.
const MOST_SUBJECTS: usize = allocators::MOST + heap::MOST + policies::MOST;

/// Runs the workloads that the parameters select, and reports each. `trace` is the text of the trace for `replay`.
/// `before_work` is called when everything is ready, with the number of free frames. `give_up` is called when a CPU is stuck:
/// it may still use memory that this function borrows, so this function must not return.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// The first failure. It ends the stress, unless it concerns an allocator or a heap on donated frames only: then its other runs are
/// skipped.
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
    let has_heaps = parameters.subjects().any(|subject| matches!(subject, Subject::Heap(_)));
    let tables = Tables::new(trace, holds_runs, has_heaps)?;
    let trace = trace.map(|text| tables.load(text)).transpose()?;
    let traced = trace.as_ref().map_or(0, AllocTrace::cpus);
    if let Some(cpus) = plan.cpus.iter().find(|cpus| (*cpus as usize) < traced) {
        return Err(StressError::TraceForMore { traced, cpus });
    }
    let _reporter = Reporter::start();
    // Before the frames are counted: a set of CPUs is never freed.
    if plan.runs_on(|kind| kind == SubjectKind::Scheduler) > 0 {
        plan.cpus.iter().for_each(|cpus| {
            let _ = affinity_of(&tables, cpus);
        });
    }
    log::info!("seed {seed:#x}, {}", plan.times());
    let seed_text = LineBuffer::<20>::format(format_args!("{seed:#x}"));
    console::send(&Record::text("stress", "seed", seed_text.as_str()));
    drain_kernel()?;
    // The frames of the tables are free again at the end.
    before_work((KernelAllocator.free_frames() + tables.frames()) as u64);
    console::send(&Record::Work(wire::WorkStart { entry_to_work_us: time::now_us() }));
    if plan.runs() > 1 {
        prefault::free_blocks();
    }
    let mut index = 0;
    let mut skipped: heapless::Vec<Subject, MOST_SUBJECTS> = heapless::Vec::new();
    let mut first = None;
    for cpus in plan.cpus.iter() {
        for subject in parameters.subjects() {
            if skipped.contains(&subject) {
                index += parameters.workloads_of(subject).count() as u32;
                continue;
            }
            let mut bench = SubjectRun {
                plan: &plan,
                tables: &tables,
                trace: trace.as_ref(),
                subject,
                cpus,
                index: &mut index,
                give_up,
            };
            let ran = match subject {
                Subject::Allocator(one) if one.is_kernels() => {
                    // All of the machine's frames are the kernel's.
                    let all = [FrameNumber::new(0)..memory::frames().end()];
                    bench.run_all(&kernels(LentFrames::new(&all)))
                }
                Subject::Allocator(one) => bench.run_all_on_donated_frames(one),
                Subject::Heap(one) => match one.backing {
                    HeapBacking::Kernel(with) => bench.run_all_on_kernels_heap(with),
                    HeapBacking::Arena(make) => bench.run_each_in_arena(make),
                },
                Subject::Scheduler(policy) => bench.run_all_with_policy(policy),
            };
            match ran {
                Ok(()) => {}
                Err(error) if error.concerns_borrower_only() => {
                    log::error!("{error}: skipping {subject}");
                    console::send(&Record::text("stress", "skipped", subject.name()));
                    // There are no more of them.
                    let _ = skipped.push(subject);
                    first.get_or_insert(error);
                    // The donated frames are free again, whatever their owner words and the tables say.
                    tables
                        .owners
                        .iter()
                        .chain(&*tables.slots)
                        .for_each(|word| word.store(0, Ordering::Relaxed));
                }
                Err(error) => return Err(error),
            }
        }
    }
    drop(tables);
    // The donated frames and the tables were freed, perhaps to a magazine. The caller compares the number of free frames with
    // that before.
    drain_kernel()?;
    first.map_or(Ok(()), Err)
}

patchable! {
    /// Called after each workload, before the second snapshot.
    pub(crate) fn workload_over(source: &dyn FrameSource, allocator: &'static Allocator) {
        let _ = (source, allocator);
    }
}

/// The runs of one allocator or heap on one number of CPUs.
struct SubjectRun<'a> {
    plan: &'a Plan<'a>,
    tables: &'a Tables,
    /// The trace of `replay`.
    trace: Option<&'a AllocTrace<'a>>,
    subject: Subject,
    cpus: u32,
    /// The index of the next run of a workload in the stress.
    index: &'a mut u32,
    give_up: fn(StressError) -> !,
}

impl SubjectRun<'_> {
    /// Not inlined, as `DonatedFrames` takes much of the stack.
    #[inline(never)]
    fn run_all_on_donated_frames(&mut self, allocator: &'static Allocator) -> Result<(), StressError> {
        // Frames in the caches of the CPUs are donated as well.
        drain_kernel()?;
        // Each CPU has a context, and so has its timer handler.
        let contexts = 2 * self.tables.ids().len();
        let needs = Needs { frames: KernelAllocator.free_frames(), contexts };
        let mut donated =
            DonatedFrames::take(allocator.metadata_pages(&needs)).ok_or(StressError::TooLittleToDonate)?;
        let mut outcome = None;
        donated.run(allocator, contexts, &mut |source, lent| {
            // Of what the kernel has kept: it is used for nothing else, so a free that is accepted does no harm.
            let foreign = source.rejects_invalid_frees().and_then(FrameRange::alloc);
            let foreign = foreign.as_ref().map(FrameRange::number);
            outcome = Some(self.run_all(&Tested::Frames(TestedFrames { source, lent, foreign })));
        });
        outcome.unwrap_or_else(|| {
            let mut workloads = self.plan.parameters.workloads_of(self.subject);
            *self.index += workloads.clone().count() as u32;
            workloads.next().map_or(Ok(()), |workload| Err(self.did_not_run(workload, None)))
        })
    }

    /// Runs the workloads of the scheduler with a policy of all CPUs. The policy of the boot returns after them.
    fn run_all_with_policy(&mut self, policy: &'static Policy) -> Result<(), StressError> {
        let of_boot = sched::policy().filter(|of_boot| *of_boot != policy);
        let change = |policy| sched::change_policy(policy).map_err(StressError::Call);
        of_boot.map_or(Ok(()), |_| change(policy))?;
        let ran = self.run_all(&Tested::Scheduler(&KernelAllocator));
        // Also after a failure: the next policy is compared in the same boot.
        let changed_back = of_boot.map_or(Ok(()), change);
        ran.and(changed_back)
    }

    fn run_all_on_kernels_heap(&mut self, with: WithHeap) -> Result<(), StressError> {
        let free_frames: Option<fn() -> usize> = Some(|| KernelAllocator.free_frames());
        let mut outcome = None;
        with(0, smp::cpus().len(), &mut |source| {
            let heap = TestedHeap { source, bounds: None, free_frames };
            outcome = Some(self.run_all(&Tested::Heap(heap)));
        });
        outcome.expect("octopod's heap is passed on and the workloads run on it")
    }

    /// Runs each workload on a heap of its own, in the same arena: some heaps do not reuse memory for other sizes.
    #[inline(never)]
    fn run_each_in_arena(&mut self, make: MakeHeap) -> Result<(), StressError> {
        drain_kernel()?;
        let mut arena = ArenaFrames::take().ok_or(StressError::TooLittleToDonate)?;
        self.run_each(&mut |run, workload| {
            let arena = arena.lend(smp::cpus().len());
            let mut outcome = None;
            make(&arena, &mut |source| {
                let heap = TestedHeap { source, bounds: Some(arena.addresses()), free_frames: None };
                outcome = Some(run.run_one(&Tested::Heap(heap), workload));
            });
            outcome.unwrap_or_else(|| Err(run.did_not_run(workload, arena.declined())))
        })
    }

    fn did_not_run(&self, workload: &'static Workload, reason: Option<&'static str>) -> StressError {
        let run = FailedRun { workload, subject: self.subject };
        StressError::Discrepancy { run, discrepancy: Discrepancy::DidNotRun { reason } }
    }

    fn run_all(&mut self, tested: &Tested<'_>) -> Result<(), StressError> {
        self.run_each(&mut |run, workload| run.run_one(tested, workload))
    }

    /// Calls `run_one` for each workload of the subject, until one fails.
    fn run_each(
        &mut self,
        run_one: &mut dyn FnMut(&Self, &'static Workload) -> Result<(), StressError>,
    ) -> Result<(), StressError> {
        let workloads = self.plan.parameters.workloads_of(self.subject);
        let end = *self.index + workloads.clone().count() as u32;
        for workload in workloads {
            let ran = run_one(self, workload);
            *self.index = if ran.is_ok() { *self.index + 1 } else { end };
            ran?;
        }
        Ok(())
    }

    fn run_one(&self, tested: &Tested<'_>, workload: &'static Workload) -> Result<(), StressError> {
        let run = FailedRun { workload, subject: self.subject };
        drain(tested)?;
        let before = tested.snapshot();
        for operations in smp::online().filter_map(|cpu| cpu.get(OPERATIONS)) {
            operations.store(0, Ordering::Relaxed);
        }
        let (tables, cpus, frames) = (self.tables, self.cpus as usize, tested.frames());
        let ids = &tables.ids()[..cpus];
        tables.histograms.iter().for_each(Histogram::clear);
        let failures = FailureLog::new();
        let check_every_frame = self.plan.parameters.check_every_frame == Switch::On;
        let shared = Shared::new(Setup {
            workload,
            seed: self.plan.seed,
            source: frames.source,
            lent: frames.lent,
            heap: tested.heap(&tables.slots, check_every_frame),
            owners: Owners::new(&tables.owners).in_run(*self.index),
            histograms: &tables.histograms[..2 * cpus],
            ids,
            rings: &tables.rings[..cpus],
            failures: &failures,
            free_before: before.free(),
            trace: self.trace,
            runs: tables.runs(workload),
            check_every_frame,
            largest_order: self.plan.parameters.largest_order.order(),
        });
        let (began_us, budget_us) = (time::now_us(), self.plan.budget_us_of(workload));
        let kernel = Kernel {
            end: Deadline::after_us(budget_us),
            limit: Deadline::after_us(budget_us + EXHAUST_LIMIT.as_micros() as u64),
            barrier: Barrier::new(ids.iter().copied().map(CpuId).collect()),
            is_cpu_stuck: AtomicBool::new(false),
        };
        progress::set(Some(self.progress(workload, began_us)));
        let give_up_if_stuck = || {
            if kernel.is_cpu_stuck.load(Ordering::Acquire)
                && let Some(failure) = failures.first()
            {
                let discrepancy = Discrepancy::Failure(failure);
                (self.give_up)(StressError::Discrepancy { run, discrepancy });
            }
        };
        let ran = if let Body::Threads(body) = workload.run {
            workloads::run_threads(&kernel, &shared, affinity_of(tables, self.cpus), body);
            give_up_if_stuck();
            Ok(())
        } else {
            // Returns when all CPUs have passed the last barrier.
            smp::on_each_cpu(STRESS_GRACE_MS, &|cpu| {
                // Not the CPU's current rank, which changes when other CPUs go offline.
                if let Ok(rank) = ids.binary_search(&cpu.id().0) {
                    // SAFETY: a context must be unique. `ids` has each CPU once, so each has the context of its own index and its
                    // handler's.
                    workloads::run(&kernel, &shared, unsafe { AllocContext::new(rank) });
                    if rank == 0 {
                        give_up_if_stuck();
                    }
                }
            })
        };
        let elapsed_us = time::now_us() - began_us;
        progress::set(None);
        ran.map_err(StressError::Work)?;
        if let Subject::Allocator(allocator) = self.subject {
            workload_over(frames.source, allocator);
        }
        drain(tested)?;
        let after = tested.snapshot();
        self.report(&shared, elapsed_us, before.lost_and_gained(&after));
        // SAFETY: a context must be unique. This is the BSP, whose rank is 0, and no workload runs.
        let mut context = unsafe { AllocContext::new(0) };
        let limit = Deadline::after_us(EXHAUST_LIMIT.as_micros() as u64);
        let (owners, is_overdue) = (shared.owners, &|| limit.has_passed());
        let search = Search { owners, context: &mut context, is_overdue };
        before
            .compare(&after, &failures, tested, search)
            .and_then(|()| invalid_frees::check(tested, &mut context))
            .map_err(|discrepancy| StressError::Discrepancy { run, discrepancy })
    }

    fn progress(&self, workload: &'static Workload, began_us: u64) -> Progress {
        Progress {
            workload,
            subject: self.subject,
            cpus: self.cpus,
            index: *self.index,
            of: self.plan.runs() as u32,
            began_us,
            budget_us: self.plan.budget_us_of(workload),
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
        let figures = figures(shared, self.subject, measured);
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
        if shared.is_cut() {
            log::warn!("{workload}: {ROUND_CUT}");
        }
        console::send(&Record::Stress(figures));
    }
}

/// The affinity of the threads of a workload of the scheduler on the first of the CPUs.
fn affinity_of(tables: &Tables, cpus: u32) -> Affinity {
    let all = tables.ids();
    if (cpus as usize) < all.len() { thread_platform::affinity(&all[..cpus as usize]) } else { Affinity::Any }
}

/// Makes a heap in an arena.
type MakeHeap = fn(&heap::HeapArena<'_>, heap::HeapRun<'_>);

/// Passes octopod's heap on.
type WithHeap = fn(usize, usize, heap::HeapRun<'_>);

/// Drains the per-CPU caches of the kernel's allocator.
fn drain_kernel() -> Result<(), StressError> {
    drain(&kernels(LentFrames::NONE))
}

/// The kernel's allocator under test.
fn kernels(lent: LentFrames<'_>) -> Tested<'_> {
    // The kernel's code.
    let code = FrameNumber::containing(image::text().start as usize);
    let foreign = KernelAllocator.rejects_invalid_frees().map(|order| first_run_from(code, order));
    Tested::Frames(TestedFrames { source: &KernelAllocator, lent, foreign })
}

/// Drains the per-CPU caches of what is tested.
fn drain(tested: &Tested<'_>) -> Result<(), StressError> {
    let cpus = smp::online().count();
    let drained = smp::on_each_cpu(STRESS_GRACE_MS, &|cpu| match tested {
        Tested::Frames(TestedFrames { source, .. }) => {
            if let Some(rank) = cpu.rank() {
                for number in [rank, cpus + rank] {
                    // SAFETY: a context must be unique. Each CPU uses its own two, and no workload runs.
                    source.drain(&mut unsafe { AllocContext::new(number) });
                }
            }
        }
        Tested::Heap(heap) => heap.source.drain(),
        Tested::Scheduler(_) => KernelHeap.drain(),
    });
    drained.map_err(StressError::Work)?;
    match tested {
        Tested::Scheduler(_) => {
            // The stacks that the CPUs keep, and those that are waiting for a flush. Where none is waiting, there may be page tables that no
            // mapping uses any more.
            sched::release_stacks();
            smp::purge_mappings().map_err(StressError::Purge)?;
            drain_kernel()
        }
        // The frames that it has freed lie in the CPUs' caches.
        Tested::Heap(TestedHeap { free_frames: Some(_), .. }) => drain_kernel(),
        _ => Ok(()),
    }
}
