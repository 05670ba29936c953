//! The next thread of a CPU's queue.

use crate::cpu;
use crate::sched::cpu_scheduler::{CpuScheduler, note_cpu};
use crate::sched::entity::Runnable;
use crate::sched::policy::RunQueue;
use crate::sched::tcb::Tcb;

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
