//! The measurements of the stress, built from its records.

use std::time::Duration;

use octopod::stress::workloads::Timed;
use octopod::wire::{Bucket, Cycles, Scheduling, Stress, StressCpu};
use serde::{Deserialize, Serialize};

use crate::run::Seen;

/// A workload's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StressReport {
    /// The workload's name.
    pub workload: String,
    /// The allocator, heap or scheduling policy under test.
    pub allocator: String,
    /// Its kind: `frames`, `heap` or `scheduler`; null in reports of older versions, which have allocators of frames only.
    #[serde(default)]
    pub kind: Option<String>,
    /// CPUs that took part.
    pub cpus: u32,
    /// Allocations and frees of all CPUs; of a workload of the scheduler, the steps of all threads.
    pub operations: u64,
    /// Allocations of all CPUs that succeeded; of a workload of the scheduler, threads that were spawned.
    #[serde(default)]
    pub allocations: u64,
    /// Allocations that failed, of orders that the allocator supports; of a workload of the scheduler, threads without memory for a stack.
    #[serde(default)]
    pub refused: u64,
    /// Allocations of orders that the allocator does not support.
    #[serde(default)]
    pub unsupported: u64,
    /// Its duration.
    pub seconds: f64,
    /// Frames that were free before and are not free after; of a heap, bytes.
    pub lost: u64,
    /// Frames or objects that were allocated twice, or freed by a CPU that did not own them; or threads that two CPUs ran.
    #[serde(alias = "doubled")]
    pub double_allocated: u64,
    /// Rounds of `replay`, or interrupts during allocation of `interrupts`.
    #[serde(default)]
    pub rounds: u64,
    /// Allocations of these that failed.
    #[serde(default)]
    pub failed_allocations: u64,
    /// CPU offline/online cycles of `hotplug`.
    #[serde(default)]
    pub offline_cycles: u64,
    /// The counts of the scheduler meanwhile, on all CPUs; null unless the workload is one of the scheduler.
    #[serde(default)]
    pub scheduling: Option<Scheduling>,
    /// The part that the latencies include: `allocation`, `free`, `pair` for an allocation and its free, or `nothing`; of a workload of the
    /// scheduler `yield`, `wake-up`, `round trip`, `message`, `lock`, `spawn and join` or `lateness`; null in reports of older versions.
    #[serde(default)]
    pub timed: Option<String>,
    /// The latency of what `timed` names: in TSC cycles, by threads of the host in nanoseconds.
    pub cycles: Cycles,
    /// The same in full: the buckets that hold a sample, each with the greatest value that falls into it.
    #[serde(default)]
    pub histogram: Vec<Bucket>,
    /// The fragmentation score in percent, before the first round and after each; empty if the workload does not measure it.
    #[serde(default)]
    pub fragmentation: Vec<f64>,
    /// Each CPU's share, by its number.
    pub per_cpu_operations: Vec<u64>,
}

impl StressReport {
    /// Returns whether calls of the allocator were timed.
    pub fn is_timed(&self) -> bool {
        self.timed.as_deref() != Some(Timed::Nothing.name())
    }

    /// Returns the part that the latencies include, in words.
    pub fn timed_in_words(&self) -> &str {
        match self.timed.as_deref() {
            None => "not recorded",
            Some("pair") => "allocation and free",
            Some(other) => other,
        }
    }

    /// Operations a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.operations as f64 / self.seconds } else { 0.0 }
    }
}

/// One for each workload that has ended.
pub(super) fn reports(seen: &Seen) -> Vec<StressReport> {
    let histogram = |index| seen.latencies.get(index).cloned().unwrap_or_default();
    let scores = |index: usize| {
        let tenths = seen.scores.get(index).map_or(&[][..], Vec::as_slice);
        tenths.iter().map(|tenths| f64::from(*tenths) / 10.0).collect()
    };
    let shares = |index: usize| seen.shares.get(index).map(|shares| by_cpu(shares)).unwrap_or_default();
    let all = seen.stress.iter().enumerate();
    all.map(|(index, stress)| report(stress, histogram(index), scores(index), shares(index))).collect()
}

fn report(
    stress: &Stress<String>,
    histogram: Vec<Bucket>,
    fragmentation: Vec<f64>,
    per_cpu_operations: Vec<u64>,
) -> StressReport {
    StressReport {
        workload: stress.workload.clone(),
        allocator: stress.allocator.clone(),
        kind: stress.kind.clone(),
        cpus: stress.cpus,
        operations: stress.operations,
        allocations: stress.allocations,
        refused: stress.refused,
        unsupported: stress.unsupported,
        seconds: Duration::from_micros(stress.elapsed_us).as_secs_f64(),
        lost: stress.lost,
        double_allocated: stress.double_allocated,
        rounds: stress.rounds,
        failed_allocations: stress.failed_allocations,
        offline_cycles: stress.offline_cycles,
        scheduling: stress.scheduling,
        timed: stress.timed.clone(),
        cycles: stress.cycles,
        histogram,
        fragmentation,
        per_cpu_operations,
    }
}

fn by_cpu(shares: &[StressCpu<String>]) -> Vec<u64> {
    let mut shares: Vec<(u32, u64)> = shares.iter().map(|share| (share.cpu, share.operations)).collect();
    shares.sort_unstable();
    shares.into_iter().map(|(_, operations)| operations).collect()
}
