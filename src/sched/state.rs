//! The state of a thread, and who may switch it, queue it or wake it. Pure atomics, which models check.
//!
//! A thread's [`Runnable`](super::entity::Runnable) belongs to the side that the state names: to the CPU that runs the
//! thread, to the queue that it is on, or, while it is parked, to no CPU. A CPU uses that of the thread that it runs with its queue
//! locked, so another CPU that has locked the queue may change the thread's class. The waker whose exchange turns [`Parked`] into
//! [`Queued`] takes it from there. So a wake-up queues a thread exactly once.
//!
//! A wake-up that finds the thread running leaves a token, and the next park returns at once. One that finds it leaving
//! the CPU ([`Parking`]) leaves the token too; the CPU finds it when the thread's registers are saved, and queues the
//! thread. So no wake-up is lost, and no waker waits for a CPU.
//!
//! A change of a thread's affinity is a bit of the word as well ([`CHANGED`]). Only the CPU that runs the thread makes it: the one that
//! does now, which is interrupted, or the one that takes the thread from a queue next, whatever has woken it.
//!
//! There are two kinds of waits ([`Wait`]), each with its own wake-ups and token: `park`, and the wait for a lock, for the end of
//! a thread or for a time. So an `unpark` of a thread that waits for a lock stays for the thread's next `park`.

use crate::sync::{AtomicU32, Ordering};

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// An `unpark`.
    Unpark,
    /// A condition that its waker has made true: of a wait queue, a time, or the end of a thread.
    Event,
}

impl Wait {
    /// The phase of a thread that waits so and has not left its CPU yet, and the token of a wake-up that it has not consumed.
    #[inline(always)]
    const fn begun(self) -> (u32, u32) {
        match self {
            Wait::Unpark => (Parking as u32, UNPARKED),
            Wait::Event => (Blocking as u32, WOKEN),
        }
    }
}

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Phase {
    /// A CPU runs it.
    Running,
    /// It is on a run queue, or on the way to one.
    Queued,
    /// It waits for an `unpark`, but its CPU has not saved its registers yet.
    Parking,
    /// It waits for an `unpark`.
    Parked,
    /// It waits for an event, but its CPU has not saved its registers yet.
    Blocking,
    /// It waits for an event.
    Blocked,
    /// It has ended.
    Exited,
}

use Phase::{Blocked, Blocking, Exited, Parked, Parking, Queued, Running};

/// From a wait that has begun to the phase of a thread that has left its CPU.
const LEFT: u32 = Parked as u32 - Parking as u32;

const _: () = assert!(Blocked as u32 - Blocking as u32 == LEFT);

/// An `unpark` that the thread has not consumed.
const UNPARKED: u32 = 1 << 8;

/// A wake-up by an event that the thread has not consumed.
const WOKEN: u32 = 1 << 9;

/// A change of its affinity, which the CPU that runs the thread next has to make.
const CHANGED: u32 = 1 << 10;

/// The watchdog has found it on a queue, and no CPU has run it since.
const WATCHED: u32 = 1 << 11;

/// The bits of the phase.
const PHASE: u32 = UNPARKED - 1;

const fn phase(word: u32) -> Phase {
    match word & PHASE {
        0 => Running,
        1 => Queued,
        2 => Parking,
        3 => Parked,
        4 => Blocking,
        5 => Blocked,
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

    /// Consumes the token of an `unpark`, if there is one. **Context:** the thread itself.
    #[inline]
    pub(crate) fn take_token(&self) -> bool {
        let has_token = self.0.load(Ordering::Relaxed) & UNPARKED != 0;
        if has_token {
            // An exchange: what the waker did before is visible.
            self.0.fetch_and(!UNPARKED, Ordering::Acquire);
        }
        has_token
    }

    /// Begins to wait. Returns `false`, and consumes the token, if a wake-up of that kind has come already.
    ///
    /// **Context:** the thread itself, interrupts off. After `true` it must switch.
    #[inline]
    pub(crate) fn begin(&self, wait: Wait) -> bool {
        let (begun, token) = wait.begun();
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & token != 0 {
                // Only the thread itself takes a token or changes `Running`, so the word has both still.
                self.0.fetch_and(!token, Ordering::Acquire);
                return false;
            }
            let next = word + begun - Running as u32;
            match self.0.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Notes that the thread is on a run queue, or that this CPU will put it on one. A token stays. **Context:** its CPU, which runs it.
    #[inline]
    pub(crate) fn set_queued(&self) {
        // The thread runs, so wakers only add the token.
        self.0.fetch_add(Queued as u32 - Running as u32, Ordering::Release);
    }

    /// Notes that a CPU runs the thread. A token stays. Returns whether its affinity was changed: [`take_change`](Self::take_change).
    ///
    /// **Context:** that CPU, which has taken it from a queue. Where it has noted before which CPU it is, a caller of
    /// [`request_change`](Self::request_change) that finds the thread running sees that.
    ///
    /// # Panics
    /// If the thread was not on a queue: another CPU runs it, or it waits.
    #[inline]
    #[must_use]
    pub(crate) fn set_running(&self) -> bool {
        const { assert!(Queued as u32 - Running as u32 == 1) };
        // Compared with the whole word: the decrement's own zero flag decides.
        self.0.fetch_sub(1, Ordering::AcqRel) != Queued as u32 && self.has_change()
    }

    #[cold]
    fn has_change(&self) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        // The phase before the decrement. Others have only added tokens since.
        let before = phase(word.wrapping_add(1));
        assert!(before == Queued, "a CPU takes a thread to run it that is not queued, but {before:?}");
        if word & WATCHED != 0 {
            self.0.fetch_and(!WATCHED, Ordering::Relaxed);
        }
        word & CHANGED != 0
    }

    /// Marks the thread if it is on a queue. Returns whether it was marked and no CPU has run it since. **Context:** any.
    pub(crate) fn watch(&self) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        if phase(word) != Queued || word & WATCHED != 0 {
            return phase(word) == Queued;
        }
        // If it has changed meanwhile, the next call marks it.
        let _ = self.0.compare_exchange(word, word | WATCHED, Ordering::Relaxed, Ordering::Relaxed);
        false
    }

    /// Notes a change of its affinity. Returns whether a CPU runs the thread: the caller interrupts that CPU. If none does, the one that
    /// runs it next finds the change, whatever wakes it. **Context:** any.
    #[must_use]
    pub(crate) fn request_change(&self) -> bool {
        phase(self.0.fetch_or(CHANGED, Ordering::AcqRel)) == Running
    }

    /// Returns whether there was a change of its affinity, which the caller makes. **Context:** the CPU that runs it, interrupts off.
    #[inline(always)]
    #[must_use]
    pub(crate) fn take_change(&self) -> bool {
        self.0.load(Ordering::Relaxed) & CHANGED != 0 && {
            // An exchange: what the caller of `request_change` did before is visible.
            self.0.fetch_and(!CHANGED, Ordering::Acquire);
            true
        }
    }

    /// Returns whether a CPU runs the thread or a queue has it. If not, the CPU that queues it next sees what the caller did before.
    ///
    /// **Context:** any.
    #[must_use]
    pub(crate) fn is_runnable(&self) -> bool {
        // An exchange: it comes before that CPU's own.
        matches!(phase(self.0.fetch_or(0, Ordering::AcqRel)), Running | Queued)
    }

    /// Notes that the thread has ended. **Context:** the thread itself, interrupts off. It must switch then.
    pub(crate) fn set_exited(&self) {
        self.0.store(Exited as u32, Ordering::Release);
    }

    /// Leaves a token if the thread does not wait so. Returns `false` if it waits: then [`wake`](Self::wake) wakes it. **Context:** any.
    #[inline(always)]
    pub(crate) fn leave_token(&self, wait: Wait) -> bool {
        let (begun, token) = wait.begun();
        let mut word = self.0.load(Ordering::Relaxed);
        while word & PHASE != begun + LEFT {
            if word & PHASE == Exited as u32 {
                return true;
            }
            match self.0.compare_exchange(word, word | token, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Wakes the thread if it waits so, or leaves a token. **Context:** any.
    #[inline(always)]
    pub(crate) fn wake(&self, wait: Wait) -> Wake {
        let (begun, token) = wait.begun();
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (next, wake) = if word & PHASE == begun + LEFT {
                (word - (begun + LEFT) + Queued as u32, Wake::Enqueue)
            } else if word & PHASE == Exited as u32 {
                return Wake::Nothing;
            } else {
                // Also if it is there already: what this waker did before must be visible to the thread.
                (word | token, Wake::Nothing)
            };
            match self.0.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return wake,
                Err(now) => word = now,
            }
        }
    }

    /// Completes the switch away from a thread that has begun to wait or has ended: its registers are saved.
    ///
    /// **Context:** the CPU that has switched. Not for a thread that it has put on a queue: another CPU may run that already.
    #[inline]
    pub(crate) fn complete_switch(&self) -> AfterSwitch {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let token = match phase(word) {
                Parking => UNPARKED,
                Blocking => WOKEN,
                Exited => return AfterSwitch::Release,
                Running | Queued | Parked | Blocked => return AfterSwitch::Nothing,
            };
            let (next, after) = match word & token {
                0 => (word + LEFT, AfterSwitch::Nothing),
                _ => (word - (word & PHASE) - token + Queued as u32, AfterSwitch::Enqueue),
            };
            // Wakers alone change the word meanwhile: they add tokens.
            match self.0.compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return after,
                Err(now) => word = now,
            }
        }
    }
}
