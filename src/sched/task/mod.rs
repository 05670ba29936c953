//! Tasks: futures that threads of the kernel poll.
//!
//! Each CPU has a queue of tasks and an **executor**, a thread that polls them. A waker puts its task on the queue of the CPU on which it
//! is called, also in an interrupt handler, and wakes an idle executor if there is one; an executor without a task takes one from another
//! CPU's queue. So tasks move between CPUs as threads do, but switch without a stack of their own. The crate `async-task` has the tasks
//! themselves.
//!
//! ```ignore
//! let worker = task::spawn(async move {
//!     task::sleep(Duration::from_millis(10)).await;
//!     receiver.recv_async().await
//! });
//! let received = task::block_on(worker);
//! ```
//!
//! A task that blocks its thread, or computes for long, keeps the other tasks of its CPU from that thread; executors of other CPUs take
//! them. [`thread::spawn`](crate::thread::spawn) is for such work.

mod executor;
mod queue;
mod timer;

use core::fmt;
use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

pub(crate) use executor::are_idle;
pub use executor::{StartError, start};
use queue::Link;
pub use timer::{Sleep, sleep, sleep_until};

use super::sync::{TimedOut, executing};

/// Spawns a task.
///
/// **Context:** the first call, which makes the executors, a thread, interrupts on, no guard or spin lock held; after that or
/// [`start`], as for an allocation on the heap.
///
/// # Panics
/// Without memory, for the task or for executors, and if the first call is in another context.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if let Err(error) = executor::ensure() {
        panic!("no task was spawned: {error}");
    }
    let builder = async_task::Builder::new().metadata(Link::new());
    let (runnable, task) = builder.spawn(|_| future, async_task::WithInfo(executor::schedule));
    runnable.schedule();
    JoinHandle(Some(task))
}

/// Runs a future in the calling thread, which blocks while the future is not ready.
///
/// **Context:** a thread, interrupts on, no guard or spin lock held: it blocks. In a task it keeps the executor.
///
/// # Panics
/// In any other context, and without memory.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    executing::block_on(future)
}

/// The owner of a task's output: a future that is ready when the task has ended. Its drop detaches the task, which then runs on
/// without it.
pub struct JoinHandle<T>(Option<async_task::Task<T, Link>>);

impl<T> JoinHandle<T> {
    fn task(&self) -> &async_task::Task<T, Link> {
        match &self.0 {
            Some(task) => task,
            None => unreachable!("only functions that consume the handle take the task"),
        }
    }

    /// Returns whether the task has ended. **Context:** any.
    pub fn is_finished(&self) -> bool {
        self.task().is_finished()
    }

    /// Waits until the task has ended, and returns its output.
    ///
    /// **Context:** as for [`block_on`].
    ///
    /// # Panics
    /// As for [`block_on`].
    #[track_caller]
    pub fn join(self) -> T {
        block_on(self)
    }

    /// Cancels the task: it is not polled any more. The future is ready when the task's future was dropped, with its output if it had
    /// ended before.
    ///
    /// **Context:** of the future, thread or interrupt; not NMI.
    pub async fn cancel(mut self) -> Option<T> {
        match self.0.take() {
            Some(task) => task.cancel().await,
            None => None,
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            Some(task) => Pin::new(task).poll(context),
            None => unreachable!("only functions that consume the handle take the task"),
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("is_finished", &self.is_finished()).finish()
    }
}

/// Lets other tasks run: the future is ready when it is polled again.
pub fn yield_now() -> impl Future<Output = ()> + Send {
    let mut has_yielded = false;
    core::future::poll_fn(move |context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Waits for a future, at most for `duration`.
///
/// # Errors
/// Of the future, [`TimedOut`]: `future` was not ready in time, and is dropped.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, TimedOut> {
    let mut future = pin!(future);
    let mut over = pin!(sleep(duration));
    core::future::poll_fn(move |context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        over.as_mut().poll(context).map(|()| Err(TimedOut))
    })
    .await
}
