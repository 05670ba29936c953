//! How a CPU learns that a thread was put into its inbox. Pure atomics, which models check.
//!
//! A CPU that halts must be interrupted. So must a CPU that runs its only thread: it takes no timer interrupt. One whose
//! slice timer runs looks into its inbox at its end, and one that was notified already looks soon. So at most one interrupt
//! is pending at a CPU, and a busy CPU usually gets none.
//!
//! A waker first pushes the thread and then calls [`Notice::notify`]. A CPU first changes the word and then looks into the
//! inbox. Both are sequentially consistent, so at least one of them sees what the other did.

use crate::sync::{AtomicU32, Ordering, order_sequentially};

/// What a CPU does, as far as its wakers are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Attention {
    /// It runs one thread, without a timer.
    Running,
    /// It runs one thread while others wait: its timer ends the slice.
    Slicing,
    /// It has nothing to run, and halts.
    Idle,
    /// An interrupt is pending at it, for a thread in its inbox.
    Notified,
    /// An interrupt is pending at it, for a thread on another CPU's queue, which it should steal.
    Claimed,
}

use Attention::{Claimed, Idle, Notified, Running, Slicing};

const fn attention(word: u32) -> Attention {
    match word {
        0 => Running,
        1 => Slicing,
        2 => Idle,
        3 => Notified,
        _ => Claimed,
    }
}

/// A CPU's [`Attention`].
#[derive(Debug)]
pub(crate) struct Notice(AtomicU32);

impl Notice {
    /// Creates the word of a CPU that runs one thread.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) const fn new() -> Notice {
        Notice(AtomicU32::new(Running as u32))
    }

    /// Creates the word of a CPU that runs one thread.
    #[cfg(any(loom, shuttle))]
    pub(crate) fn new() -> Notice {
        Notice(AtomicU32::new(Running as u32))
    }

    /// Returns what the CPU does. **Context:** any; the result may be old.
    #[inline(always)]
    pub(crate) fn get(&self) -> Attention {
        attention(self.0.load(Ordering::Relaxed))
    }

    /// Changes what the CPU does, and returns what it did. It then looks into its inbox, and at all queues if it was [`Claimed`]: if it
    /// runs a thread of its own instead, another CPU has to. **Context:** the CPU itself, interrupts off.
    #[inline]
    pub(crate) fn set(&self, to: Attention) -> Attention {
        let was = self.0.swap(to as u32, Ordering::SeqCst);
        order_sequentially();
        attention(was)
    }

    /// Notes that the CPU's timer was started while it ran. Without the look into the inbox: a notice that this replaces has a
    /// pending interrupt. **Context:** the CPU itself, interrupts off.
    #[inline]
    pub(crate) fn set_slicing(&self) {
        self.0.store(Slicing as u32, Ordering::Release);
    }

    /// A thread was pushed into the CPU's inbox. Returns what the CPU did before if the caller must interrupt it. `is_urgent`:
    /// also if its slice timer runs.
    ///
    /// **Context:** any but NMI.
    #[inline]
    #[must_use]
    pub(crate) fn notify(&self, is_urgent: bool) -> Option<Attention> {
        order_sequentially();
        let mut word = self.0.load(Ordering::SeqCst);
        while match attention(word) {
            Notified | Claimed => false,
            Slicing => is_urgent,
            Running | Idle => true,
        } {
            match self.0.compare_exchange(word, Notified as u32, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(was) => return Some(attention(was)),
                Err(now) => word = now,
            }
        }
        None
    }

    /// Claims an idle CPU, which the caller then interrupts, to let it steal. Returns whether it was idle and not claimed.
    #[must_use]
    pub(crate) fn claim_idle(&self) -> bool {
        self.change(Idle, Claimed)
    }

    /// As [`notify`](Self::notify), if the CPU is idle: a thread was put on its queue.
    #[must_use]
    pub(crate) fn notify_idle(&self) -> bool {
        self.change(Idle, Notified)
    }

    fn change(&self, from: Attention, to: Attention) -> bool {
        let (from, to) = (from as u32, to as u32);
        self.0.load(Ordering::Relaxed) == from
            && self.0.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// The interrupt for a notice could not be sent: the CPU does what it did, so the next waker tries again.
    pub(crate) fn withdraw(&self, was: Attention) {
        let _ = self.change(Notified, was);
    }

    /// The interrupt for a claim could not be sent: the CPU is idle, as it was.
    pub(crate) fn withdraw_claim(&self) {
        let _ = self.change(Claimed, Idle);
    }
}
