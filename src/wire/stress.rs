//! Records of the stress.

use serde::{Deserialize, Serialize};

/// The maximum number of lanes in a progress record: each has up to 20 digits and a comma. A lane is a CPU or a group of
/// neighbouring CPUs.
pub const LANES_IN_RECORD: usize = 32;

/// Returns the number of neighbouring CPUs in a lane. It is a power of two, so that the lanes do not change if a few CPUs are
/// missing.
pub const fn cpus_per_lane(cpus: usize) -> usize {
    cpus.div_ceil(LANES_IN_RECORD).next_power_of_two()
}

/// The progress of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress<S> {
    /// The workload's name.
    pub workload: S,
    /// The allocator under test.
    pub allocator: S,
    /// CPUs that take part.
    pub cpus: u32,
    /// The index of the workload in this run, from 0.
    pub index: u32,
    /// The number of workloads in this run.
    pub of: u32,
    /// Time since the workload began, in milliseconds.
    pub elapsed_ms: u64,
    /// The time limit, in milliseconds; a workload can end earlier.
    pub budget_ms: u64,
    /// Operations of all CPUs so far in this workload.
    pub operations: u64,
    /// The operations of each lane, in order: see [`cpus_per_lane`].
    pub lanes: heapless::Vec<u64, LANES_IN_RECORD>,
}

/// The result of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stress<S> {
    /// The workload's name.
    pub workload: S,
    /// The allocator under test.
    pub allocator: S,
    /// CPUs that took part.
    pub cpus: u32,
    /// Allocations and frees of all CPUs.
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
    /// The duration, in microseconds.
    pub elapsed_us: u64,
    /// Frames that were free before the workload and are not free after it; of a heap, bytes.
    pub lost: u64,
    /// Frames or objects that were allocated while they had an owner, or freed by a CPU that did not own them; or threads that two CPUs ran.
    #[serde(alias = "doubled")]
    pub double_allocated: u64,
    /// Rounds of `replay`; interrupts during allocation of `interrupts` and `heap_interrupts`; else 0.
    #[serde(default)]
    pub rounds: u64,
    /// Allocations of `replay` or `interrupts` that failed; else 0.
    #[serde(default)]
    pub failed_allocations: u64,
    /// CPU offline/online cycles of `hotplug`; else 0.
    #[serde(default)]
    pub offline_cycles: u64,
    /// What the scheduler has done meanwhile, of a workload of the scheduler.
    #[serde(default)]
    pub scheduling: Option<Scheduling>,
    /// What it ran on: `frames`, `heap` or `scheduler`.
    #[serde(default = "Option::default")]
    pub kind: Option<S>,
    /// What the latencies include: `allocation`, `free`, `pair` for an allocation and its free, or `nothing`; of a workload of the scheduler
    /// `yield`, `wake-up`, `round trip`, `message`, `lock`, `spawn and join` or `lateness`.
    pub timed: Option<S>,
    /// The latency of what `timed` names.
    pub cycles: Cycles,
}

/// What the scheduler has done during a workload, on all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scheduling {
    /// Switches to a thread, or to the CPU's own.
    pub switches: u64,
    /// Threads that another one ran before.
    pub preempted: u64,
    /// Threads taken from other CPUs' queues.
    pub stolen: u64,
    /// Interrupts of other CPUs.
    pub notices: u64,
}

/// A latency distribution, in TSC cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cycles {
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The 99.9th percentile.
    pub p999: u64,
    /// The maximum.
    pub max: u64,
}

/// One CPU's share of a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StressCpu<S> {
    /// The workload's name.
    pub workload: S,
    /// The CPU.
    pub cpu: u32,
    /// Its operations.
    pub operations: u64,
}

/// The maximum number of buckets in a record: each has up to twice 20 digits, brackets and commas.
pub const BUCKETS_IN_RECORD: usize = 20;

/// A bucket of a histogram: its greatest value (in TSC cycles, unless the field says otherwise), and the number of samples.
pub type Bucket = (u64, u64);

/// A part of a workload's latency histogram over all CPUs. Buckets are in ascending order, also across records. Empty buckets
/// are omitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency<S> {
    /// The workload's name.
    pub workload: S,
    /// The buckets.
    pub buckets: heapless::Vec<Bucket, BUCKETS_IN_RECORD>,
}

/// The maximum number of scores of a workload: before its first round, and after each of 100.
pub const MAX_SCORES: usize = 101;

/// The fragmentation of memory during a workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fragmentation<S> {
    /// The workload's name.
    pub workload: S,
    /// The fragmentation score before the first round and after each, in tenths of a percent.
    pub scores: heapless::Vec<u16, MAX_SCORES>,
}

#[cfg(test)]
mod tests {
    use super::{LANES_IN_RECORD, cpus_per_lane};

    #[test]
    fn every_cpu_has_a_lane_and_up_to_32_have_their_own() {
        for cpus in [0, 1, 8, 32] {
            assert_eq!(cpus_per_lane(cpus), 1, "{cpus}");
        }
        for (cpus, each) in [(33, 2), (64, 2), (65, 4), (300, 16), (1024, 32), (4096, 128)] {
            assert_eq!(cpus_per_lane(cpus), each, "{cpus}");
            assert!(cpus.div_ceil(each) <= LANES_IN_RECORD);
        }
    }
}
