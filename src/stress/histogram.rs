//! Histograms of latencies, with buckets whose width grows with the value.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::wire::{Bucket, Cycles};

/// Each power of two has 2^3 buckets, so a quantile is correct to one part in eight.
const SPLIT_BITS: u32 = 3;
const SPLIT: u64 = 1 << SPLIT_BITS;

/// Values below [`SPLIT`] have buckets of their own; each of the powers of two from there to 2^63 has eight.
const BUCKETS: usize = (64 - SPLIT_BITS as usize + 1) * SPLIT as usize;

/// The samples of one CPU. Only that CPU records, or all record by [`record_from_any`](Histogram::record_from_any); others may read.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    max: AtomicU64,
}

fn bucket_of(value: u64) -> usize {
    if value < SPLIT {
        return value as usize;
    }
    let exponent = value.ilog2();
    let within = (value >> (exponent - SPLIT_BITS)) & (SPLIT - 1);
    ((exponent - SPLIT_BITS + 1) as u64 * SPLIT + within) as usize
}

/// The largest value of a bucket.
fn top_of(bucket: usize) -> u64 {
    let (power, within) = (bucket as u64 / SPLIT, bucket as u64 % SPLIT);
    if power == 0 {
        return within;
    }
    let width = 1u64 << (power - 1);
    ((SPLIT + within) * width).saturating_add(width - 1)
}

impl Histogram {
    /// A histogram without samples.
    pub const fn new() -> Histogram {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], max: AtomicU64::new(0) }
    }

    /// Adds a sample. Only the CPU that owns the histogram may call this.
    pub fn record(&self, value: u64) {
        let bucket = &self.buckets[bucket_of(value)];
        bucket.store(bucket.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if value > self.max.load(Ordering::Relaxed) {
            self.max.store(value, Ordering::Relaxed);
        }
    }

    /// Adds a sample. Any number of threads may call this at once.
    pub fn record_from_any(&self, value: u64) {
        self.buckets[bucket_of(value)].fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
    }

    /// Removes all samples.
    pub fn clear(&self) {
        self.buckets.iter().chain([&self.max]).for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram::new()
    }
}

/// The number of samples of all histograms in a bucket.
fn count_in(histograms: &[Histogram], bucket: usize) -> u64 {
    histograms.iter().map(|one| one.buckets[bucket].load(Ordering::Relaxed)).sum()
}

/// The non-empty buckets of several histograms together, in ascending order.
pub(crate) fn buckets(histograms: &[Histogram]) -> impl Iterator<Item = Bucket> {
    (0..BUCKETS).map(|bucket| (top_of(bucket), count_in(histograms, bucket))).filter(|(_, count)| *count > 0)
}

/// Summarises several histograms. A quantile is the largest value of its bucket, but at most the largest sample.
pub(crate) fn summarise(histograms: &[Histogram]) -> Cycles {
    let samples: u64 = buckets(histograms).map(|(_, count)| count).sum();
    let max = histograms.iter().map(|one| one.max.load(Ordering::Relaxed)).max().unwrap_or(0);
    let quantile = |per_mille: u64| {
        let rank = (u128::from(samples) * u128::from(per_mille)).div_ceil(1000) as u64;
        let mut seen = 0;
        let bucket = buckets(histograms).find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        bucket.map_or(0, |(top, _)| top).min(max)
    };
    Cycles { p50: quantile(500), p99: quantile(990), p999: quantile(999), max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_first_bucket_that_reaches_it() {
        for value in (0..5000).chain((12..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1])) {
            let bucket = bucket_of(value);
            assert!(value <= top_of(bucket), "{value}");
            assert!(bucket == 0 || value > top_of(bucket - 1), "{value}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(top_of(BUCKETS - 1), u64::MAX);
    }

    #[test]
    fn quantiles_are_correct_to_an_eighth() {
        let halves = [Histogram::new(), Histogram::new()];
        for value in 1..=10_000 {
            halves[value as usize % 2].record(value);
        }
        let cycles = summarise(&halves);
        assert_eq!(cycles.max, 10_000);
        for (found, exact) in [(cycles.p50, 5_000), (cycles.p99, 9_900), (cycles.p999, 9_990)] {
            assert!(found >= exact && found <= exact + exact / 8, "{found} for {exact}");
        }
    }

    #[test]
    fn the_buckets_hold_every_sample_of_every_histogram() {
        let two = [Histogram::new(), Histogram::new()];
        assert_eq!(buckets(&two).count(), 0);
        for (histogram, value) in [(0, 3), (1, 3), (1, 16), (0, 17), (0, u64::MAX)] {
            two[histogram].record(value);
        }
        assert!(buckets(&two).eq([(3, 2), (17, 2), (u64::MAX, 1)]));
    }

    #[test]
    fn no_samples_and_one_sample() {
        let one = [Histogram::new()];
        assert_eq!(summarise(&one), Cycles::default());
        one[0].record(77);
        assert_eq!(summarise(&one), Cycles { p50: 77, p99: 77, p999: 77, max: 77 });
        one[0].clear();
        assert_eq!(summarise(&one), Cycles::default());
    }
}
