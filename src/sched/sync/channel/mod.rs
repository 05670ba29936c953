//! Channels: values from any number of threads and handlers to any number of threads, each value to one of them, in the order in
//! which they were sent.
//!
//! ```ignore
//! let (sender, receiver) = channel::bounded(16);
//! thread::spawn(move || sender.send("hello"));
//! assert_eq!(receiver.recv(), Ok("hello"));
//! ```
//!
//! Senders and receivers are cloned to share them. When the last sender is gone, receivers get what is left and then an error. When
//! the last receiver is gone, what is left is dropped, and senders get their value back.

mod buffer;
mod errors;
mod futures;

use alloc::sync::Arc;
use core::fmt;
use core::task::Waker;
use core::time::Duration;

use buffer::{Buffer, Item, Slot};
pub use errors::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};

pub use futures::{Receiving, Sending};

use super::platform::{self, Guard, Me, deadline_after};
use super::wait_queue::{Locked, WaitQueue, Waiting};
use super::waker_list::WakerList;
use crate::sync::{AtomicUsize, Ordering};

/// The list of the receivers that wait for a value.
const RECEIVERS: usize = 0;

/// The list of the senders that wait for room.
const SENDERS: usize = 1;

/// The outcome of a wait after which the thread looks again.
const LOOK: usize = 1;

struct State<T> {
    buffer: Buffer<T>,
    /// Whether the last sender or the last receiver is gone.
    is_disconnected: bool,
    /// The tasks that wait for a value, and those that wait for room.
    wakers: [WakerList; 2],
}

type LockedState<'a, T> = Locked<'a, State<T>, 2>;

struct Channel<T> {
    is_bounded: bool,
    queue: WaitQueue<State<T>, 2>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// The number of tasks in each list of wakers. Changed with the queue locked.
    tasks: [AtomicUsize; 2],
}

/// Creates a channel with room for `capacity` values. [`send`](Sender::send) blocks while there is none. Sending and receiving allocate
/// nothing.
///
/// **Context:** as for an allocation on the heap.
///
/// # Panics
/// If `capacity` is 0, or without memory.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a channel without room");
    channel(Buffer::bounded(capacity))
}

/// Creates a channel without a limit: [`send`](Sender::send) never blocks. Each value takes an allocation on the heap, so handlers use
/// [`bounded`].
///
/// **Context:** as for an allocation on the heap.
///
/// # Panics
/// Without memory.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    channel(Buffer::unbounded())
}

fn channel<T>(buffer: Buffer<T>) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        is_bounded: buffer.is_bounded(),
        queue: WaitQueue::new(State { buffer, is_disconnected: false, wakers: [WakerList::EMPTY; 2] }),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
        tasks: [AtomicUsize::new(0), AtomicUsize::new(0)],
    });
    (Sender(channel.clone()), Receiver(channel))
}

/// The end of a channel that values are sent to. It can be cloned.
pub struct Sender<T>(Arc<Channel<T>>);

/// The end of a channel that values are received from. It can be cloned.
pub struct Receiver<T>(Arc<Channel<T>>);

/// Why a value was not sent or received at once.
enum Refused {
    /// There is no room, or no value.
    NotNow,
    Disconnected,
}

impl<T> Channel<T> {
    /// Puts the item into the buffer if it can be sent now. The slot is empty then. The caller then wakes a task.
    fn put(state: &mut LockedState<'_, T>, slot: &mut Slot<T>) -> Result<(), Refused> {
        if state.is_disconnected {
            return Err(Refused::Disconnected);
        }
        if !state.buffer.push(slot) {
            return Err(Refused::NotNow);
        }
        state.wake_first(RECEIVERS, LOOK);
        Ok(())
    }

    /// Takes the first item. The caller then wakes a task.
    fn take(state: &mut LockedState<'_, T>) -> Result<Item<T>, Refused> {
        match state.buffer.pop() {
            Some(item) => {
                state.wake_first(SENDERS, LOOK);
                Ok(item)
            }
            None if state.is_disconnected => Err(Refused::Disconnected),
            None => Err(Refused::NotNow),
        }
    }

    /// Wakes the first task of a list, which looks again. **Context:** the channel is not locked.
    #[inline(always)]
    fn wake_task(&self, list: usize) {
        // A task that puts itself on the list later sees what the caller has changed before.
        if self.tasks[list].load(Ordering::Relaxed) != 0 {
            self.wake_first_task(list);
        }
    }

    /// Wakes a task that waits for room, and returns the value. **Context:** the channel is not locked.
    #[inline(always)]
    fn taken(&self, item: Item<T>) -> T {
        self.wake_task(SENDERS);
        item.into_value()
    }

    #[cold]
    #[inline(never)]
    fn wake_first_task(&self, list: usize) -> bool {
        let waker = self.queue.with(|state| {
            let waker = state.wakers[list].take_first_waker();
            self.tasks[list].fetch_sub(waker.is_some().into(), Ordering::Relaxed);
            waker
        });
        // Without the lock: its code is not the channel's.
        waker.map(Waker::wake).is_some()
    }

    /// Repeats `f`, and waits on the list while it is refused for now.
    #[track_caller]
    fn wait_until<R>(
        &self,
        what: &str,
        list: usize,
        deadline_ns: Option<u64>,
        f: impl FnMut(&mut LockedState<'_, T>) -> Result<R, Refused>,
    ) -> Result<R, Refused> {
        let (guard, me) = platform::begin_block(what);
        let result = self.retry(&guard, &me, list, deadline_ns, f);
        platform::finish(guard);
        result
    }

    fn retry<R>(
        &self,
        guard: &Guard,
        me: &Me,
        list: usize,
        deadline_ns: Option<u64>,
        mut f: impl FnMut(&mut LockedState<'_, T>) -> Result<R, Refused>,
    ) -> Result<R, Refused> {
        // A thread that was woken and finds that another one was faster stays before those that have come later.
        let mut at_front = false;
        loop {
            let mut state = self.queue.lock(guard);
            match f(&mut state) {
                Err(Refused::NotNow) => {}
                decided => return decided,
            }
            let how = Waiting { list, kind: 0, ahead_of: if at_front { usize::MAX } else { 0 }, deadline_ns };
            if state.wait(me, how, |_| {}).is_err() {
                return Err(Refused::NotNow);
            }
            at_front = true;
        }
    }

    /// The last sender or the last receiver is gone: wakes all.
    fn disconnect(&self) {
        self.queue.with(|state| state.is_disconnected = true);
        // No thread waits from here on.
        while self.queue.with(|state| state.wake_first(RECEIVERS, LOOK) | state.wake_first(SENDERS, LOOK)) {}
        // Nor a task.
        while self.wake_first_task(RECEIVERS) | self.wake_first_task(SENDERS) {}
    }
}

impl<T> Sender<T> {
    /// Sends a value; blocks while a bounded channel has no room.
    ///
    /// **Context:** a thread, interrupts on, no guard or spin lock held: it may block, also for memory.
    ///
    /// # Errors
    /// [`SendError`] with the value: the last receiver is gone.
    ///
    /// # Panics
    /// In any other context.
    #[track_caller]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send_until("Sender::send", value, None).map_err(|(value, _)| SendError(value))
    }

    /// As [`send`](Self::send), at most for `timeout`.
    ///
    /// **Context:** as for [`send`](Self::send).
    ///
    /// # Errors
    /// [`SendTimeoutError`] with the value: no room, or no receiver.
    ///
    /// # Panics
    /// As for [`send`](Self::send).
    #[track_caller]
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        let sent = self.send_until("Sender::send_timeout", value, Some(deadline_after(timeout)));
        sent.map_err(|(value, refused)| match refused {
            Refused::NotNow => SendTimeoutError::Timeout(value),
            Refused::Disconnected => SendTimeoutError::Disconnected(value),
        })
    }

    /// Sends a value if a bounded channel has room. Does not block.
    ///
    /// **Context:** thread or interrupt; not NMI. To an unbounded channel, as for an allocation on the heap.
    ///
    /// # Errors
    /// [`TrySendError`] with the value: no room, or no receiver.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut slot = self.slot(value);
        let sent = self.0.queue.with(|state| Channel::put(state, &mut slot));
        sent.map(|()| self.0.wake_task(RECEIVERS)).map_err(|refused| match refused {
            Refused::NotNow => TrySendError::Full(slot.into_value()),
            Refused::Disconnected => TrySendError::Disconnected(slot.into_value()),
        })
    }

    #[track_caller]
    fn send_until(&self, what: &str, value: T, deadline_ns: Option<u64>) -> Result<(), (T, Refused)> {
        let mut slot = self.slot(value);
        let sent = self.0.wait_until(what, SENDERS, deadline_ns, |state| Channel::put(state, &mut slot));
        sent.map(|()| self.0.wake_task(RECEIVERS)).map_err(|refused| (slot.into_value(), refused))
    }

    /// Prepares a value for the buffer, before that is locked.
    fn slot(&self, value: T) -> Slot<T> {
        Slot::new(value, self.0.is_bounded)
    }
}

impl<T> Receiver<T> {
    /// Receives a value; blocks while there is none.
    ///
    /// **Context:** a thread, interrupts on, no guard or spin lock held: it may block.
    ///
    /// # Errors
    /// [`RecvError`]: there is no value, and the last sender is gone.
    ///
    /// # Panics
    /// In any other context.
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_until("Receiver::recv", None).map_err(|_| RecvError)
    }

    /// As [`recv`](Self::recv), at most for `timeout`.
    ///
    /// **Context:** as for [`recv`](Self::recv).
    ///
    /// # Errors
    /// [`RecvTimeoutError`]: no value, or no sender either.
    ///
    /// # Panics
    /// As for [`recv`](Self::recv).
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let received = self.recv_until("Receiver::recv_timeout", Some(deadline_after(timeout)));
        received.map_err(|refused| match refused {
            Refused::NotNow => RecvTimeoutError::Timeout,
            Refused::Disconnected => RecvTimeoutError::Disconnected,
        })
    }

    /// Receives a value if there is one. Does not block.
    ///
    /// **Context:** thread or interrupt; not NMI. From an unbounded channel it frees memory of the heap.
    ///
    /// # Errors
    /// [`TryRecvError`]: no value, or no sender either.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let received = self.0.queue.with(Channel::take);
        received.map(|item| self.0.taken(item)).map_err(|refused| match refused {
            Refused::NotNow => TryRecvError::Empty,
            Refused::Disconnected => TryRecvError::Disconnected,
        })
    }

    /// Returns an iterator of the values, which blocks for each and ends when the last sender is gone.
    ///
    /// **Context:** of the iterator, as for [`recv`](Self::recv).
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        core::iter::from_fn(|| self.recv().ok())
    }

    #[track_caller]
    fn recv_until(&self, what: &str, deadline_ns: Option<u64>) -> Result<T, Refused> {
        let received = self.0.wait_until(what, RECEIVERS, deadline_ns, Channel::take);
        received.map(|item| self.0.taken(item))
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Sender(self.0.clone())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.0.receivers.fetch_add(1, Ordering::Relaxed);
        Receiver(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.disconnect();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.0.receivers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.disconnect();
            // Dropped without the lock.
            let rest = self.0.queue.with(|state| state.buffer.take());
            drop(rest);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
