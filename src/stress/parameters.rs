//! The parameters of the stress.

use core::fmt;
use core::time::Duration;

use super::allocators::{self, Allocator, OCTOPOD};
use super::heap::{self, Heap};
use super::subject::{Subject, SubjectKind};
use super::workloads::{self, Workload, defaults};
use crate::boot::command_line::{Bounded, NameList, ParameterValue, Switch, ValueError, parse_u64};
use crate::memory::frames::Order;
use crate::parameters;
use crate::sched::policies::{self, Policy};

/// The most CPU counts of `stress.cpus=`.
pub const MAX_CPU_COUNTS: usize = 8;

/// Some of the workloads.
pub type WorkloadList = NameList<&'static Workload, { workloads::MOST }>;

/// Some of the allocators.
pub type AllocatorList = NameList<&'static Allocator, { allocators::MOST }>;

/// Some of the heaps.
pub type HeapList = NameList<&'static Heap, { heap::MOST }>;

/// Some of the scheduling policies.
pub type SchedulerList = NameList<&'static Policy, { policies::MOST }>;

parameters! {
    /// The parameters of the stress.
    pub struct StressParameters {
        /// The time for all workloads together. By default the kernel chooses.
        pub time: Option<Duration> = None, "stress.seconds";
        /// The workloads, in this order.
        pub workloads: WorkloadList = WorkloadList::of(defaults()), "stress.workloads";
        /// The seed of the random numbers. By default the TSC.
        pub seed: Option<u64> = None, "stress.seed";
        /// The allocators, in this order.
        pub allocators: AllocatorList = AllocatorList::of([&OCTOPOD]), "stress.allocators";
        /// The heaps on which the workloads of heaps run, in this order.
        pub heaps: HeapList = HeapList::of([heap::DEFAULT]), "stress.heaps";
        /// The scheduling policies with which the workloads of the scheduler run, in this order. By default that of `scheduler=`.
        pub schedulers: SchedulerList = SchedulerList::EMPTY, "stress.schedulers";
        /// The numbers of CPUs to run on, one after the other. By default all CPUs; for a comparison 1, 2, 4 and so on.
        pub cpus: CpuCounts = CpuCounts::NONE, "stress.cpus";
        /// Whether every frame of a run has its owner word checked, and every word of an object, instead of a few of a large one. Such a
        /// run measures the check.
        pub check_every_frame: Switch = Switch::Off, "stress.check_every_frame";
        /// The largest order that the workloads allocate. Larger allocations are counted as unsupported, so that allocators of different
        /// largest orders are compared by the same requests.
        pub largest_order: LargestOrder = LargestOrder::MOST, "stress.largest_order";
    }
}

impl StressParameters {
    /// The allocators, heaps and scheduling policies that have workloads, in this order.
    pub fn subjects(&self) -> impl Iterator<Item = Subject> + '_ {
        let allocators = self.allocators.iter().map(Subject::Allocator);
        let heaps = self.heaps.iter().map(Subject::Heap);
        let all = allocators.chain(heaps).chain(self.schedulers.iter().map(Subject::Scheduler));
        all.filter(|subject| self.workloads_of(*subject).next().is_some())
    }

    /// Whether several subjects of one kind are compared with each other.
    pub fn compares_subjects(&self) -> bool {
        let count = |kind| self.subjects().filter(|one| one.kind() == kind).count();
        SubjectKind::ALL.into_iter().any(|kind| count(kind) > 1)
    }

    /// The workloads that run on a subject.
    pub fn workloads_of(&self, subject: Subject) -> impl Iterator<Item = &'static Workload> + Clone + '_ {
        self.workloads.iter().filter(move |workload| workload.kind() == subject.kind())
    }

    /// Takes the policy of the boot where none is named.
    pub(crate) fn complete(&mut self, policy: &'static Policy) {
        if self.schedulers.is_empty() {
            self.schedulers.push(policy);
        }
    }
}

/// The number of an order: 0 to 18.
pub type LargestOrder = Bounded<0, { Order::MAX.get() as u32 }>;

impl LargestOrder {
    /// All orders.
    pub const MOST: LargestOrder = match Bounded::new(Order::MAX.get() as u32) {
        Some(most) => most,
        None => unreachable!(),
    };

    /// The order.
    pub fn order(self) -> Order {
        Order::new(self.get() as u8).unwrap_or(Order::MAX)
    }
}

/// Ascending numbers of CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuCounts {
    /// 0 ends the list.
    counts: [u32; MAX_CPU_COUNTS],
}

impl CpuCounts {
    /// An empty list.
    pub const NONE: CpuCounts = CpuCounts { counts: [0; MAX_CPU_COUNTS] };

    /// The first [`MAX_CPU_COUNTS`] of these numbers, which must be greater than 0.
    pub fn of(numbers: impl IntoIterator<Item = u32>) -> CpuCounts {
        let mut list = CpuCounts::NONE;
        for (slot, number) in list.counts.iter_mut().zip(numbers) {
            *slot = number;
        }
        list
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + Clone + use<> {
        self.counts.into_iter().take_while(|count| *count > 0)
    }
}

impl ParameterValue for CpuCounts {
    fn assign<'a>(&mut self, text: &'a str) -> Result<(), ValueError<'a>> {
        let mut list = CpuCounts::NONE;
        let mut last = 0;
        for (index, word) in text.split(',').enumerate() {
            let slot = list.counts.get_mut(index).ok_or(ValueError::NotAscending)?;
            *slot = u32::try_from(parse_u64(word)?).map_err(|_| ValueError::OutOfRange)?;
            if *slot <= last {
                return Err(ValueError::NotAscending);
            }
            last = *slot;
        }
        *self = list;
        Ok(())
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, count) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{count}")?;
        }
        Ok(())
    }

    fn describe(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX_CPU_COUNTS} ascending numbers of CPUs")
    }
}
