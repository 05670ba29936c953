//! What the time is read from, and what the self-test found out about timers.

use serde::{Deserialize, Serialize};

use super::{BUCKETS_IN_RECORD, Bucket, Cycles};

/// What the time is read from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clock<S> {
    /// `tsc`, `hpet` or `pm_timer`.
    pub counter: S,
    /// Why the TSC is unstable, if it is.
    #[serde(alias = "distrust")]
    pub unstable_reason: Option<S>,
    /// By how much one CPU's TSC was seen to be behind another's, at most, in cycles; 0 if none was.
    pub skew_cycles: u64,
    /// The same in nanoseconds.
    pub skew_ns: u64,
    /// How often that was seen.
    pub warps: u64,
    /// In the search for that, how often readings of two CPUs alternated.
    #[serde(alias = "meetings")]
    pub skew_samples: u64,
    /// How many APs took part in it.
    #[serde(alias = "cpus_met")]
    pub skew_cpus: u64,
    /// How far the TSC's rate is from what it was measured or told to be, in parts per million; absent where there is
    /// nothing to measure it by.
    pub drift_ppm: Option<u64>,
    /// How the APIC timers are set: `one_shot` or `tsc_deadline`.
    pub timer_mode: S,
}

/// How late a CPU's timers were, all of the run, from each timer's deadline to the interrupt that found it due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// The CPU.
    pub cpu: u32,
    /// Timers that expired on it (on the BSP, while it was offline) by how late they were: the greatest lateness
    /// that falls into the bucket, in nanoseconds, and how many there are. Each bucket but the first reaches twice as far as
    /// the one before; only those that hold a timer are sent, in ascending order.
    pub buckets_ns: heapless::Vec<Bucket, BUCKETS_IN_RECORD>,
}

/// How many buckets the histogram of lateness has.
pub const LATENESS_BUCKETS: usize = 24;

/// Timers of random length, armed on all CPUs at once, none of which was early or lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timers<S> {
    /// How the APIC timer was set: `one_shot` or `tsc_deadline`.
    pub mode: S,
    /// CPUs that took part.
    pub cpus: u32,
    /// Timers of all CPUs.
    pub timers: u64,
    /// From a timer's deadline to its callback, in nanoseconds.
    pub lateness_ns: Cycles,
    /// How many timers were less than a microsecond late, then less than 2, 4, 8 and so on; the last bucket has the rest.
    pub lateness_histogram: [u64; LATENESS_BUCKETS],
}

/// The place of a lateness in [`Timers::lateness_histogram`].
pub fn lateness_bucket(ns: u64) -> usize {
    let us = ns / 1000;
    let bits = u64::BITS - us.leading_zeros();
    (bits as usize).min(LATENESS_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_reaches_twice_as_far_as_the_one_before() {
        let expected =
            [(0, 0), (999, 0), (1_000, 1), (1_999, 1), (2_000, 2), (3_999, 2), (4_000, 3), (1_023_999, 10)];
        for (ns, bucket) in expected {
            assert_eq!(lateness_bucket(ns), bucket, "{ns} ns");
        }
        assert_eq!(lateness_bucket(u64::MAX), LATENESS_BUCKETS - 1);
    }
}
