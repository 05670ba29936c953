//! The threads of a CPU's inbox, which go to its queue, and the next thread of that.

use super::placing::offer;
use crate::cpu::{self, IrqGuard};
use crate::sched::cpu_scheduler::{CpuScheduler, note_cpu};
use crate::sched::entity::Runnable;
use crate::sched::policy::RunQueue;
use crate::sched::tcb::Tcb;

/// Moves the threads of a CPU's inbox to its queue. `takes_one`: a CPU that has no thread takes one of them next. Idle CPUs may steal the
/// others: their wakers may have seen this CPU idle, and so have interrupted no other.
///
/// **Context:** the queue is locked, as `policy`.
#[inline(always)]
pub(super) fn collect(
    guard: &IrqGuard,
    from: &CpuScheduler,
    policy: &mut dyn RunQueue,
    now_ns: u64,
    takes_one: bool,
) {
    if from.backlog.inbox.has_threads() {
        collect_some(guard, from, policy, now_ns, takes_one);
    }
}

#[cold]
#[inline(never)]
fn collect_some(
    guard: &IrqGuard,
    from: &CpuScheduler,
    policy: &mut dyn RunQueue,
    now_ns: u64,
    takes_one: bool,
) {
    let mut only = None;
    for mut thread in from.backlog.inbox.take_all() {
        thread.update_class();
        let (affinity, reason) = (thread.affinity(), thread.scheduled().reason);
        policy.enqueue(thread, reason, now_ns);
        from.backlog.add_queued(1);
        if takes_one && from.backlog.queued() == 1 {
            only = Some(affinity);
            continue;
        }
        if let Some(first) = only.take() {
            offer(guard, &first);
        }
        offer(guard, &affinity);
    }
}

/// Takes the next thread from the queue. It may run here: no other is put on the queue, and the queue gives out no other.
///
/// **Context:** the queue is locked.
#[inline]
pub(super) fn pick(me: &CpuScheduler, policy: &mut dyn RunQueue, now_ns: u64) -> Option<Runnable> {
    let mut token = policy.pick_next(now_ns)?;
    me.backlog.remove_queued();
    note_cpu(&mut token, cpu::current());
    Some(token)
}

/// Returns the control block of a thread that this CPU takes from its queue to run it.
pub(super) fn tcb_of(token: Runnable) -> &'static Tcb {
    // SAFETY: the block is valid while the thread has not ended, and it cannot end before it runs.
    unsafe { Tcb::of(token.into_entity()).as_ref() }
}
