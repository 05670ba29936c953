//! Timers as futures.

use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use crate::sched::blocking::deadline_after;
use crate::sync::SpinLockIrq;
use crate::time::now_ns;
use crate::time::timer::{self, Expiry, TimerId};

/// What a future and the callback of its timer share.
struct Shared {
    has_expired: AtomicBool,
    waker: SpinLockIrq<Option<Waker>>,
}

/// The future of [`sleep`] and [`sleep_until`].
#[must_use = "a future does nothing unless it is polled"]
pub struct Sleep {
    deadline_ns: u64,
    /// The timer, since the first poll that had to wait. The callback has a reference of its own.
    armed: Option<(Arc<Shared>, TimerId)>,
}

/// Waits for at least `duration` from now on.
///
/// **Context:** any; of the future, as for [`timer::after`].
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(deadline_after(duration))
}

/// Waits until a time, in nanoseconds of [`now_ns`].
///
/// **Context:** any; of the future, as for [`timer::after`].
pub fn sleep_until(deadline_ns: u64) -> Sleep {
    Sleep { deadline_ns, armed: None }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let now = now_ns();
        if now >= self.deadline_ns {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        if let Some((shared, _)) = &self.armed {
            let before = shared.waker.lock().replace(waker);
            // Its code runs without the lock.
            drop(before);
            if shared.has_expired.load(Ordering::Acquire) {
                // The time has come since `now`: the callback may have found the waker before.
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        let shared =
            Arc::new(Shared { has_expired: AtomicBool::new(false), waker: SpinLockIrq::new(Some(waker)) });
        let data = Arc::into_raw(shared.clone());
        let delay = Duration::from_nanos(self.deadline_ns - now);
        match timer::after(delay, expired, data.expose_provenance()) {
            Ok(timer) => self.armed = Some((shared, timer)),
            Err(_) => {
                // SAFETY: it must be a reference that nothing else uses. It was made above, and no timer has it.
                drop(unsafe { Arc::from_raw(data) });
                // Without memory for a timer other tasks run, and then this one again.
                context.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

/// The timer's callback.
fn expired(expiry: &Expiry) {
    let data = core::ptr::with_exposed_provenance::<Shared>(expiry.data);
    // SAFETY: it must be a reference that nothing else uses. `Sleep::poll` has made it for the timer, whose callback is called once; if
    // it was cancelled, it is not called.
    let shared = unsafe { Arc::from_raw(data) };
    shared.has_expired.store(true, Ordering::Release);
    let waker = shared.waker.lock().take();
    waker.into_iter().for_each(Waker::wake);
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((shared, timer)) = self.armed.take()
            && timer::cancel(timer)
        {
            // SAFETY: it must be a reference that nothing else uses. `poll` has made it for the callback, which is not called.
            drop(unsafe { Arc::from_raw(Arc::as_ptr(&shared)) });
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline_ns", &self.deadline_ns).finish_non_exhaustive()
    }
}
