//! The next thread of a CPU's queue.

use core::sync::atomic::Ordering;

use super::STRANDED;
use super::placing::send_elsewhere;
use crate::cpu::{self, IrqGuard};
use crate::sched::cpu_scheduler::{CpuScheduler, note_cpu};
use crate::sched::entity::{Affinity, Runnable};
use crate::sched::policy::RunQueue;
use crate::sched::tcb::Tcb;

/// Takes the next thread from the queue. One that must not run here goes elsewhere.
///
/// **Context:** the queue is locked.
#[inline]
pub(super) fn pick(
    guard: &IrqGuard,
    me: &CpuScheduler,
    policy: &mut dyn RunQueue,
    now_ns: u64,
) -> Option<Runnable> {
    loop {
        let mut token = policy.pick_next(now_ns)?;
        me.backlog.remove_queued();
        if token.may_run_on(cpu::current()) {
            note_cpu(&mut token, cpu::current());
            return Some(token);
        }
        if let Some(token) = elsewhere(guard, token) {
            return Some(token);
        }
    }
}

/// Sends a thread that must not run here to another CPU. Returns it if no CPU on which it may run is online: it must run
/// somewhere, and loses its affinity.
#[cold]
pub(super) fn elsewhere(guard: &IrqGuard, token: Runnable) -> Option<Runnable> {
    let mut token = send_elsewhere(guard, token, cpu::current()).err()?;
    token.scheduled_mut().affinity = Affinity::Any;
    STRANDED.fetch_add(1, Ordering::Relaxed);
    Some(token)
}

/// Returns the control block of a thread that this CPU takes from its queue to run it.
pub(super) fn tcb_of(token: Runnable) -> &'static Tcb {
    // SAFETY: the block is valid while the thread has not ended, and it cannot end before it runs.
    unsafe { Tcb::of(token.into_entity()).as_ref() }
}
