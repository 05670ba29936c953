//! The sizes of objects and their lifetimes, as recorded.
//!
//! Fleetbench (<https://github.com/google/fleetbench>, `fleetbench/tcmalloc/distributions`, commit 703e5e55) has ten records of servers
//! of Google: for each size the rate of its allocations and the number of live objects. The table is the mean of all ten, each
//! scaled to the same sum, with sizes rounded up to these. Live objects divided by the rate is the mean lifetime (Little's law).

/// A size of the table.
pub(in crate::stress) struct Recorded {
    /// The size in bytes.
    pub size: usize,
    /// Allocations of the size, among [`SUM`] of any.
    pub rate: u32,
    /// Live objects of the size, among [`SUM`] of any.
    pub live: u32,
}

/// The sum of the rates, and nearly that of the live objects: of these, 39 were larger than 1 MiB.
pub(in crate::stress) const SUM: u32 = 100_000;

const fn recorded(size: usize, rate: u32, live: u32) -> Recorded {
    Recorded { size, rate, live }
}

/// The sizes, in ascending order.
pub(in crate::stress) const RECORDED: &[Recorded] = &[
    recorded(8, 4162, 1886),
    recorded(16, 7148, 5661),
    recorded(24, 9194, 12_652),
    recorded(32, 13_899, 13_608),
    recorded(40, 5184, 5268),
    recorded(48, 13_389, 9795),
    recorded(56, 2948, 3006),
    recorded(64, 8969, 9496),
    recorded(80, 5578, 8543),
    recorded(96, 3943, 5857),
    recorded(112, 2755, 3071),
    recorded(128, 3221, 2454),
    recorded(160, 2755, 2557),
    recorded(192, 1848, 1777),
    recorded(224, 1093, 1516),
    recorded(256, 2138, 1669),
    recorded(320, 1486, 1756),
    recorded(384, 1497, 1169),
    recorded(448, 535, 544),
    recorded(512, 1089, 818),
    recorded(640, 825, 887),
    recorded(768, 445, 380),
    recorded(1024, 1247, 473),
    recorded(1280, 355, 479),
    recorded(1536, 256, 231),
    recorded(2048, 630, 382),
    recorded(3072, 415, 427),
    recorded(4096, 1489, 2057),
    recorded(6144, 169, 77),
    recorded(8192, 865, 962),
    recorded(16_384, 199, 326),
    recorded(32_768, 95, 148),
    recorded(65_536, 102, 27),
    recorded(131_072, 61, 4),
    recorded(262_144, 14, 2),
    recorded(524_288, 1, 0),
    recorded(1_048_576, 1, 0),
];

/// The largest of the frequent sizes: nearly all objects are at most this large.
pub(in crate::stress) const FREQUENT: usize = 29;

/// For each size the sum of the rates up to it.
const CUMULATED: [u32; RECORDED.len()] = {
    let mut sums = [0; RECORDED.len()];
    let (mut index, mut sum) = (0, 0);
    while index < RECORDED.len() {
        sum += RECORDED[index].rate;
        sums[index] = sum;
        index += 1;
    }
    assert!(sum == SUM);
    sums
};

/// The size, by its index, of the allocation that a random number below [`SUM`] stands for.
pub(in crate::stress) fn index_of(random: u32) -> usize {
    CUMULATED.partition_point(|sum| *sum <= random).min(RECORDED.len() - 1)
}

/// For each size the places of its live objects, in a table of about `objects` in total: from the first number, as many as the
/// second. Each size has at least one.
pub(in crate::stress) const fn places(objects: u32) -> [(u16, u16); RECORDED.len()] {
    let mut places = [(0, 0); RECORDED.len()];
    let (mut index, mut next) = (0, 0);
    while index < RECORDED.len() {
        let share = (RECORDED[index].live as u64 * objects as u64 / SUM as u64) as u16;
        let count = if share == 0 { 1 } else { share };
        places[index] = (next, count);
        next += count;
        index += 1;
    }
    places
}

/// The number of places of [`places`].
pub(in crate::stress) const fn total(places: &[(u16, u16); RECORDED.len()]) -> usize {
    let (first, count) = places[RECORDED.len() - 1];
    (first + count) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_random_number_stands_for_a_size_in_proportion() {
        let mut counts = [0; RECORDED.len()];
        (0..SUM).for_each(|random| counts[index_of(random)] += 1);
        assert!(counts.iter().zip(RECORDED).all(|(count, recorded)| *count == recorded.rate));
    }

    #[test]
    fn places_do_not_overlap_and_follow_the_record() {
        let places = places(480);
        let mut next = 0;
        for ((first, count), recorded) in places.into_iter().zip(RECORDED) {
            assert_eq!(first, next);
            assert!(count >= 1);
            let exact = f64::from(recorded.live) * 480.0 / f64::from(SUM);
            assert!((f64::from(count) - exact.max(1.0)).abs() < 1.0, "{} bytes", recorded.size);
            next = first + count;
        }
        assert_eq!(total(&places), usize::from(next));
    }

    #[test]
    fn sizes_ascend() {
        assert!(RECORDED.is_sorted_by(|one, next| one.size < next.size));
        assert!(RECORDED[FREQUENT].size <= 8192);
        assert!(RECORDED.iter().map(|recorded| recorded.live).sum::<u32>() <= SUM);
    }
}
