//! Records of the scheduler.

use serde::{Deserialize, Serialize};

/// What the scheduler has counted on a CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedCpu {
    /// The CPU.
    pub cpu: u32,
    /// Time since the scheduler has started, in nanoseconds.
    pub elapsed_ns: u64,
    /// How long of that a thread ran, or work for all CPUs, in nanoseconds; `None` unless all events were recorded.
    pub busy_ns: Option<u64>,
    /// How often the CPU has left a thread, by the reason.
    pub switches: SwitchesByReason,
    /// Threads that it has taken from other CPUs' queues.
    pub stolen: u64,
    /// The greatest latency of a wake-up, in nanoseconds: the time from a wake-up, or from the making of a thread, until the CPU ran the thread.
    /// 0 unless all events were recorded.
    pub longest_latency_ns: u64,
    /// The numbers of wake-ups by their latency. See [`latency_bucket`]. As before.
    pub latencies: [u32; SCHED_BUCKETS],
    /// The numbers of switches by the threads that waited on the CPU's queue then. See [`depth_bucket`]. As before.
    pub depths: [u32; SCHED_BUCKETS],
}

/// The number of buckets of the histograms.
pub const SCHED_BUCKETS: usize = 20;

/// How often a CPU has left a thread, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SwitchesByReason {
    /// It gave up the CPU by `yield_now`.
    pub yielded: u64,
    /// Another thread ran before it.
    pub preempted: u64,
    /// It might not run on the CPU any more.
    pub moved: u64,
    /// It waited for an `unpark`.
    pub parked: u64,
    /// It waited for an event.
    pub blocked: u64,
    /// It had ended.
    pub ended: u64,
    /// It was the CPU's own, which runs while there is no other.
    pub own: u64,
}

impl SwitchesByReason {
    /// Returns the number of all switches.
    pub fn all(&self) -> u64 {
        let SwitchesByReason { yielded, preempted, moved, parked, blocked, ended, own } = *self;
        [yielded, preempted, moved, parked, blocked, ended, own]
            .iter()
            .fold(0, |sum: u64, one| sum.saturating_add(*one))
    }
}

/// The least latency of the second bucket is this power of two, in nanoseconds.
const FIRST_LATENCY_BITS: u32 = 8;

/// Returns the bucket of a latency: below 256 ns, below 512 ns, and so on; the last one has the rest.
pub fn latency_bucket(ns: u64) -> usize {
    depth_bucket(ns >> FIRST_LATENCY_BITS)
}

/// Returns the greatest latency of a bucket; of the last, of the bucket that it would be.
pub fn latency_top(bucket: usize) -> u64 {
    (1 << (bucket as u32 + FIRST_LATENCY_BITS)) - 1
}

/// Returns the bucket of a depth: 0, 1, below 4, below 8, and so on; the last one has the rest.
pub fn depth_bucket(depth: u64) -> usize {
    ((u64::BITS - depth.leading_zeros()) as usize).min(SCHED_BUCKETS - 1)
}

/// Returns the greatest depth of a bucket; of the last, of the bucket that it would be.
pub fn depth_top(bucket: usize) -> u64 {
    (1 << bucket) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_in_the_buckets_of_their_tops() {
        for bucket in 0..SCHED_BUCKETS {
            assert_eq!(latency_bucket(latency_top(bucket)), bucket);
            assert_eq!(depth_bucket(depth_top(bucket)), bucket);
        }
        for bucket in 0..SCHED_BUCKETS - 1 {
            assert_eq!(latency_bucket(latency_top(bucket) + 1), bucket + 1);
            assert_eq!(depth_bucket(depth_top(bucket) + 1), bucket + 1);
        }
        assert_eq!(
            (latency_bucket(u64::MAX), depth_bucket(u64::MAX)),
            (SCHED_BUCKETS - 1, SCHED_BUCKETS - 1)
        );
    }

    #[test]
    fn the_longest_record_fits() {
        let record = super::super::Record::<String>::SchedCpu(SchedCpu {
            cpu: u32::MAX,
            elapsed_ns: u64::MAX,
            busy_ns: Some(u64::MAX),
            longest_latency_ns: u64::MAX,
            switches: SwitchesByReason {
                yielded: u64::MAX,
                preempted: u64::MAX,
                moved: u64::MAX,
                parked: u64::MAX,
                blocked: u64::MAX,
                ended: u64::MAX,
                own: u64::MAX,
            },
            stolen: u64::MAX,
            latencies: [u32::MAX; SCHED_BUCKETS],
            depths: [u32::MAX; SCHED_BUCKETS],
        });
        assert!(serde_json::to_string(&record).unwrap().len() <= super::super::MAX_JSON_BYTES);
    }
}
