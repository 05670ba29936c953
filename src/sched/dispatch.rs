//! Scheduling policies of a program, in safe code.
//!
//! As in Linux's sched_ext, the policy does not own the threads: each CPU has some **dispatch queues**, which the mechanism keeps. The
//! policy answers into which of them a thread goes, and which thread comes out next. An answer that names no thread, no queue, or a CPU
//! on which the thread may not run is replaced, so a policy can be slow or unfair, but can neither lose a thread nor run it twice.
//!
//! ```
//! use octopod::scheduler::*;
//!
//! /// The thread that has come last runs first, until it blocks.
//! struct Stack;
//!
//! impl DispatchPolicy for Stack {
//!     const NAME: &str = "stack";
//!     const SUMMARY: &str = "The thread that has come last runs first.";
//!
//!     fn new(_: CpuId) -> Stack {
//!         Stack
//!     }
//!
//!     fn enqueue(&mut self, _: &mut LentThread<'_>, _: Enqueue, _: u64) -> Place {
//!         Place::Front(0)
//!     }
//! }
//!
//! octopod::scheduler!(Stack);
//! # fn main() {}
//! ```

use alloc::boxed::Box;

pub use super::entity::{Affinity, Attributes, Class, PolicyWords, Runnable, ThreadId};
use super::list::List;
pub use super::list::QueuedThread;
use super::policies::Policy;
pub use super::policy::{Enqueue, LentThread, Placement};
use super::policy::{RunQueue, select_cpu};
pub use crate::cpu::CpuId;

/// The most dispatch queues of a CPU.
pub const MOST_QUEUES: usize = 64;

/// Where a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind the threads of this queue.
    Back(usize),
    /// Before the threads of this queue.
    Front(usize),
}

/// Which thread leaves its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The first one of this queue.
    First(usize),
    /// The thread of this number. It is searched in time proportional to the number of threads that wait for the CPU.
    Thread(ThreadId),
}

/// A scheduling policy: [`scheduler!`](crate::scheduler!) registers it, `scheduler=NAME` selects it. Each CPU has a value of its own.
///
/// Besides the queues a policy has its own fields and the [`PolicyWords`] of each thread, which keep their values while the thread waits,
/// runs and moves.
///
/// **Context** of all functions but `new`: the CPU's queue is locked, interrupts are off. They must not block, allocate, log or wake
/// threads.
pub trait DispatchPolicy: Send + Sized + 'static {
    /// The name on the command line.
    const NAME: &str;

    /// What it is, in one sentence.
    const SUMMARY: &str;

    /// The number of dispatch queues of each CPU, from 1 to [`MOST_QUEUES`].
    const QUEUES: usize = 1;

    /// Whether each thread that waits runs after a bounded time, also if others do not block.
    const IS_FAIR: bool = false;

    /// Makes the policy of a CPU.
    ///
    /// **Context:** thread, interrupts on.
    fn new(cpu: CpuId) -> Self;

    /// Chooses the CPU for a thread that becomes runnable. If the thread may not run on it, or if it is offline, another is taken. By
    /// default the thread's last one, or an idle one near it.
    ///
    /// **Context:** interrupts off; no lock is held.
    fn select_cpu(thread: &Runnable, placement: &Placement) -> CpuId {
        select_cpu(thread, placement)
    }

    /// Chooses the place of a thread that waits from `now_ns` on. Instead of a queue that does not exist the last one is taken. A thread
    /// whose class has changed while it waits ([`Enqueue::Reclassified`]) keeps its place if the answer is the queue in which it is.
    fn enqueue(&mut self, thread: &mut LentThread<'_>, reason: Enqueue, now_ns: u64) -> Place;

    /// Chooses the thread that runs next. If there is no such thread, it is the first one of the first queue that has one. `None` leaves the
    /// CPU idle until the next event, at most for a millisecond. By default the first thread of the first queue that has one.
    fn pick_next(&mut self, queues: &Queues, now_ns: u64) -> Option<Choice> {
        let _ = now_ns;
        queues.first_queue().map(Choice::First)
    }

    /// Accounts for `ran_ns` that the running thread has run since it was picked, or since the last call.
    fn charge(&mut self, running: &mut LentThread<'_>, ran_ns: u64) {
        let _ = (running, ran_ns);
    }

    /// Returns whether a thread that waits should run instead of the running one, which is charged up to now. By default not.
    fn is_preempted(&self, queues: &Queues, running: &Runnable) -> bool {
        let _ = (queues, running);
        false
    }

    /// Returns after how many nanoseconds of the running thread the answer of [`is_preempted`](Self::is_preempted) may change while no
    /// other thread comes, or `None` if it will not. The CPU's timer interrupts then. By default it will not.
    fn slice_ns(&self, queues: &Queues, running: &Runnable) -> Option<u64> {
        let _ = (queues, running);
        None
    }

    /// Chooses a thread for another CPU, which has none to run. A thread that may not run there stays. By default the first thread that
    /// may.
    fn steal(&mut self, queues: &Queues, thief: CpuId) -> Option<Choice> {
        queues.find(|thread| thread.may_run_on(thief)).map(Choice::Thread)
    }
}

/// The dispatch queues of a CPU: the threads that wait for it. The running thread is in none of them.
///
/// **Context** of all functions: any; they neither block nor allocate.
#[derive(Debug)]
pub struct Queues {
    lists: Box<[List]>,
    /// A bit for each queue that has a thread.
    occupied: u64,
    len: usize,
}

impl Queues {
    fn new(count: usize) -> Queues {
        Queues { lists: (0..count).map(|_| List::new()).collect(), occupied: 0, len: 0 }
    }

    /// Returns the number of threads in all queues.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no thread waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of threads of a queue; 0 for one that does not exist.
    pub fn len_of(&self, queue: usize) -> usize {
        self.lists.get(queue).map_or(0, List::len)
    }

    /// Returns the first queue that has a thread.
    #[inline]
    pub fn first_queue(&self) -> Option<usize> {
        (self.occupied != 0).then(|| self.occupied.trailing_zeros() as usize)
    }

    /// Returns the last queue that has a thread.
    #[inline]
    pub fn last_queue(&self) -> Option<usize> {
        self.occupied.checked_ilog2().map(|queue| queue as usize)
    }

    /// Returns the threads of a queue, the first one first.
    pub fn threads(&self, queue: usize) -> impl Iterator<Item = QueuedThread<'_>> {
        self.lists.get(queue).into_iter().flat_map(List::iter)
    }

    /// Returns the number of the first thread for which the condition holds, queue by queue. It takes time proportional to the number of
    /// threads.
    pub fn find(&self, mut condition: impl FnMut(&Runnable) -> bool) -> Option<ThreadId> {
        self.lists.iter().flat_map(List::iter).find(|thread| condition(thread)).map(|thread| thread.id())
    }

    fn insert(&mut self, place: Place, thread: Runnable) {
        let queue = self.queue_of(place);
        let list = &mut self.lists[queue];
        match place {
            Place::Back(_) => list.push_back(thread),
            Place::Front(_) => list.push_front(thread),
        }
        self.occupied |= 1 << queue;
        self.len += 1;
    }

    /// Takes the first thread of a queue for which the condition holds.
    fn take_from(&mut self, queue: usize, condition: &mut dyn FnMut(&Runnable) -> bool) -> Option<Runnable> {
        let list = self.lists.get_mut(queue)?;
        let taken = list.take_first(condition)?;
        if list.is_empty() {
            self.occupied &= !(1 << queue);
        }
        self.len -= 1;
        Some(taken)
    }

    /// Takes the thread that a policy has chosen, if there is such a thread and the condition holds for it.
    fn take(&mut self, choice: Choice, condition: impl Fn(&Runnable) -> bool) -> Option<Runnable> {
        match choice {
            Choice::First(queue) => {
                // Only the first one.
                let is_right = condition(&*self.threads(queue).next()?);
                if is_right { self.take_from(queue, &mut |_| true) } else { None }
            }
            Choice::Thread(id) => (0..self.lists.len()).find_map(|queue| {
                self.take_from(queue, &mut |thread| thread.id() == id && condition(thread))
            }),
        }
    }

    /// Puts a thread into the place that `choose` answers for it. It stays where it is if that is the queue that it is in. Returns
    /// `false` if it is in none.
    fn replace(&mut self, thread: ThreadId, choose: impl FnOnce(&mut LentThread<'_>) -> Place) -> bool {
        let mut is_it = |candidate: &Runnable| candidate.id() == thread;
        let mut lists = self.lists.iter_mut().enumerate();
        let mut choose = Some(choose);
        let found = lists.find_map(|(queue, list)| {
            let place = list.change_first(is_it, |thread| choose.take().map(|choose| choose(thread)))??;
            Some((queue, place))
        });
        let Some((queue, place)) = found else { return false };
        if self.queue_of(place) != queue
            && let Some(thread) = self.take_from(queue, &mut is_it)
        {
            self.insert(place, thread);
        }
        true
    }

    /// Returns the queue of a place: instead of one that does not exist the last one.
    fn queue_of(&self, place: Place) -> usize {
        let (Place::Back(wished) | Place::Front(wished)) = place;
        wished.min(self.lists.len() - 1)
    }

    fn take_any(&mut self) -> Option<Runnable> {
        self.take_from(self.first_queue()?, &mut |_| true)
    }
}

/// A CPU's dispatch queues, and the policy that orders them.
#[derive(Debug)]
pub(crate) struct Dispatch<P> {
    policy: P,
    queues: Queues,
}

impl<P: DispatchPolicy> Dispatch<P> {
    pub(crate) fn new(cpu: CpuId) -> Dispatch<P> {
        const { assert!(P::QUEUES >= 1 && P::QUEUES <= MOST_QUEUES, "QUEUES must be from 1 to 64") };
        Dispatch { policy: P::new(cpu), queues: Queues::new(P::QUEUES) }
    }
}

// SAFETY: threads must stay in the queue that takes them. They go to the lists of `queues`, which give out what they took, and nowhere
// else: the policy gets references alone, and a `LentThread`, which cannot be exchanged for another.
unsafe impl<P: DispatchPolicy> RunQueue for Dispatch<P> {
    fn enqueue(&mut self, mut thread: Runnable, reason: Enqueue, now_ns: u64) {
        let place = self.policy.enqueue(&mut LentThread::new(&mut thread), reason, now_ns);
        self.queues.insert(place, thread);
    }

    fn pick_next(&mut self, now_ns: u64) -> Option<Runnable> {
        let choice = self.policy.pick_next(&self.queues, now_ns)?;
        self.queues.take(choice, |_| true).or_else(|| self.queues.take_any())
    }

    fn charge(&mut self, running: &mut LentThread<'_>, ran_ns: u64) {
        self.policy.charge(running, ran_ns);
    }

    fn is_preempted(&self, running: &Runnable) -> bool {
        !self.queues.is_empty() && self.policy.is_preempted(&self.queues, running)
    }

    fn slice_ns(&self, running: &Runnable) -> Option<u64> {
        if self.queues.is_empty() { None } else { self.policy.slice_ns(&self.queues, running) }
    }

    fn steal(&mut self, thief: CpuId) -> Option<Runnable> {
        let choice = self.policy.steal(&self.queues, thief)?;
        self.queues.take(choice, |thread| thread.may_run_on(thief))
    }

    fn reclassify(&mut self, thread: ThreadId, now_ns: u64) -> bool {
        let policy = &mut self.policy;
        self.queues.replace(thread, |thread| {
            thread.thread_mut().take_class();
            policy.enqueue(thread, Enqueue::Reclassified, now_ns)
        })
    }

    fn remove_any(&mut self) -> Option<Runnable> {
        self.queues.take_any()
    }

    fn len(&self) -> usize {
        self.queues.len()
    }
}

#[cfg(test)]
impl<P> Dispatch<P> {
    pub(super) fn policy_mut(&mut self) -> &mut P {
        &mut self.policy
    }

    /// Returns the numbers of the threads that wait, queue by queue.
    pub(super) fn remaining(&self) -> alloc::vec::Vec<ThreadId> {
        (0..self.queues.lists.len())
            .flat_map(|queue| self.queues.threads(queue))
            .map(|thread| thread.id())
            .collect()
    }
}

/// Describes a policy, for [`scheduler!`](crate::scheduler!).
#[doc(hidden)]
pub const fn describe<P: DispatchPolicy>() -> Policy {
    Policy {
        name: P::NAME,
        summary: P::SUMMARY,
        is_fair: P::IS_FAIR,
        new_queue: |cpu| Box::new(Dispatch::<P>::new(cpu)),
        select_cpu: P::select_cpu,
    }
}

/// Registers a [`DispatchPolicy`](crate::scheduler::DispatchPolicy), in any crate of the program: `scheduler=NAME` selects it for all
/// CPUs, beside those of octopod. Names are unique: a program that registers one twice is refused at boot.
///
/// `examples/scheduler.rs` has one.
#[macro_export]
macro_rules! scheduler {
    ($policy:ty) => {
        const _: () = {
            static POLICY: $crate::sched::policies::Policy = $crate::sched::dispatch::describe::<$policy>();

            #[$crate::registry::linkme::distributed_slice($crate::sched::policies::SCHEDULERS)]
            #[linkme(crate = $crate::registry::linkme)]
            static REGISTERED: &'static $crate::sched::policies::Policy = &POLICY;

            #[$crate::registry::linkme::distributed_slice($crate::sched::policies::SCHEDULER_NAMES)]
            #[linkme(crate = $crate::registry::linkme)]
            static HEADER: $crate::registry::Header = $crate::registry::Header::new(
                <$policy as $crate::scheduler::DispatchPolicy>::NAME,
                <$policy as $crate::scheduler::DispatchPolicy>::SUMMARY,
                ::core::file!(),
                ::core::line!(),
            );
        };
    };
}
