//! The default policy: a real-time class with fixed priorities above a fair class.
//!
//! A real-time thread runs before every fair thread of its CPU and before every real-time thread of a lower priority there. Those of one
//! priority take turns. The fair threads share the remaining time by weight: see [`eevdf`](super::eevdf).

use super::eevdf::Eevdf;
use super::entity::{Runnable, ThreadId};
use super::policy::{Enqueue, LentThread, RunQueue};
use super::real_time::{RealTime, priority_of};
use crate::cpu::CpuId;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fair;

impl Fair {
    /// The name by which the policy is chosen.
    pub(crate) const NAME: &str = "fair";

    /// Returns the empty queue of a CPU. **Context:** any.
    pub(crate) const fn queue(cpu: CpuId) -> FairQueue {
        FairQueue { real_time: RealTime::new(), fair: Eevdf::new(cpu) }
    }
}

/// A CPU's queue of the policy [`Fair`].
#[derive(Debug)]
pub(crate) struct FairQueue {
    real_time: RealTime,
    fair: Eevdf,
}

impl FairQueue {
    #[inline(never)]
    fn pick_real_time(&mut self) -> Option<Runnable> {
        self.fair.forget_running();
        self.real_time.pick()
    }
}

// SAFETY: threads must stay in the queue that takes them. They go to its `RealTime` or its `Eevdf`, which own them in lists and a tree, and
// give out what they took. `Eevdf::charge` changes the words of the running thread only.
unsafe impl RunQueue for FairQueue {
    #[inline]
    fn enqueue(&mut self, thread: Runnable, reason: Enqueue, _now_ns: u64) {
        match priority_of(&thread) {
            Some(priority) => self.real_time.enqueue(thread, priority, reason),
            None => self.fair.enqueue(thread, reason),
        }
    }

    #[inline]
    fn pick_next(&mut self, _now_ns: u64) -> Option<Runnable> {
        if self.real_time.is_empty() { self.fair.pick() } else { self.pick_real_time() }
    }

    #[inline]
    fn charge(&mut self, running: &mut LentThread<'_>, ran_ns: u64) {
        #[cfg(all(target_os = "none", feature = "faults"))]
        let ran_ns = super::faults::charged_ns(running, ran_ns);
        match priority_of(running) {
            Some(_) => RealTime::charge(running, ran_ns),
            None => self.fair.charge(running, ran_ns),
        }
    }

    #[inline]
    fn is_preempted(&self, running: &Runnable) -> bool {
        match priority_of(running) {
            Some(priority) => self.real_time.is_preempted(running, priority),
            None => !self.real_time.is_empty() || self.fair.is_preempted(running),
        }
    }

    #[inline]
    fn slice_ns(&self, running: &Runnable) -> Option<u64> {
        match priority_of(running) {
            Some(priority) => self.real_time.slice_ns(running, priority),
            None if self.real_time.is_empty() => self.fair.slice_ns(running),
            None => Some(0),
        }
    }

    fn steal(&mut self, thief: CpuId) -> Option<Runnable> {
        let mut is_allowed = |thread: &Runnable| thread.may_run_on(thief);
        self.real_time.take_first(&mut is_allowed).or_else(|| self.fair.take_first(is_allowed))
    }

    fn reclassify(&mut self, thread: ThreadId, now_ns: u64) -> bool {
        let is_it = |candidate: &Runnable| candidate.id() == thread;
        let found = self.real_time.take_first(is_it).or_else(|| self.fair.take_first(is_it));
        let Some(mut thread) = found else { return false };
        thread.take_class();
        self.enqueue(thread, Enqueue::Reclassified, now_ns);
        true
    }

    fn remove_any(&mut self) -> Option<Runnable> {
        self.real_time.pick().or_else(|| self.fair.take_first(|_| true))
    }

    #[inline]
    fn len(&self) -> usize {
        self.real_time.len() + self.fair.len()
    }
}

#[cfg(test)]
impl FairQueue {
    /// Gives out a certain thread.
    pub(super) fn remove(&mut self, thread: super::entity::ThreadId) -> Option<Runnable> {
        let is_it = |candidate: &Runnable| candidate.id() == thread;
        self.real_time.take_first(is_it).or_else(|| self.fair.take_first(is_it))
    }

    /// Returns the average of the fair class, relative to that of a new queue.
    pub(super) fn average(&self) -> i64 {
        self.fair.average()
    }

    /// Returns the sum of the weights that the fair class counts.
    pub(super) fn weight(&self) -> u64 {
        self.fair.weight()
    }
}
