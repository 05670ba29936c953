//! The policy `round_robin`: threads run in the order of their arrival, a slice each. It knows neither class nor weight.
//!
//! It shows how small a policy can be.

use super::entity::{Runnable, ThreadId};
use super::list::List;
use super::policy::{Enqueue, LentThread, RunQueue};
use crate::cpu::CpuId;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundRobin;

impl RoundRobin {
    /// The name by which the policy is chosen.
    pub(crate) const NAME: &str = "round_robin";

    /// Returns the empty queue of a CPU. **Context:** any.
    pub(crate) const fn queue(_cpu: CpuId) -> RoundRobinQueue {
        RoundRobinQueue(List::new())
    }
}

/// A CPU's queue of the policy [`RoundRobin`].
#[derive(Debug)]
pub(crate) struct RoundRobinQueue(List);

// SAFETY: threads must stay in the queue that takes them. They go to its `List`, which gives out what it took, and nowhere else.
unsafe impl RunQueue for RoundRobinQueue {
    #[inline]
    fn enqueue(&mut self, mut thread: Runnable, _reason: Enqueue, _now_ns: u64) {
        thread.words_mut().slice_left_ns = u64::from(thread.attributes().slice_ns);
        self.0.push_back(thread);
    }

    #[inline]
    fn pick_next(&mut self, _now_ns: u64) -> Option<Runnable> {
        self.0.pop_front()
    }

    #[inline]
    fn charge(&mut self, running: &mut LentThread<'_>, ran_ns: u64) {
        let words = running.words_mut();
        words.slice_left_ns = words.slice_left_ns.saturating_sub(ran_ns);
    }

    #[inline]
    fn is_preempted(&self, running: &Runnable) -> bool {
        !self.is_empty() && running.words().slice_left_ns == 0
    }

    #[inline]
    fn slice_ns(&self, running: &Runnable) -> Option<u64> {
        (!self.is_empty()).then_some(running.words().slice_left_ns)
    }

    fn steal(&mut self, thief: CpuId) -> Option<Runnable> {
        self.0.take_first(|thread| thread.may_run_on(thief))
    }

    fn reclassify(&mut self, thread: ThreadId, _now_ns: u64) -> bool {
        let is_it = |candidate: &Runnable| candidate.id() == thread;
        self.0.change_first(is_it, |thread| thread.thread_mut().take_class()).is_some()
    }

    fn remove_any(&mut self) -> Option<Runnable> {
        self.0.pop_front()
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.len()
    }
}
