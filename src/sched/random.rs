//! The policy `random`, for tests of the mechanism: it answers at random wherever the interface lets a policy be wrong.
//!
//! It picks any thread or none, gives thieves a thread that may not run there, refuses them, and is wrong about preemption and
//! slices. It loses no thread, and answers truly what hotplug relies on: `remove_any` and `len`. Answers follow from the seed and the calls.

use core::cell::RefCell;

use fastrand::Rng;

use super::entity::{Runnable, ThreadId};
use super::list::List;
use super::policy::{Enqueue, LentThread, Placement, RunQueue};
use crate::cpu::CpuId;

/// The policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random;

impl Random {
    /// The name by which the policy is chosen.
    pub(crate) const NAME: &str = "random";

    /// The seed of the kernel's queues.
    pub(crate) const SEED: u64 = 1;

    /// Returns any CPU, also one on which the thread may not run or that does not exist. **Context:** any.
    pub(crate) fn select_cpu(thread: &Runnable, placement: &Placement) -> CpuId {
        let number = thread.words().virtual_ns ^ thread.id().0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        CpuId((number >> 32) as u32 % (placement.waker.0 + 5))
    }

    /// Returns the empty queue of a CPU. **Context:** any.
    pub(crate) fn queue(cpu: CpuId, seed: u64) -> RandomQueue {
        let random = Rng::with_seed(seed.wrapping_add(u64::from(cpu.0)));
        RandomQueue { threads: List::new(), random: RefCell::new(random) }
    }
}

/// A CPU's queue of the policy [`Random`].
#[derive(Debug)]
pub(crate) struct RandomQueue {
    threads: List,
    random: RefCell<Rng>,
}

impl RandomQueue {
    fn take_any(&mut self) -> Option<Runnable> {
        let mut before = self.random.get_mut().usize(..self.threads.len().max(1));
        self.threads.take_first(|_| {
            let is_it = before == 0;
            before = before.wrapping_sub(1);
            is_it
        })
    }

    /// Returns true once in `times` calls, on average.
    fn one_in(&self, times: u8) -> bool {
        self.random.borrow_mut().u8(..times) == 0
    }
}

// SAFETY: threads must stay in the queue that takes them. They go to its `List`, which gives out what it took, and nowhere else. What it
// gives out at random is one of these.
unsafe impl RunQueue for RandomQueue {
    fn enqueue(&mut self, mut thread: Runnable, _reason: Enqueue, _now_ns: u64) {
        thread.words_mut().deadline = self.random.get_mut().u64(..);
        thread.words_mut().virtual_ns = self.random.get_mut().u64(..);
        if self.one_in(2) {
            self.threads.push_front(thread);
        } else {
            self.threads.push_back(thread);
        }
    }

    fn pick_next(&mut self, _now_ns: u64) -> Option<Runnable> {
        if self.one_in(16) { None } else { self.take_any() }
    }

    fn charge(&mut self, running: &mut LentThread<'_>, _ran_ns: u64) {
        running.words_mut().virtual_ns = self.random.get_mut().u64(..);
    }

    fn is_preempted(&self, _running: &Runnable) -> bool {
        self.one_in(2)
    }

    fn slice_ns(&self, _running: &Runnable) -> Option<u64> {
        (!self.one_in(4)).then(|| self.random.borrow_mut().u64(..1_000_000))
    }

    fn steal(&mut self, _thief: CpuId) -> Option<Runnable> {
        if self.one_in(4) { None } else { self.take_any() }
    }

    fn reclassify(&mut self, thread: ThreadId, _now_ns: u64) -> bool {
        let is_it = |candidate: &Runnable| candidate.id() == thread;
        self.threads.change_first(is_it, |thread| thread.thread_mut().take_class()).is_some()
    }

    fn remove_any(&mut self) -> Option<Runnable> {
        self.take_any()
    }

    fn len(&self) -> usize {
        self.threads.len()
    }
}
