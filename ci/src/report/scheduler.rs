//! The scheduler's counts of each CPU, built from its records.

use octopod::wire::{Bucket, Cycles, SCHED_BUCKETS, SchedCpu, SwitchesByReason, depth_top, latency_top};
use serde::{Deserialize, Serialize};

use crate::report::lateness::per_mille;
use crate::run::Seen;

/// The scheduler's counts of a CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulerReport {
    /// The CPU.
    pub cpu: u32,
    /// Time since the scheduler has started, in nanoseconds.
    pub elapsed_ns: u64,
    /// The part of that in which a thread ran, or work for all CPUs, in nanoseconds; `None` unless all events were recorded.
    pub busy_ns: Option<u64>,
    /// The number of switches from a thread, by the reason.
    pub switches: SwitchesByReason,
    /// Threads that it has taken from other CPUs' queues.
    pub stolen: u64,
    /// The time from a wake-up, or from the making of a thread, until the CPU ran the thread, in nanoseconds; `None` if none was measured. All
    /// but the maximum are the greatest values of their buckets.
    pub wake_latency_ns: Option<Cycles>,
    /// The same: the greatest value of a bucket, and how many there are. The first reaches to 255 ns, each further one twice as far as the one
    /// before, the last to the maximum; none is empty.
    pub wake_latency_buckets_ns: Vec<Bucket>,
    /// The number of threads on the CPU's queue at its switches, in such buckets; the first is for 0.
    pub queue_depth: Vec<Bucket>,
}

/// One for each CPU, in the order in which they came.
pub(super) fn reports(seen: &Seen) -> Vec<SchedulerReport> {
    seen.scheduler.iter().map(SchedulerReport::of).collect()
}

impl SchedulerReport {
    fn of(cpu: &SchedCpu) -> SchedulerReport {
        let mut latencies = buckets(&cpu.latencies, latency_top);
        // The CPU may have counted a wake-up whose latency it has not compared with the maximum yet.
        if let [rest @ .., (top, _)] = &mut latencies[..]
            && rest.last().is_none_or(|(below, _)| *below < cpu.longest_latency_ns)
        {
            *top = cpu.longest_latency_ns;
        }
        SchedulerReport {
            cpu: cpu.cpu,
            elapsed_ns: cpu.elapsed_ns,
            busy_ns: cpu.busy_ns,
            switches: cpu.switches,
            stolen: cpu.stolen,
            wake_latency_ns: quantiles(&latencies),
            wake_latency_buckets_ns: latencies,
            queue_depth: buckets(&cpu.depths, depth_top),
        }
    }
}

fn buckets(counts: &[u32; SCHED_BUCKETS], top: fn(usize) -> u64) -> Vec<Bucket> {
    let filled = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    filled.map(|(bucket, count)| (top(bucket), u64::from(*count))).collect()
}

fn quantiles(buckets: &[Bucket]) -> Option<Cycles> {
    let at = |part| per_mille(buckets, part);
    Some(Cycles { p50: at(500)?, p99: at(990)?, p999: at(999)?, max: at(1000)? })
}

#[cfg(test)]
mod tests {
    use octopod::wire::{depth_bucket, latency_bucket};

    use super::*;

    #[test]
    fn latencies_have_quantiles_up_to_the_maximum() {
        let mut cpu = SchedCpu { longest_latency_ns: 1 << 40, ..SchedCpu::default() };
        for (ns, count) in [(200, 500), (1000, 490), (70_000, 9), (1 << 40, 1)] {
            cpu.latencies[latency_bucket(ns)] += count;
        }
        cpu.depths[depth_bucket(0)] = 3;
        cpu.depths[depth_bucket(5)] = 1;
        let report = SchedulerReport::of(&cpu);
        let expected = Cycles { p50: 255, p99: 1023, p999: (1 << 17) - 1, max: 1 << 40 };
        assert_eq!(report.wake_latency_ns, Some(expected));
        assert_eq!(
            report.wake_latency_buckets_ns,
            [(255, 500), (1023, 490), ((1 << 17) - 1, 9), (1 << 40, 1)]
        );
        assert_eq!(report.queue_depth, [(0, 3), (7, 1)]);
    }

    #[test]
    fn latency_that_is_counted_and_not_compared_yet_keeps_its_bucket() {
        let mut cpu = SchedCpu { longest_latency_ns: 200, ..SchedCpu::default() };
        cpu.latencies[latency_bucket(200)] = 1;
        cpu.latencies[latency_bucket(1000)] = 1;
        assert_eq!(SchedulerReport::of(&cpu).wake_latency_buckets_ns, [(255, 1), (1023, 1)]);
        assert_eq!(SchedulerReport::of(&SchedCpu::default()).wake_latency_ns, None);
    }
}
