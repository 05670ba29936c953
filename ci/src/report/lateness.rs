//! The lateness of timers, built from its records.

use octopod::wire::Bucket;
use serde::{Deserialize, Serialize};

use crate::run::Seen;

/// A CPU's timers by how late they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatenessReport {
    /// The CPU.
    pub cpu: u32,
    /// The greatest lateness that falls into the bucket, in nanoseconds, and how many timers there are. Buckets are
    /// ascending; the first reaches to a microsecond, each further one twice as far as the one before; none is empty.
    pub buckets_ns: Vec<Bucket>,
}

impl LatenessReport {
    /// Returns the number of timers that expired.
    pub fn timers(&self) -> u64 {
        count(&self.buckets_ns)
    }

    /// The top of the bucket that the timer stands in which is later than so many in a thousand; `None` if none expired.
    pub fn per_mille_ns(&self, per_mille: u64) -> Option<u64> {
        self::per_mille(&self.buckets_ns, per_mille)
    }
}

fn count(buckets: &[Bucket]) -> u64 {
    buckets.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
}

/// The top of the bucket that the sample is in which is greater than so many in a thousand; `None` without a sample.
pub fn per_mille(buckets: &[Bucket], per_mille: u64) -> Option<u64> {
    let rank = (u128::from(count(buckets)) * u128::from(per_mille)).div_ceil(1000);
    let mut seen = 0;
    let bucket = buckets.iter().find(|(_, count)| {
        seen += u128::from(*count);
        seen >= rank
    });
    bucket.map(|(top, _)| *top)
}

/// One for each CPU, in the order in which they came.
pub(super) fn reports(seen: &Seen) -> Vec<LatenessReport> {
    let mut reports: Vec<LatenessReport> = Vec::new();
    for part in &seen.lateness {
        match reports.last_mut() {
            Some(last) if last.cpu == part.cpu => {
                let end = last.buckets_ns.last().map_or(0, |(top, _)| *top);
                last.buckets_ns.extend(part.buckets_ns.iter().filter(|(top, _)| *top > end));
            }
            _ => reports.push(LatenessReport { cpu: part.cpu, buckets_ns: part.buckets_ns.to_vec() }),
        }
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_tops_of_buckets() {
        let late = LatenessReport { cpu: 0, buckets_ns: vec![(1_023, 500), (2_047, 490), (1 << 20, 10)] };
        assert_eq!(late.timers(), 1_000);
        assert_eq!(
            [500, 501, 990, 991, 1000].map(|part| late.per_mille_ns(part).unwrap()),
            [1_023, 2_047, 2_047, 1 << 20, 1 << 20]
        );
        assert_eq!(LatenessReport { cpu: 0, buckets_ns: vec![] }.per_mille_ns(500), None);
    }
}
