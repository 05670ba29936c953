//! The timer that ends the slice of the running thread while others wait.

use super::own;
use crate::cpu::IrqGuard;
use crate::interrupts::preempt;
use crate::sched::cpu_scheduler::{CpuScheduler, count};
use crate::sched::entity::Runnable;
use crate::sched::notice::Attention;
use crate::sched::policy::RunQueue;
use crate::smp;
use crate::time::timer;

/// Sets the timer that ends the slice of the thread that runs from now on, if others wait.
#[inline(always)]
pub(super) fn keep_slicing(
    guard: &IrqGuard,
    me: &CpuScheduler,
    policy: &dyn RunQueue,
    running: &Runnable,
    now_ns: u64,
) {
    if me.notice.get() != Attention::Slicing && me.backlog.queued() != 0 {
        begin_slicing(guard, me, policy, running, now_ns);
    }
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
        timer::set_slice(guard, now_ns.saturating_add(slice_ns));
        me.notice.set_slicing();
    }
}

/// The slice timer's callback.
pub(in crate::sched) fn slice_ended(guard: &IrqGuard) {
    let me = own(guard);
    count(&me.counts.slices);
    // The timer does not run any more: from here on wakers send an interrupt. `reschedule` then looks into the inbox.
    me.notice.set(Attention::Running);
    smp::look_again(guard);
    preempt::want_switch(guard);
}
