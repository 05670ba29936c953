//! Records of clocks and timers.

use serde::{Deserialize, Serialize};

use super::{BUCKETS_IN_RECORD, Bucket, Cycles};

/// The clocksource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clock<S> {
    /// `tsc`, `hpet` or `pm_timer`.
    pub counter: S,
    /// Why the TSC is unstable, if it is.
    #[serde(alias = "distrust")]
    pub unstable_reason: Option<S>,
    /// The maximum observed TSC skew between CPUs, in cycles.
    pub skew_cycles: u64,
    /// The maximum observed TSC skew, in nanoseconds.
    pub skew_ns: u64,
    /// The number of observed TSC warps (a reading below an earlier one of another CPU).
    pub warps: u64,
    /// The number of samples of the TSC synchronisation check.
    #[serde(alias = "meetings")]
    pub skew_samples: u64,
    /// The number of APs that took part in the check.
    #[serde(alias = "cpus_met")]
    pub skew_cpus: u64,
    /// The deviation of the TSC's rate from its calibration, in parts per million; `None` without a reference clock.
    pub drift_ppm: Option<u64>,
    /// The mode of the APIC timers: `one_shot` or `tsc_deadline`.
    pub timer_mode: S,
}

/// The lateness of a CPU's timers during the run: the time from a timer's deadline to the interrupt that ran it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// The CPU.
    pub cpu: u32,
    /// The histogram of its timers (those that expired on the BSP while it was offline included), in nanoseconds. The greatest
    /// value doubles from bucket to bucket. Buckets are in ascending order; empty ones are omitted.
    pub buckets_ns: heapless::Vec<Bucket, BUCKETS_IN_RECORD>,
}

/// The number of buckets of the lateness histogram.
pub const LATENESS_BUCKETS: usize = 24;

/// The result of the self-test's timers: timers of random length on all CPUs, none of them early or lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timers<S> {
    /// The mode of the APIC timer: `one_shot` or `tsc_deadline`.
    pub mode: S,
    /// CPUs that took part.
    pub cpus: u32,
    /// Timers of all CPUs.
    pub timers: u64,
    /// The time from a timer's deadline to its callback, in nanoseconds.
    pub lateness_ns: Cycles,
    /// The numbers of timers that were late by less than 1, 2, 4, 8, … microseconds; the last bucket has the rest.
    pub lateness_histogram: [u64; LATENESS_BUCKETS],
}

/// Returns the index of a lateness in [`Timers::lateness_histogram`].
pub fn lateness_bucket(ns: u64) -> usize {
    let us = ns / 1000;
    let bits = u64::BITS - us.leading_zeros();
    (bits as usize).min(LATENESS_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double_in_size() {
        let expected =
            [(0, 0), (999, 0), (1_000, 1), (1_999, 1), (2_000, 2), (3_999, 2), (4_000, 3), (1_023_999, 10)];
        for (ns, bucket) in expected {
            assert_eq!(lateness_bucket(ns), bucket, "{ns} ns");
        }
        assert_eq!(lateness_bucket(u64::MAX), LATENESS_BUCKETS - 1);
    }
}
