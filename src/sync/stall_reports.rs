//! Selects the CPU that reports a stalled spin lock: one for each lock at a time. A lock that is held too long stalls
//! every CPU that takes it. One report for each of them would repeat the same and displace other lines. Lock-free, since
//! the console's own lock may be the stalled one. It compiles on any host, where tests and models run it.

use super::atomics::{AtomicU64, Ordering};

/// The bit of a slot from which on it holds the lock's address without its highest bits: kernel addresses differ in the
/// lower 48 bits only. Below is the number of other CPUs.
const ADDRESS_SHIFT: u32 = 16;
const OTHERS_MASK: u64 = (1 << ADDRESS_SHIFT) - 1;

/// The role of a CPU whose wait is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportRole {
    /// The CPU reports, and calls [`StallReports::end`] when it has acquired the lock.
    Reporter,
    /// Another CPU has reported this lock. This CPU is only counted.
    Counted,
    /// The CPU reports, but other CPUs are not counted: another lock occupies the slot.
    Untracked,
}

/// The locks whose stalls are being reported, `N` at most.
#[derive(Debug)]
pub(crate) struct StallReports<const N: usize>([AtomicU64; N]);

impl<const N: usize> StallReports<N> {
    /// Creates an empty table.
    #[cfg(not(any(loom, shuttle)))]
    #[allow(clippy::new_without_default, reason = "nothing needs a default")]
    pub(crate) const fn new() -> StallReports<N> {
        StallReports([const { AtomicU64::new(0) }; N])
    }

    /// Creates an empty table.
    #[cfg(any(loom, shuttle))]
    #[allow(clippy::new_without_default, reason = "nothing needs a default")]
    pub fn new() -> StallReports<N> {
        StallReports(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Returns the only slot that a lock may use, so that two CPUs never claim the same lock in different slots.
    fn slot(&self, lock: usize) -> &AtomicU64 {
        // Locks are words, and adjacent in some structures.
        &self.0[lock / size_of::<u64>() % N]
    }

    /// Returns the role of a CPU whose wait for the lock at this address, which is not 0, is too long. **Context:** any.
    pub(crate) fn claim(&self, lock: usize) -> ReportRole {
        let address = (lock as u64) << ADDRESS_SHIFT;
        let slot = self.slot(lock);
        let mut word = slot.load(Ordering::Relaxed);
        loop {
            let (next, role) = match word {
                0 => (address, ReportRole::Reporter),
                _ if word & !OTHERS_MASK != address => return ReportRole::Untracked,
                // The count saturates.
                _ if word & OTHERS_MASK == OTHERS_MASK => return ReportRole::Counted,
                _ => (word + 1, ReportRole::Counted),
            };
            match slot.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return role,
                Err(now) => word = now,
            }
        }
    }

    /// Ends the report of the CPU with [`ReportRole::Reporter`], which has acquired the lock. Returns how many CPUs were
    /// counted. **Context:** any.
    pub(crate) fn end(&self, lock: usize) -> u32 {
        (self.slot(lock).swap(0, Ordering::Relaxed) & OTHERS_MASK) as u32
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::sync::atomics::AtomicUsize;
    use crate::sync::model_atomics::{Accesses, explore};

    /// Three CPUs wait for a lock, and each acquires it some time after it has stalled: each reports or is counted.
    #[test]
    fn each_stall_is_reported_or_counted_once() {
        explore(Some(4), &[Accesses::Exchanges, Accesses::Plain], || {
            let zero = || AtomicUsize::new(0);
            let model = Arc::new((StallReports::<1>::new(), zero(), zero()));
            let stalls = |(reports, reported, counted): &(StallReports<1>, AtomicUsize, AtomicUsize)| {
                if reports.claim(8) == ReportRole::Reporter {
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
            assert_eq!(reports.claim(8), ReportRole::Reporter, "a report did not end");
        });
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn one_cpu_reports_a_lock_and_counts_the_others() {
        let reports = StallReports::<4>::new();
        assert_eq!(reports.claim(8), ReportRole::Reporter);
        assert_eq!([8; 3].map(|lock| reports.claim(lock)), [ReportRole::Counted; 3]);
        assert_eq!(reports.end(8), 3);
        assert_eq!(reports.claim(8), ReportRole::Reporter);
        assert_eq!(reports.end(8), 0);
    }

    #[test]
    fn locks_are_reported_independently() {
        let reports = StallReports::<4>::new();
        assert_eq!([8, 16].map(|lock| reports.claim(lock)), [ReportRole::Reporter; 2]);
        assert_eq!(reports.claim(16), ReportRole::Counted);
        // A lock in the same slot.
        assert_eq!(reports.claim(8 + 4 * 8), ReportRole::Untracked);
        assert_eq!([8, 16].map(|lock| reports.end(lock)), [0, 1]);
        assert_eq!(reports.claim(8 + 4 * 8), ReportRole::Reporter);
    }

    #[test]
    fn a_lock_of_the_kernel_is_counted_to_the_most_and_no_further() {
        let (reports, lock) = (StallReports::<1>::new(), 0xffff_ffff_8012_3458_usize);
        assert_eq!(reports.claim(lock), ReportRole::Reporter);
        for _ in 0..=OTHERS_MASK {
            assert_eq!(reports.claim(lock), ReportRole::Counted);
        }
        assert_eq!(u64::from(reports.end(lock)), OTHERS_MASK);
    }
}
