//! Sending and receiving in tasks.
//!
//! A task waits beside the threads: a value wakes the first thread and the first task that wait. Each looks again, and waits on if the other
//! was faster. A future that is dropped after it was woken passes that on.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::buffer::{Item, Slot};
use super::errors::{RecvError, SendError};
use super::{Channel, LockedState, RECEIVERS, Receiver, Refused, SENDERS, Sender};
use crate::sched::sync::waker_list::{Membership, TaskWaiter};
use crate::sync::Ordering;

/// A task's place in one of a channel's two lists.
struct Waiting<'a, T> {
    channel: &'a Channel<T>,
    list: usize,
    waiter: TaskWaiter,
}

// SAFETY: its fields may be used by another thread: a shared channel (`T: Send`), and an entry, which is `Send`. The entry is used with
// the channel locked.
unsafe impl<T: Send> Send for Waiting<'_, T> {}

impl<'a, T> Waiting<'a, T> {
    fn new(channel: &'a Channel<T>, list: usize) -> Waiting<'a, T> {
        Waiting { channel, list, waiter: TaskWaiter::new() }
    }

    /// Tries, and waits if that is refused for now.
    ///
    /// # Safety
    /// `self` is pinned, and its drop runs before its memory is used otherwise.
    unsafe fn poll<R>(
        &self,
        context: &Context<'_>,
        attempt: impl FnOnce(&mut LockedState<'_, T>) -> Result<R, Refused>,
    ) -> Poll<Result<R, Refused>> {
        let list = self.list;
        // The waker's code runs without the lock.
        let waker = context.waker().clone();
        let (polled, unused) = self.channel.queue.with(|state| {
            self.leave(state);
            match attempt(state) {
                Err(Refused::NotNow) => {
                    // SAFETY: the entry must stay until `take_off` was called for it. It is pinned (see # Safety), and the drop calls that.
                    let before = unsafe { state.wakers[list].add(&self.waiter, waker) };
                    self.channel.tasks[list].fetch_add(1, Ordering::Relaxed);
                    (Poll::Pending, before)
                }
                decided => {
                    self.waiter.settle();
                    (Poll::Ready(decided), Some(waker))
                }
            }
        });
        drop(unused);
        if let Poll::Ready(Ok(_)) = &polled {
            self.channel.wake_task(1 - list);
        }
        polled
    }

    /// Takes the entry off its list. Returns where it was.
    fn leave(&self, state: &mut LockedState<'_, T>) -> Membership {
        // SAFETY: the entry must be used with this list alone: both are of `self`.
        let was = unsafe { state.wakers[self.list].take_off(&self.waiter) };
        if was == Membership::On {
            self.channel.tasks[self.list].fetch_sub(1, Ordering::Relaxed);
        }
        was
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        if self.channel.queue.with(|state| self.leave(state)) == Membership::Woken {
            self.channel.wake_task(self.list);
        }
    }
}

/// The future of [`Receiver::recv_async`].
#[must_use = "a future does nothing unless it is polled"]
pub struct Receiving<'a, T>(Waiting<'a, T>);

impl<T> Future for Receiving<'_, T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.into_ref().get_ref();
        // SAFETY: it must be pinned, and dropped before its memory is used otherwise: `self` is pinned, and it is its field.
        let received = unsafe { this.0.poll(context, Channel::take) };
        received.map(|received| received.map(Item::into_value).map_err(|_| RecvError))
    }
}

/// The future of [`Sender::send_async`].
#[must_use = "a future does nothing unless it is polled"]
pub struct Sending<'a, T> {
    waiting: Waiting<'a, T>,
    /// The value, until it was sent or returned.
    slot: Option<Slot<T>>,
}

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `waiting` must stay where it is: it is used by reference alone. The slot is not pinned.
        let Sending { waiting, slot } = unsafe { self.get_unchecked_mut() };
        let Some(mut item) = slot.take() else { panic!("a future polled after its end") };
        // SAFETY: it must be pinned, and dropped before its memory is used otherwise: `self` was pinned, and it is its field.
        match unsafe { waiting.poll(context, |state| Channel::put(state, &mut item)) } {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(SendError(item.into_value()))),
            Poll::Pending => {
                *slot = Some(item);
                Poll::Pending
            }
        }
    }
}

impl<T> Receiver<T> {
    /// Receives a value in a task: the future is ready when there is one, or when the last sender is gone.
    ///
    /// **Context:** of the future, thread or interrupt; not NMI.
    ///
    /// # Errors
    /// Of the future, [`RecvError`]: there is no value, and the last sender is gone.
    pub fn recv_async(&self) -> Receiving<'_, T> {
        Receiving(Waiting::new(&self.0, RECEIVERS))
    }
}

impl<T> Sender<T> {
    /// Sends a value in a task: the future is ready when a bounded channel had room, or when the last receiver is gone. A future that is
    /// dropped before drops the value.
    ///
    /// **Context:** as for an allocation on the heap; of the future, thread or interrupt; not NMI.
    ///
    /// # Errors
    /// Of the future, [`SendError`] with the value: the last receiver is gone.
    ///
    /// # Panics
    /// Of the future: if it is polled after its end.
    pub fn send_async(&self, value: T) -> Sending<'_, T> {
        Sending { slot: Some(self.slot(value)), waiting: Waiting::new(&self.0, SENDERS) }
    }
}

impl<T> fmt::Debug for Receiving<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiving")
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sending")
    }
}
