//! The semaphore.

use core::fmt;
use core::time::Duration;

use super::const_fn;
use super::platform::{self, TimedOut, deadline_after};
use super::wait_queue::{WaitQueue, Waiting};

/// The outcome of a wait that has got a permit.
const GRANTED: usize = 1;

/// A number of permits. Threads take permits, and wait where there is none; threads and interrupt handlers give permits.
///
/// A permit that is given while threads wait goes to the one that has waited longest. So no permit is free while a thread waits.
pub struct Semaphore(WaitQueue<usize>);

impl Semaphore {
    const_fn! {
        /// Creates a semaphore with a number of permits.
        pub fn new(permits: usize) -> Semaphore {
            Semaphore(WaitQueue::new(permits))
        }
    }

    /// Takes a permit; blocks until there is one.
    ///
    /// **Context:** a thread, interrupts on, no guard or spin lock held: it may block.
    ///
    /// # Panics
    /// In any other context.
    #[track_caller]
    pub fn acquire(&self) {
        // Without a time-out it ends with a permit.
        let _ = self.acquire_until("Semaphore::acquire", None);
    }

    /// As [`acquire`](Self::acquire), at most for `timeout`.
    ///
    /// **Context:** as for [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// [`TimedOut`]: there was no permit.
    ///
    /// # Panics
    /// As for [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<(), TimedOut> {
        self.acquire_until("Semaphore::acquire_timeout", Some(deadline_after(timeout)))
    }

    /// Takes a permit if there is one. Does not block.
    ///
    /// **Context:** thread or interrupt; not NMI.
    #[must_use = "a permit that was taken has to be released"]
    pub fn try_acquire(&self) -> bool {
        self.0.with(|permits| take(permits))
    }

    #[track_caller]
    fn acquire_until(&self, what: &str, deadline_ns: Option<u64>) -> Result<(), TimedOut> {
        let (guard, me) = platform::begin_block(what);
        let mut permits = self.0.lock(&guard);
        let result = if take(&mut permits) {
            drop(permits);
            Ok(())
        } else {
            permits.wait(&me, Waiting::until(deadline_ns), |_| {}).map(|_| ()).map_err(|_| TimedOut)
        };
        platform::finish(guard);
        result
    }

    /// Gives a permit, to the thread that has waited longest if one waits.
    ///
    /// **Context:** thread or interrupt; not NMI. May switch to that thread.
    ///
    /// # Panics
    /// If there are as many permits as a `usize` counts.
    #[track_caller]
    pub fn release(&self) {
        self.0.with(|permits| {
            if !permits.wake_first(0, GRANTED) {
                **permits = permits.checked_add(1).expect("more permits than a usize counts");
            }
        });
    }

    /// Takes a permit, which the result releases when it is dropped.
    ///
    /// **Context:** as for [`acquire`](Self::acquire).
    ///
    /// # Panics
    /// As for [`acquire`](Self::acquire).
    #[track_caller]
    pub fn access(&self) -> Permit<'_> {
        self.acquire();
        Permit(self)
    }

    /// Returns the number of permits. **Context:** thread or interrupt; not NMI. The result may be old.
    pub fn available(&self) -> usize {
        self.0.with(|permits| **permits)
    }
}

fn take(permits: &mut usize) -> bool {
    match permits.checked_sub(1) {
        Some(rest) => {
            *permits = rest;
            true
        }
        None => false,
    }
}

/// A permit of a [`Semaphore`]. Its drop releases it.
#[derive(Debug)]
#[must_use = "the permit is released as soon as this is dropped"]
pub struct Permit<'a>(&'a Semaphore);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Semaphore")
    }
}
