//! Futures on threads: a thread that waits for one, and how executors learn of tasks.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use super::event::Event;
use crate::sync::{AtomicU32, AtomicUsize, Ordering, order_sequentially};

/// The waker of a thread that waits for a future.
struct Signal(Event);

impl Wake for Signal {
    fn wake(self: Arc<Signal>) {
        self.0.set();
    }

    fn wake_by_ref(self: &Arc<Signal>) {
        self.0.set();
    }
}

/// Polls a future until it is ready, and blocks between.
#[track_caller]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let signal = Arc::new(Signal(Event::new()));
    let waker = Waker::from(signal.clone());
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        signal.0.wait();
        // Before the poll: a wake-up from here on is not lost.
        signal.0.reset();
    }
}

/// An executor that looks for tasks, or will.
const AWAKE: u32 = 0;

/// An executor that has found none, and waits for a caller that makes it awake.
const IDLE: u32 = 1;

/// Whether an executor is idle.
///
/// An executor notes that it is idle, then looks at all queues again, then waits. A caller that queues a task looks for idle executors
/// afterwards, and claims one. So one of both sees the other, and no task waits while an executor is idle.
pub(crate) struct Idleness(AtomicU32);

/// The number of executors that are idle.
pub(crate) struct IdleCount(AtomicUsize);

impl IdleCount {
    super::const_fn! {
        pub(crate) fn new() -> IdleCount {
            IdleCount(AtomicUsize::new(0))
        }
    }

    /// Returns whether an executor is idle. A task was queued before. **Context:** any but NMI.
    #[inline(always)]
    pub(crate) fn is_any(&self) -> bool {
        order_sequentially();
        self.0.load(Ordering::SeqCst) != 0
    }
}

impl Idleness {
    super::const_fn! {
        /// That of an executor that is awake, or does not exist.
        pub(crate) fn new() -> Idleness {
            Idleness(AtomicU32::new(AWAKE))
        }
    }

    /// Notes that the executor is idle. It looks at all queues then. **Context:** the executor.
    pub(crate) fn begin(&self, count: &IdleCount) {
        // Before the store: a claim between the two would otherwise hide another executor that is idle.
        count.0.fetch_add(1, Ordering::SeqCst);
        self.0.store(IDLE, Ordering::SeqCst);
        order_sequentially();
    }

    /// Claims the executor if it is idle. The caller wakes it then. **Context:** any but NMI.
    pub(crate) fn claim(&self, count: &IdleCount) -> bool {
        let is_claimed = self.0.load(Ordering::Relaxed) == IDLE
            && self.0.compare_exchange(IDLE, AWAKE, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_claimed {
            count.0.fetch_sub(1, Ordering::SeqCst);
        }
        is_claimed
    }

    /// Notes that the executor is awake: it has found a task after [`begin`](Self::begin). Returns whether a caller has claimed it meanwhile,
    /// for a task that waits, and another executor is idle: it claims and wakes one, since it runs its own task first. **Context:** the
    /// executor.
    #[must_use]
    pub(crate) fn end(&self, count: &IdleCount) -> bool {
        !self.claim(count) && count.is_any()
    }

    /// Returns whether no caller has claimed the executor yet. **Context:** the executor.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) == IDLE
    }
}
