//! How long each workload of a stress runs, and on which CPUs.

use core::fmt;

use super::error::StressError;
use super::parameters::{CpuCounts, MAX_CPU_COUNTS, StressParameters};
use super::subject::SubjectKind;
use super::workloads::Workload;

/// The default time of all workloads together, on one allocator and all CPUs.
const DEFAULT_MS: u64 = 4_000;

/// The default time of all workloads of the scheduler together, besides: most of them show in a few milliseconds what they can show.
const DEFAULT_SCHEDULER_MS: u64 = 1_200;

/// The default time of each workload if allocators or numbers of CPUs are compared.
const DEFAULT_COMPARED_MS: u64 = 200;

/// The plan of a stress.
pub(super) struct Plan<'a> {
    pub(super) parameters: &'a StressParameters,
    /// The numbers of CPUs to run on, one after the other.
    pub(super) cpus: CpuCounts,
    pub(super) seed: u64,
    /// The time of a workload of frames or a heap.
    budget_us: u64,
    /// The time of a workload of the scheduler.
    scheduler_budget_us: u64,
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        parameters: &'a StressParameters,
        seed: u64,
        online: u32,
    ) -> Result<Plan<'a>, StressError> {
        if let Some(asked) = parameters.cpus.iter().find(|asked| *asked > online) {
            return Err(StressError::TooFewCpus { asked, online });
        }
        let cpus = if parameters.cpus != CpuCounts::NONE {
            parameters.cpus
        } else if !parameters.compares_subjects() {
            CpuCounts::of([online])
        } else {
            let powers = (0..u32::BITS).map(|shift| 1 << shift).take_while(|power| *power < online);
            // The last number is that of all CPUs.
            CpuCounts::of(powers.take(MAX_CPU_COUNTS - 1).chain([online]))
        };
        let mut plan = Plan { parameters, cpus, seed, budget_us: 0, scheduler_budget_us: 0 };
        let (all, of_scheduler) =
            (plan.runs() as u64, plan.runs_on(|kind| kind == SubjectKind::Scheduler) as u64);
        (plan.budget_us, plan.scheduler_budget_us) = match parameters.time {
            Some(time) => {
                let each = time.as_micros() as u64 / all.max(1);
                (each, each)
            }
            None if plan.compares() => (DEFAULT_COMPARED_MS * 1000, DEFAULT_COMPARED_MS * 1000),
            None => {
                let of_others = (all - of_scheduler).max(1);
                // Alone they have the time of all.
                let scheduler_ms = if of_scheduler == all { DEFAULT_MS } else { DEFAULT_SCHEDULER_MS };
                (DEFAULT_MS * 1000 / of_others, scheduler_ms * 1000 / of_scheduler.max(1))
            }
        };
        Ok(plan)
    }

    /// Displays the time of each workload.
    pub(super) fn times(&self) -> impl fmt::Display {
        let (others, of_scheduler) = (self.budget_us / 1000, self.scheduler_budget_us / 1000);
        let (all, scheduler) = (self.runs(), self.runs_on(|kind| kind == SubjectKind::Scheduler));
        fmt::from_fn(move |f| match scheduler {
            0 => write!(f, "{others} ms for each workload"),
            _ if scheduler == all || others == of_scheduler => {
                write!(f, "{of_scheduler} ms for each workload")
            }
            _ => write!(f, "{others} ms for each workload, {of_scheduler} ms for each of the scheduler"),
        })
    }

    /// The number of runs of a workload.
    pub(super) fn runs(&self) -> usize {
        self.runs_on(|_| true)
    }

    /// The number of runs of a workload on subjects of some kinds.
    pub(super) fn runs_on(&self, is_kind: impl Fn(SubjectKind) -> bool) -> usize {
        let runs_of = |subject| self.parameters.workloads_of(subject).count();
        let subjects = self.parameters.subjects().filter(|subject| is_kind(subject.kind()));
        subjects.map(runs_of).sum::<usize>() * self.cpus.iter().count()
    }

    /// The time of a workload, in microseconds.
    pub(super) fn budget_us_of(&self, workload: &Workload) -> u64 {
        if workload.kind() == SubjectKind::Scheduler { self.scheduler_budget_us } else { self.budget_us }
    }

    /// Whether a workload runs more than once.
    pub(super) fn compares(&self) -> bool {
        self.parameters.compares_subjects() || self.cpus.iter().count() > 1
    }
}
