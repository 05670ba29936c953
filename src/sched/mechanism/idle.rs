//! A CPU without a thread: it looks for one on its queue, then on those of others, and halts if there is none.

use super::picking::{collect, pick, tcb_of};
use super::placing::{enqueue_here, notify_if_idle, pass_claim_on, send_to};
use super::slicing::keep_slicing;
use super::switching::{finish_switch, switch_to};
use super::{of, own};
#[cfg(feature = "faults")]
use crate::cpu::per_cpu;
use crate::cpu::{self, IrqGuard};
use crate::interrupts::preempt;
use crate::sched::cpu_scheduler::{CpuScheduler, Left, count};
#[cfg(feature = "faults")]
use crate::sched::faults::{self, SchedFault};
use crate::sched::idle_set;
use crate::sched::notice::Attention;
use crate::sched::observe::observe;
use crate::sched::policy::Enqueue;
use crate::sched::tcb::Tcb;
#[cfg(feature = "faults")]
use crate::sched::{state::Phase, thread_list};
use crate::smp;
use crate::time::now_ns;
use crate::time::timer;

/// Runs the threads of this CPU, or one that it steals, until there is none. Returns whether there was one. If not, the CPU is
/// noted as idle, and may halt.
///
/// **Context:** the CPU's own thread, `guard` alone keeps interrupts off.
pub(in crate::sched) fn run_threads(guard: &IrqGuard) -> bool {
    let me = own(guard);
    preempt::clear_wanted(guard);
    me.is_own_due.set(false);
    let Some(next) = take_next(guard, me) else { return false };
    // Locked by `take_own`.
    switch_to(guard, me, me.own.saved_rsp.as_ptr(), Some(next), Left::Own);
    finish_switch(guard);
    true
}

/// Takes a thread to run from this CPU's queue, or from another's. Leaves this CPU's queue locked if there is one, else notes
/// that the CPU is idle.
fn take_next(guard: &IrqGuard, me: &'static CpuScheduler) -> Option<&'static Tcb> {
    if let Some(next) = take_own(guard, me) {
        return Some(next);
    }
    me.note_claim(me.notice.set(Attention::Idle));
    idle_set::insert(cpu::current());
    // Again: a thread may have come before the line above.
    if let Some(next) = take_own(guard, me) {
        return Some(next);
    }
    // The look at all queues for which the CPU was claimed.
    me.is_claimed.set(false);
    if steal(guard, me)
        && let Some(next) = take_own(guard, me)
    {
        return Some(next);
    }
    if me.backlog.queued() > 0 {
        // The policy did not give out a thread that it has.
        timer::set_slice(guard, now_ns() + PATIENCE_NS);
    }
    #[cfg(feature = "faults")]
    if faults::is_armed(SchedFault::RunTwice)
        && let Some(running) = running_elsewhere()
    {
        core::mem::forget(me.queue.lock(guard));
        return Some(running);
    }
    None
}

/// The time after which a CPU asks a policy again that has threads and gave out none.
const PATIENCE_NS: u64 = 1_000_000;

/// Takes a thread to run from this CPU's queue, and leaves that locked if there is one.
fn take_own(guard: &IrqGuard, me: &'static CpuScheduler) -> Option<&'static Tcb> {
    if me.backlog.is_empty() {
        return None;
    }
    let mut locked = me.queue.lock(guard);
    let now = now_ns();
    locked.charged_ns = now;
    let policy = locked.policy.as_deref_mut()?;
    if me.notice.get() != Attention::Slicing {
        me.note_claim(me.notice.set(Attention::Running));
    }
    collect(guard, me, policy, now, true);
    let token = pick(me, policy, now)?;
    idle_set::remove(cpu::current());
    keep_slicing(guard, me, policy, &token, now);
    pass_claim_on(guard, me);
    core::mem::forget(locked);
    Some(tcb_of(token))
}

/// Takes a thread from another CPU's queue to this CPU's. Returns whether there was one.
fn steal(guard: &IrqGuard, me: &CpuScheduler) -> bool {
    let here = cpu::current();
    let (before, after) = smp::cpus().split_at(here.index());
    for cpu in after.iter().skip(1).chain(before).filter(|cpu| cpu.is_online()) {
        let Some(victim) = of(cpu) else { continue };
        if victim.backlog.is_empty() {
            continue;
        }
        #[cfg(feature = "faults")]
        if faults::spares(cpu) {
            continue;
        }
        let mut locked = victim.queue.lock(guard);
        let Some(policy) = locked.policy.as_deref_mut() else { continue };
        collect(guard, victim, policy, now_ns(), true);
        let stolen = policy.steal(here);
        #[cfg(feature = "faults")]
        let stolen = if faults::is_armed(SchedFault::StealPinned) {
            stolen.or_else(|| policy.remove_any())
        } else {
            stolen
        };
        if stolen.is_some() {
            victim.backlog.remove_queued();
        }
        drop(locked);
        notify_if_idle(guard, cpu, victim);
        match stolen {
            #[cfg(feature = "faults")]
            Some(token) if faults::is_armed(SchedFault::StealPinned) => {
                enqueue_here(guard, me, token, Enqueue::Migrated);
                return true;
            }
            Some(token) if token.may_run_on(here) => {
                count(&me.counts.stolen);
                observe!(stolen(&token, cpu.id()));
                enqueue_here(guard, me, token, Enqueue::Migrated);
                return true;
            }
            // The policy should not do that. Back it goes.
            Some(token) => {
                send_to(guard, token, Enqueue::Migrated, cpu.id());
                if !me.backlog.is_empty() {
                    return true;
                }
            }
            None => {}
        }
    }
    false
}

/// Returns a thread that another CPU runs, for the fault `run_twice`.
#[cfg(feature = "faults")]
fn running_elsewhere() -> Option<&'static Tcb> {
    let mut found = None;
    thread_list::try_for_each(|thread| {
        if thread.state.phase() == Phase::Running && thread.gs_base() != per_cpu::gs_base() {
            found = Some(core::ptr::from_ref(thread));
        }
    });
    // SAFETY: the thread must live while it is used, which nothing guarantees: the fault is to run it. The check that finds that ends the run
    // before another access.
    found.map(|thread| unsafe { &*thread })
}
