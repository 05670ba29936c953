//! The timer that ends the slice of the running thread while others wait.

use super::own;
use crate::cpu::IrqGuard;
use crate::interrupts::preempt;
use crate::sched::cpu_scheduler::{CpuScheduler, Queue, count};
use crate::sched::entity::Runnable;
#[cfg(feature = "faults")]
use crate::sched::faults::{self, SchedFault};
use crate::sched::notice::Attention;
use crate::sched::policy::RunQueue;
use crate::smp;
use crate::time::timer;

/// Sets the timer that ends the slice of the thread that runs from now on, if others wait. A timer that was set for another thread
/// stays if it ends within the slice: the policy is asked then.
#[inline(always)]
pub(super) fn keep_slicing(
    guard: &IrqGuard,
    me: &CpuScheduler,
    policy: &dyn RunQueue,
    running: &Runnable,
    now_ns: u64,
) {
    if me.backlog.queued() != 0 && !is_slicing(me, running, now_ns) {
        begin_slicing(guard, me, policy, running, now_ns);
    }
}

/// As [`keep_slicing`], for a thread beside others that wait. `queue` is that of this CPU.
#[inline(always)]
pub(super) fn keep_slicing_beside(
    guard: &IrqGuard,
    me: &CpuScheduler,
    queue: &Queue,
    running: &Runnable,
    now_ns: u64,
) {
    if !is_slicing(me, running, now_ns)
        && let Some(policy) = &queue.policy
    {
        begin_slicing(guard, me, policy.as_ref(), running, now_ns);
    }
}

/// Returns whether the slice timer runs and ends within the slice of the thread.
#[inline(always)]
fn is_slicing(me: &CpuScheduler, running: &Runnable, now_ns: u64) -> bool {
    let latest_ns = now_ns + u64::from(running.attributes().slice_ns);
    me.notice.get() == Attention::Slicing && me.slice_end_ns.get() <= latest_ns
}

#[cold]
#[inline(never)]
fn begin_slicing(
    guard: &IrqGuard,
    me: &CpuScheduler,
    policy: &dyn RunQueue,
    running: &Runnable,
    now_ns: u64,
) {
    if let Some(slice_ns) = policy.slice_ns(running) {
        let end_ns = now_ns.saturating_add(slice_ns);
        me.slice_end_ns.set(end_ns);
        timer::set_slice(guard, end_ns);
        me.notice.set_slicing();
    }
}

/// The slice timer's callback.
pub(in crate::sched) fn slice_ended(guard: &IrqGuard) {
    let me = own(guard);
    count(&me.counts.slices);
    // The timer does not run any more: from here on wakers send an interrupt. `switch_if_better` then looks into the inbox.
    me.note_claim(me.notice.set(Attention::Running));
    smp::look_again(guard);
    #[cfg(feature = "faults")]
    if faults::is_armed(SchedFault::SkipPreempt) {
        return;
    }
    preempt::want_switch(guard);
}

/// Returns until when this CPU's slice timer runs, if it does. **Context:** thread or interrupt.
#[cfg(feature = "selftest")]
pub(crate) fn slice_end_ns() -> Option<u64> {
    let me = own(&IrqGuard::new());
    (me.notice.get() == Attention::Slicing).then(|| me.slice_end_ns.get())
}
