//! The state of a thread, and who may switch it, queue it or wake it. Pure atomics, which models check.
//!
//! A thread's [`Runnable`](super::entity::Runnable) belongs to the side that the state names: to the CPU that runs the
//! thread, to the queue that it is on, or, while it is parked, to no CPU. The waker whose exchange turns [`Parked`] into
//! [`Queued`] takes it from there. So a wake-up queues a thread exactly once.
//!
//! A wake-up that finds the thread running leaves a token, and the next park returns at once. One that finds it leaving
//! the CPU ([`Parking`]) leaves the token too; the CPU finds it when the thread's registers are saved, and queues the
//! thread. So no wake-up is lost, and no waker waits for a CPU.

use crate::sync::{AtomicU32, Ordering};

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Phase {
    /// A CPU runs it.
    Running,
    /// It is on a run queue, or on the way to one.
    Queued,
    /// It waits, but its CPU has not saved its registers yet.
    Parking,
    /// It waits for a wake-up.
    Parked,
    /// It has ended.
    Exited,
}

use Phase::{Exited, Parked, Parking, Queued, Running};

/// A wake-up that the thread has not consumed.
const TOKEN: u32 = 1 << 8;

const fn phase(word: u32) -> Phase {
    match word & (TOKEN - 1) {
        0 => Running,
        1 => Queued,
        2 => Parking,
        3 => Parked,
        _ => Exited,
    }
}

/// What a waker has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Wake {
    /// The thread was parked, and belongs to the waker now, who puts it on a run queue.
    Enqueue,
    /// Nothing.
    Nothing,
}

/// What a CPU has to do with a thread that it has switched away from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum AfterSwitch {
    /// Nothing: it is parked, or another queue has it.
    Nothing,
    /// It was woken while it left: it belongs to this CPU, which puts it on a run queue.
    Enqueue,
    /// It has ended: the CPU gives up the thread's reference to itself.
    Release,
}

/// The state word of a thread.
#[derive(Debug)]
pub(crate) struct ThreadState(AtomicU32);

impl ThreadState {
    /// Creates the state of a thread that belongs to its creator, who puts it on a run queue or runs it.
    pub(crate) fn new(phase: Phase) -> ThreadState {
        ThreadState(AtomicU32::new(phase as u32))
    }

    /// Returns where the thread is. **Context:** any; the result may be old.
    pub(crate) fn phase(&self) -> Phase {
        phase(self.0.load(Ordering::Acquire))
    }

    /// Consumes the token, if there is one. **Context:** the thread itself.
    #[inline]
    pub(crate) fn take_token(&self) -> bool {
        let has_token = self.0.load(Ordering::Relaxed) & TOKEN != 0;
        if has_token {
            // Only the thread itself takes the token or changes `Running`, so nothing else changes the word now. An
            // exchange: what the waker did before is visible.
            self.0.swap(Running as u32, Ordering::Acquire);
        }
        has_token
    }

    /// Begins to park. Returns `false`, and consumes the token, if there is one.
    ///
    /// **Context:** the thread itself, interrupts off. After `true` it must switch.
    pub(crate) fn begin_park(&self) -> bool {
        let (from, to) = (Running as u32, Parking as u32);
        let has_begun = self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !has_begun {
            self.0.swap(Running as u32, Ordering::Acquire);
        }
        has_begun
    }

    /// Notes that the thread is on a run queue, or that this CPU will put it on one. A token stays. **Context:** its CPU, which runs it.
    #[inline]
    pub(crate) fn set_queued(&self) {
        // The thread runs, so wakers only add the token.
        self.0.fetch_add(Queued as u32 - Running as u32, Ordering::Release);
    }

    /// Notes that a CPU runs the thread. A token stays. **Context:** that CPU, which has taken it from a queue.
    #[inline]
    pub(crate) fn set_running(&self) {
        self.0.fetch_sub(Queued as u32 - Running as u32, Ordering::Acquire);
    }

    /// Notes that the thread has ended. **Context:** the thread itself, interrupts off. It must switch then.
    pub(crate) fn set_exited(&self) {
        self.0.store(Exited as u32, Ordering::Release);
    }

    /// Wakes the thread, or leaves a token. **Context:** any.
    #[inline]
    pub(crate) fn wake(&self) -> Wake {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (next, wake) = match phase(word) {
                Parked => (Queued as u32, Wake::Enqueue),
                Exited => return Wake::Nothing,
                // Also if it is there already: what this waker did before must be visible to the thread.
                Running | Queued | Parking => (word | TOKEN, Wake::Nothing),
            };
            match self.0.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return wake,
                Err(now) => word = now,
            }
        }
    }

    /// Completes the switch away from a thread that has begun to park or has ended: its registers are saved.
    ///
    /// **Context:** the CPU that has switched. Not for a thread that it has put on a queue: another CPU may run that already.
    #[inline]
    pub(crate) fn complete_switch(&self) -> AfterSwitch {
        let word = self.0.load(Ordering::Acquire);
        match phase(word) {
            Parking => {
                let parked = self.0.compare_exchange(
                    Parking as u32,
                    Parked as u32,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                if parked.is_ok() {
                    return AfterSwitch::Nothing;
                }
                // Only a token can have come, and wakers leave the word alone from then on, but for the same bit.
                self.0.swap(Queued as u32, Ordering::AcqRel);
                AfterSwitch::Enqueue
            }
            Exited => AfterSwitch::Release,
            Running | Queued | Parked => AfterSwitch::Nothing,
        }
    }
}
