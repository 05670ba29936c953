//! The barrier.

use core::fmt;
use core::time::Duration;

use super::const_fn;
use super::platform::{self, TimedOut, deadline_after};
use super::wait_queue::{WaitQueue, Waiting};

/// The outcome of a wait that the last thread has ended.
const COMPLETE: usize = 1;

/// Lets a number of threads wait for each other, again and again.
pub struct Barrier {
    threads: usize,
    queue: WaitQueue<Round>,
}

/// One use of the barrier.
struct Round {
    /// How many threads have come.
    come: usize,
    /// How often all have come before.
    number: u64,
}

/// Which of the threads this was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Returns whether this was the last thread to come. One of them is.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    const_fn! {
        /// Creates a barrier for a number of threads. 0 counts as 1.
        pub fn new(threads: usize) -> Barrier {
            Barrier { threads, queue: WaitQueue::new(Round { come: 0, number: 0 }) }
        }
    }

    /// Waits until all threads have come.
    ///
    /// **Context:** a thread, interrupts on, no guard or spin lock held: it may block.
    ///
    /// # Panics
    /// In any other context.
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        // Without a time-out it ends with the others.
        self.wait_until("Barrier::wait", None).unwrap_or(BarrierWaitResult(false))
    }

    /// As [`wait`](Self::wait), at most for `timeout`. A thread whose time is over does not count as one that has come.
    ///
    /// **Context:** as for [`wait`](Self::wait).
    ///
    /// # Errors
    /// [`TimedOut`]: not all have come.
    ///
    /// # Panics
    /// As for [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult, TimedOut> {
        self.wait_until("Barrier::wait_timeout", Some(deadline_after(timeout)))
    }

    #[track_caller]
    fn wait_until(&self, what: &str, deadline_ns: Option<u64>) -> Result<BarrierWaitResult, TimedOut> {
        let (guard, me) = platform::begin_block(what);
        let mut round = self.queue.lock(&guard);
        let number = round.number;
        round.come += 1;
        let result = if round.come >= self.threads {
            (round.come, round.number) = (0, number + 1);
            round.wake_all(0, COMPLETE);
            Ok(BarrierWaitResult(true))
        } else {
            match round.wait(&me, Waiting::until(deadline_ns), |_| {}) {
                Ok(_) => Ok(BarrierWaitResult(false)),
                // All have come, and the last one has not woken this one yet.
                Err(round) if round.number != number => Ok(BarrierWaitResult(false)),
                Err(mut round) => {
                    round.come -= 1;
                    Err(TimedOut)
                }
            }
        };
        platform::finish(guard);
        result
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("threads", &self.threads).finish_non_exhaustive()
    }
}
