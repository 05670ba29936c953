//! What the stress says.

use serde::{Deserialize, Serialize};

/// How many CPUs, or groups of neighbours, a record of progress tells apart: 20 digits and a comma for each.
pub const LANES_IN_RECORD: usize = 32;

/// How many neighbouring CPUs share a lane where there are so many: a power of two, so that lanes stay what they are when
/// a few CPUs are missing.
pub const fn cpus_per_lane(cpus: usize) -> usize {
    cpus.div_ceil(LANES_IN_RECORD).next_power_of_two()
}

/// A workload under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress<S> {
    /// The workload's name.
    pub workload: S,
    /// The allocator under test.
    pub allocator: S,
    /// CPUs that take part.
    pub cpus: u32,
    /// Its place among the workloads of this run, from 0.
    pub index: u32,
    /// How many workloads this run has.
    pub of: u32,
    /// Time since the workload began, in milliseconds.
    pub elapsed_ms: u64,
    /// The time it may take, in milliseconds; a workload that ends by itself may take less.
    pub budget_ms: u64,
    /// Operations of all CPUs so far in this workload.
    pub operations: u64,
    /// The same of each CPU, in their order; of each [`cpus_per_lane`] neighbours where there are more than fit.
    pub lanes: heapless::Vec<u64, LANES_IN_RECORD>,
}

/// A workload's result.
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
    /// How long it ran, in microseconds.
    pub elapsed_us: u64,
    /// Frames that were free before and are not free after.
    pub lost: u64,
    /// Frames that were allocated while they had an owner, or freed by a CPU that did not own them.
    #[serde(alias = "doubled")]
    pub double_allocated: u64,
    /// How long an allocation and its free take together.
    pub cycles: Cycles,
}

/// A latency distribution, in TSC cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cycles {
    /// Half of the samples are no greater.
    pub p50: u64,
    /// 99 in 100 are no greater.
    pub p99: u64,
    /// 999 in 1,000 are no greater.
    pub p999: u64,
    /// The greatest sample.
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

/// Buckets that fit in a record: twice 20 digits, brackets and commas for each.
pub const BUCKETS_IN_RECORD: usize = 20;

/// Samples of about one length: the greatest value that falls into the bucket, in TSC cycles, and how many there are.
pub type Bucket = (u64, u64);

/// A part of a workload's latencies over all CPUs. Buckets come in ascending order, from one record to the next as well,
/// and only those that hold a sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency<S> {
    /// The workload's name.
    pub workload: S,
    /// The next buckets.
    pub buckets: heapless::Vec<Bucket, BUCKETS_IN_RECORD>,
}

#[cfg(test)]
mod tests {
    use super::{LANES_IN_RECORD, cpus_per_lane};

    #[test]
    fn all_cpus_have_a_lane_and_few_have_their_own() {
        for cpus in [0, 1, 8, 32] {
            assert_eq!(cpus_per_lane(cpus), 1, "{cpus}");
        }
        for (cpus, each) in [(33, 2), (64, 2), (65, 4), (300, 16), (1024, 32), (4096, 128)] {
            assert_eq!(cpus_per_lane(cpus), each, "{cpus}");
            assert!(cpus.div_ceil(each) <= LANES_IN_RECORD);
        }
    }
}
