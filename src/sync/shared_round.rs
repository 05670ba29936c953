//! Work that one CPU does for all of them: [`SharedRound`]. A CPU that needs it while another one does it waits for the end of that round
//! instead. It compiles on any host, where tests and models run it.

use super::atomics::{AtomicU32, AtomicU64, Ordering};

/// Nothing works on the round.
const NO_WORKER: u32 = u32::MAX;

/// Rounds of work that one CPU does for all.
///
/// A CPU reads [`ended`](Self::ended), then looks for what a round would produce. If it finds nothing, it begins a round with the number
/// that it has read. A round that has ended since may have produced something after it looked.
pub(crate) struct SharedRound {
    worker: AtomicU32,
    /// How many rounds have ended.
    ended: AtomicU64,
    /// 1 if there is anything to do, else 0.
    due: AtomicU32,
}

/// What [`SharedRound::begin`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The caller does the work, and then calls [`SharedRound::end`].
    Begun,
    /// A round has ended since.
    Done,
    /// Another CPU is at work, or is about to find that there is nothing to do. The caller waits until the round
    /// [is over](SharedRound::is_over), and begins again.
    Busy,
    /// The caller itself is at work.
    Nested,
    /// There is nothing to do.
    NotDue,
}

impl SharedRound {
    /// No round, and nothing to do.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) const fn new() -> SharedRound {
        Self::of(AtomicU32::new(NO_WORKER), AtomicU64::new(0), AtomicU32::new(0))
    }

    /// No round, and nothing to do. In a model, atomics are made at run time.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn new() -> SharedRound {
        Self::of(AtomicU32::new(NO_WORKER), AtomicU64::new(0), AtomicU32::new(0))
    }

    const fn of(worker: AtomicU32, ended: AtomicU64, due: AtomicU32) -> SharedRound {
        SharedRound { worker, ended, due }
    }

    /// How many rounds have ended. **Context:** any.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Notes that there is something to do. **Context:** any.
    #[inline]
    pub(crate) fn set_due(&self) {
        // Read first: all CPUs come here, and a store would take the cache line from the others.
        if self.due.load(Ordering::Relaxed) == 0 {
            self.due.store(1, Ordering::Relaxed);
        }
    }

    /// Begins a round for a caller that found nothing after `ended` rounds. `me` is the number of its CPU, which it does not leave until the
    /// round ends.
    ///
    /// **Context:** thread or interrupt.
    pub(crate) fn begin(&self, me: u32, ended: u64) -> Turn {
        match self.worker.compare_exchange(NO_WORKER, me, Ordering::Acquire, Ordering::Relaxed) {
            Err(worker) if worker == me => return Turn::Nested,
            Err(_) => return Turn::Busy,
            Ok(_) => {}
        }
        // The last round's end is visible: the exchange above has read what that worker wrote after it.
        let turn = if self.ended() != ended {
            Turn::Done
        } else if self.due.swap(0, Ordering::Relaxed) != 0 {
            return Turn::Begun;
        } else {
            Turn::NotDue
        };
        self.worker.store(NO_WORKER, Ordering::Release);
        turn
    }

    /// Returns whether the caller that was [`Busy`](Turn::Busy) after `ended` rounds waits for nothing any more: a round has ended, or the
    /// other CPU has left without one.
    ///
    /// **Context:** any.
    pub(crate) fn is_over(&self, ended: u64) -> bool {
        self.ended() != ended || self.worker.load(Ordering::Acquire) == NO_WORKER
    }

    /// Ends the round that this CPU has begun.
    pub(crate) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Release);
        self.worker.store(NO_WORKER, Ordering::Release);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn one_works_and_the_others_wait_or_find_it_done() {
        let round = SharedRound::new();
        assert_eq!(round.begin(0, 0), Turn::NotDue);
        round.set_due();
        assert_eq!(round.begin(0, 0), Turn::Begun);
        assert_eq!((round.begin(0, 0), round.begin(1, 0)), (Turn::Nested, Turn::Busy));
        assert!(!round.is_over(0));
        round.end();
        assert!(round.is_over(0) && round.is_over(1));
        assert_eq!((round.begin(1, 0), round.ended()), (Turn::Done, 1));
        assert_eq!(round.begin(1, 1), Turn::NotDue);
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    use super::*;

    /// Things that a round makes available.
    struct Shared {
        round: SharedRound,
        free: AtomicUsize,
        cached: AtomicUsize,
    }

    impl Shared {
        fn take(&self) -> bool {
            let one_less = |free: usize| free.checked_sub(1);
            self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok()
        }

        /// As an allocation that finds nothing.
        fn take_or_work(&self, me: u32) -> bool {
            let ended = self.round.ended();
            if self.take() {
                return true;
            }
            loop {
                match self.round.begin(me, ended) {
                    Turn::Begun => {
                        let cached = self.cached.swap(0, Ordering::AcqRel);
                        self.free.fetch_add(cached, Ordering::AcqRel);
                        self.round.end();
                    }
                    Turn::Busy => {
                        // First the other one runs: a load may return what is old.
                        thread::yield_now();
                        while !self.round.is_over(ended) {
                            thread::yield_now();
                        }
                        continue;
                    }
                    Turn::Done => {}
                    Turn::Nested | Turn::NotDue => return false,
                }
                return self.take();
            }
        }
    }

    /// A CPU that finds nothing to do ends no round. Another one that found it at work does not wait for that.
    #[test]
    fn loom_two_that_find_nothing_while_nothing_is_due_wait_for_no_end() {
        loom::model(|| {
            let (free, cached) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let shared = Arc::new(Shared { round: SharedRound::new(), free, cached });
            let other = {
                let shared = shared.clone();
                thread::spawn(move || shared.take_or_work(1))
            };
            assert!(!shared.take_or_work(0));
            assert!(!other.join().unwrap());
            assert_eq!(shared.round.ended(), 0);
        });
    }

    #[test]
    fn loom_two_that_find_nothing_at_once_both_get_what_one_round_makes_free() {
        loom::model(|| {
            let (free, cached) = (AtomicUsize::new(0), AtomicUsize::new(2));
            let shared = Arc::new(Shared { round: SharedRound::new(), free, cached });
            shared.round.set_due();
            let other = {
                let shared = shared.clone();
                thread::spawn(move || shared.take_or_work(1))
            };
            assert!(shared.take_or_work(0), "one finds nothing");
            assert!(other.join().unwrap(), "the other one finds nothing");
        });
    }
}
