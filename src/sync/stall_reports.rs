//! Which CPU reports that a spin lock has been waited for too long: one for each lock at a time. A lock that is held too long
//! stalls every CPU that wants it, and as many reports as there are CPUs would say the same, and push other lines out.
//! Lock-free, because the console's own lock may be the stalled one. Pure: tests and models run it on any host.

use super::atomics::{AtomicU64, Ordering};

/// Below this bit of a slot is the number of other CPUs, from it on the lock's address without its highest bits: addresses of
/// the kernel differ in the lower 48 bits alone.
const ADDRESS_SHIFT: u32 = 16;
const OTHERS_MASK: u64 = (1 << ADDRESS_SHIFT) - 1;

/// What a CPU that has waited too long does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It reports, and calls [`StallReports::end`] when it has the lock.
    First,
    /// Another CPU has reported this lock, and counts this one.
    Counted,
    /// It reports: the table's place is taken by another lock.
    Alone,
}

/// The locks whose stall is being reported, `N` at most.
#[derive(Debug)]
pub struct StallReports<const N: usize>([AtomicU64; N]);

impl<const N: usize> StallReports<N> {
    /// None.
    #[cfg(not(any(loom, shuttle)))]
    #[allow(clippy::new_without_default, reason = "nothing needs a default")]
    pub const fn new() -> StallReports<N> {
        StallReports([const { AtomicU64::new(0) }; N])
    }

    /// None.
    #[cfg(any(loom, shuttle))]
    #[allow(clippy::new_without_default, reason = "nothing needs a default")]
    pub fn new() -> StallReports<N> {
        StallReports(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// The one slot that a lock may have, so that two CPUs never claim it in different ones.
    fn slot(&self, lock: usize) -> &AtomicU64 {
        // Locks are words, and neighbours in one structure.
        &self.0[lock / size_of::<u64>() % N]
    }

    /// A CPU has waited too long for the lock at this address, which is not 0. Any context.
    pub fn claim(&self, lock: usize) -> Turn {
        let address = (lock as u64) << ADDRESS_SHIFT;
        let slot = self.slot(lock);
        let mut word = slot.load(Ordering::Relaxed);
        loop {
            let (next, turn) = match word {
                0 => (address, Turn::First),
                _ if word & !OTHERS_MASK != address => return Turn::Alone,
                // A number that is full stays so.
                _ if word & OTHERS_MASK == OTHERS_MASK => return Turn::Counted,
                _ => (word + 1, Turn::Counted),
            };
            match slot.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return turn,
                Err(now) => word = now,
            }
        }
    }

    /// The CPU whose turn was [`Turn::First`] has the lock; returns how many were counted meanwhile. Any context.
    pub fn end(&self, lock: usize) -> u32 {
        (self.slot(lock).swap(0, Ordering::Relaxed) & OTHERS_MASK) as u32
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::sync::atomics::AtomicUsize;
    use crate::sync::loomed::{Accesses, explore};

    /// Three CPUs wait for a lock, each gets it some time after it has stalled: each is reported by itself or counted.
    #[test]
    fn each_stall_is_reported_or_counted_once() {
        explore(Some(4), &[Accesses::Exchanges, Accesses::Plain], || {
            let zero = || AtomicUsize::new(0);
            let model = Arc::new((StallReports::<1>::new(), zero(), zero()));
            let stalls = |(reports, reported, counted): &(StallReports<1>, AtomicUsize, AtomicUsize)| {
                if reports.claim(8) == Turn::First {
                    reported.fetch_add(1, Ordering::Relaxed);
                    counted.fetch_add(reports.end(8) as usize, Ordering::Relaxed);
                }
            };
            let others = [0, 1].map(|_| {
                let model = model.clone();
                thread::spawn(move || stalls(&model))
            });
            stalls(&model);
            others.into_iter().for_each(|other| other.join().unwrap());
            let (reports, reported, counted) = &*model;
            assert_eq!(reported.load(Ordering::Relaxed) + counted.load(Ordering::Relaxed), 3);
            assert_eq!(reports.claim(8), Turn::First, "a report did not end");
        });
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn one_cpu_reports_a_lock_and_counts_the_others() {
        let reports = StallReports::<4>::new();
        assert_eq!(reports.claim(8), Turn::First);
        assert_eq!([8; 3].map(|lock| reports.claim(lock)), [Turn::Counted; 3]);
        assert_eq!(reports.end(8), 3);
        assert_eq!(reports.claim(8), Turn::First);
        assert_eq!(reports.end(8), 0);
    }

    #[test]
    fn locks_are_reported_independently() {
        let reports = StallReports::<4>::new();
        assert_eq!([8, 16].map(|lock| reports.claim(lock)), [Turn::First; 2]);
        assert_eq!(reports.claim(16), Turn::Counted);
        // In the same slot.
        assert_eq!(reports.claim(8 + 4 * 8), Turn::Alone);
        assert_eq!([8, 16].map(|lock| reports.end(lock)), [0, 1]);
        assert_eq!(reports.claim(8 + 4 * 8), Turn::First);
    }

    #[test]
    fn a_lock_of_the_kernel_is_counted_to_the_most_and_no_further() {
        let (reports, lock) = (StallReports::<1>::new(), 0xffff_ffff_8012_3458_usize);
        assert_eq!(reports.claim(lock), Turn::First);
        for _ in 0..=OTHERS_MASK {
            assert_eq!(reports.claim(lock), Turn::Counted);
        }
        assert_eq!(u64::from(reports.end(lock)), OTHERS_MASK);
    }
}
