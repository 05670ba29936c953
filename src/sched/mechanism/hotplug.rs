//! A CPU gets its queue, goes offline, comes back, or is interrupted by another.

use core::sync::atomic::Ordering;

use super::placing::{pass_claim_on, place};
use super::{of, own};
use crate::cpu::{self, CpuId, IrqGuard};
use crate::interrupts::preempt;
use crate::sched::cpu_scheduler::count;
#[cfg(feature = "faults")]
use crate::sched::faults::{self, SchedFault};
use crate::sched::idle_set;
use crate::sched::notice::Attention;
use crate::sched::policies::Policy;
use crate::sched::policy::{Enqueue, RunQueue};
use crate::smp::{self, Cpu};
use crate::time::now_ns;

/// Gives a CPU its run queue.
///
/// **Context:** thread, interrupts on: it allocates.
pub(in crate::sched) fn set_queue(cpu: &Cpu, policy: &'static Policy) {
    let queue = (policy.new_queue)(cpu.id());
    if let Some(scheduler) = of(cpu) {
        scheduler.queue.lock(&IrqGuard::new()).policy = Some(queue);
    }
}

/// Opens this CPU's inbox. Its run queue is set.
pub(in crate::sched) fn open(guard: &IrqGuard) {
    let me = own(guard);
    let now = now_ns();
    me.started_ns.store(now, Ordering::Relaxed);
    // The boot's thread runs on the BSP.
    me.measured.start(now, cpu::current() != CpuId::BSP);
    me.backlog.inbox.open();
}

/// The CPU has left the set of online CPUs: its threads go to others.
pub(in crate::sched) fn evacuate(guard: &IrqGuard) {
    let me = own(guard);
    idle_set::remove(cpu::current());
    me.note_claim(me.notice.set(Attention::Running));
    pass_claim_on(guard, me);
    for token in me.backlog.inbox.close() {
        place(guard, token, Enqueue::Migrated);
    }
    #[cfg(feature = "faults")]
    if faults::is_armed(SchedFault::StrandOnOffline) {
        return;
    }
    loop {
        let mut locked = me.queue.lock(guard);
        let token = locked.policy.as_deref_mut().and_then(RunQueue::remove_any);
        if token.is_some() {
            me.backlog.remove_queued();
        }
        drop(locked);
        let Some(token) = token else { break };
        place(guard, token, Enqueue::Migrated);
    }
}

/// The CPU is in the set of online CPUs again.
pub(in crate::sched) fn reopen(guard: &IrqGuard) {
    let me = own(guard);
    me.note_claim(me.notice.set(Attention::Running));
    me.backlog.inbox.open();
    // It has looked before it went offline, and is not in the set of idle CPUs any more.
    smp::look_again(guard);
}

/// The interrupt by which other CPUs say that there is a thread in the inbox, or work for the CPU's own thread.
pub(in crate::sched) fn noticed(guard: &IrqGuard) {
    let me = own(guard);
    count(&me.counts.notices);
    if smp::is_own_thread_due() {
        me.is_own_due.set(true);
    }
    me.note_claim(me.notice.set(Attention::Running));
    preempt::want_switch(guard);
}
