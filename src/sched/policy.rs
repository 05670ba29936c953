//! The interface between mechanism and policy.
//!
//! The mechanism switches threads, wakes them and moves them between CPUs. It asks a policy for every decision: which thread
//! runs next, for how long, and where. Its guarantees hold whatever the policy answers: a thread runs on at most one CPU, it
//! runs only where its affinity allows, and no wake-up is lost.
//!
//! Each CPU has one [`RunQueue`] of the policy, behind the CPU's own lock. Other CPUs take it to steal. That lock orders the switch
//! away from a thread before the switch to it, so a queue must give out no thread of another queue: `RunQueue` is an unsafe trait.
//! Besides that a policy may be wrong in every answer.

use core::ops::Deref;

pub use super::entity::Enqueue;
use super::entity::{Affinity, PolicyWords, Runnable, ThreadId};
use crate::cpu::CpuId;

/// The running thread, lent to a policy. It gives no access to the [`Runnable`], so that a policy cannot exchange it for one that
/// it queues.
#[derive(Debug)]
pub struct LentThread<'a>(&'a mut Runnable);

impl<'a> LentThread<'a> {
    pub(crate) fn new(thread: &'a mut Runnable) -> LentThread<'a> {
        LentThread(thread)
    }

    /// Returns the thread, for a policy that is built in.
    pub(super) fn thread_mut(&mut self) -> &mut Runnable {
        self.0
    }

    /// Returns the policy's words, to change them.
    #[inline(always)]
    pub fn words_mut(&mut self) -> &mut PolicyWords {
        self.0.words_mut()
    }
}

impl Deref for LentThread<'_> {
    type Target = Runnable;

    #[inline(always)]
    fn deref(&self) -> &Runnable {
        self.0
    }
}

/// One CPU's queue of runnable threads. The running thread is not on it.
///
/// **Context** of all functions: the CPU's queue is locked, interrupts are off. They must not block, allocate or log.
///
/// # Safety
/// Each [`Runnable`] that a function returns was passed to `enqueue` or `switch` of the same queue, and was in no other place
/// meanwhile. While a queue has a thread, or has it lent as [`LentThread`], no `Runnable` of it is exchanged for that of another thread.
/// Otherwise a CPU might switch to a thread whose registers another CPU has not saved yet, or to one that must not run there.
pub unsafe trait RunQueue: Send {
    /// Takes a thread that is runnable from `now_ns` on.
    fn enqueue(&mut self, thread: Runnable, reason: Enqueue, now_ns: u64);

    /// Gives out the thread that runs next. The mechanism calls it as well when a thread is on the queue that the policy did
    /// not give out; `None` then leaves the CPU idle until the next event.
    fn pick_next(&mut self, now_ns: u64) -> Option<Runnable>;

    /// Charges the running thread, puts it on the queue, and gives out the thread that runs next: the three steps of each switch
    /// between two runnable threads, in one call.
    fn switch(
        &mut self,
        mut running: Runnable,
        ran_ns: u64,
        reason: Enqueue,
        now_ns: u64,
    ) -> Option<Runnable> {
        self.charge(&mut LentThread::new(&mut running), ran_ns);
        self.enqueue(running, reason, now_ns);
        self.pick_next(now_ns)
    }

    /// Accounts for `ran_ns` that the running thread has run since it was picked, or since the last call.
    fn charge(&mut self, running: &mut LentThread<'_>, ran_ns: u64);

    /// Returns whether a thread of the queue should run instead of the running one, which is charged up to now.
    fn is_preempted(&self, running: &Runnable) -> bool;

    /// Returns after how many nanoseconds of the running thread the answer of [`is_preempted`](Self::is_preempted) may
    /// change while nothing is enqueued, or `None` if it will not. The CPU's timer interrupts then.
    fn slice_ns(&self, running: &Runnable) -> Option<u64>;

    /// Gives a thread to another CPU, which has none to run. The thread must be allowed there
    /// ([`Runnable::may_run_on`]).
    fn steal(&mut self, thief: CpuId) -> Option<Runnable>;

    /// Gives out any thread: the CPU goes offline. Returns `None` only if the queue is empty.
    fn remove_any(&mut self) -> Option<Runnable>;

    /// Gives a thread of the queue the class that it is to have ([`Runnable::take_class`]), and the place that belongs to that. Returns
    /// `false` if the thread is not on the queue. It takes time proportional to the number of threads on the queue.
    fn reclassify(&mut self, thread: ThreadId, now_ns: u64) -> bool;

    /// Returns the number of threads on the queue.
    fn len(&self) -> usize;

    /// Returns whether no thread is on the queue.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the mechanism knows when it asks where a thread should run.
pub struct Placement {
    /// The CPU that asks: that of the waker.
    pub waker: CpuId,
    /// Returns whether a CPU has nothing to run.
    pub is_idle: fn(CpuId) -> bool,
    /// Returns an idle CPU near the given one that the affinity allows.
    pub nearest_idle: fn(CpuId, Affinity) -> Option<CpuId>,
}

/// Where a thread that becomes runnable goes, for policies that have no other wish: to its last CPU if that is idle, else to
/// an idle one near it, else to its last one. The mechanism corrects an answer that the affinity forbids.
#[inline]
pub fn select_cpu(thread: &Runnable, placement: &Placement) -> CpuId {
    let last = thread.last_cpu();
    if let Affinity::Pinned(only) = thread.affinity() {
        return only;
    }
    if (placement.is_idle)(last) && thread.may_run_on(last) {
        return last;
    }
    (placement.nearest_idle)(last, thread.affinity()).unwrap_or(last)
}
