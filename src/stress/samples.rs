//! The frames of a run whose owner words are checked.
//!
//! Two exchanges for each frame of a run of 1 GiB are 524,288, against a few hundred instructions of the allocator: such a
//! workload would measure its own check. So a larger run has [`SAMPLES`] checked frames. Two runs that begin or end at the same
//! frame always have a checked frame in common; others may overlap unnoticed, unless `stress.check_every_frame=on`.

use crate::memory::frames::{FrameNumber, Order};

/// The checked frames of a run that has more.
const SAMPLES: usize = 4;

/// The checked frames of one run. The same run has the same ones at its allocation and at its free.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CheckedFrames {
    /// All of that many frames.
    Every(usize),
    /// These indexes, in ascending order.
    Sampled([usize; SAMPLES]),
}

impl CheckedFrames {
    /// The checked frames of a run that begins at `first`: all, if `every` is true or there are at most [`SAMPLES`]; else the
    /// first, the last, and one of each half, which depend on `first`, the order and the seed.
    pub(crate) fn of(first: FrameNumber, order: Order, every: bool, seed: u64) -> CheckedFrames {
        let frames = order.frames();
        if every || frames <= SAMPLES {
            return CheckedFrames::Every(frames);
        }
        // The upper bits of a product depend on all bits of its factors.
        let key = seed ^ (first.get() as u64) << 8 ^ u64::from(order.get());
        let random = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let (half, random) = (frames / 2, random as usize);
        // From 1 to half - 1, and from half to frames - 2. `half` is a power of two, at least 4.
        let (low, high) = (1 + random % (half - 1), half + (random >> 16) % (half - 1));
        CheckedFrames::Sampled([0, low, high, frames - 1])
    }

    /// Their indexes in the run, in ascending order.
    pub(crate) fn indexes(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        let count = match self {
            CheckedFrames::Every(frames) => *frames,
            CheckedFrames::Sampled(indexes) => indexes.len(),
        };
        (0..count).map(|at| match self {
            CheckedFrames::Every(_) => at,
            CheckedFrames::Sampled(indexes) => indexes[at],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> impl Iterator<Item = Order> {
        (0..=Order::MAX.get()).filter_map(Order::new)
    }

    #[test]
    fn samples_ascend_and_begin_and_end_with_the_run() {
        for order in orders() {
            for number in 0..200 {
                let checked = CheckedFrames::of(FrameNumber::new(number << order.get()), order, false, 7);
                let indexes: Vec<_> = checked.indexes().collect();
                assert!(indexes.is_sorted_by(|one, next| one < next), "{order} {number} {indexes:?}");
                assert_eq!((indexes.first(), indexes.last()), (Some(&0), Some(&(order.frames() - 1))));
                assert_eq!(indexes.len(), order.frames().min(SAMPLES), "{order}");
            }
        }
    }

    #[test]
    fn samples_are_spread_over_a_large_run() {
        let order = Order::BLOCK;
        let mut seen = vec![false; order.frames()];
        for number in 0..20_000 {
            let first = FrameNumber::new(number << order.get());
            CheckedFrames::of(first, order, false, 7).indexes().for_each(|index| seen[index] = true);
        }
        assert_eq!(seen.iter().position(|seen| !seen), None);
    }

    #[test]
    fn every_frame_is_checked_if_it_is_asked_for() {
        for order in orders().filter(|order| order.get() <= 10) {
            let checked = CheckedFrames::of(FrameNumber::new(0), order, true, 7);
            assert!(checked.indexes().eq(0..order.frames()), "{order}");
        }
    }
}
