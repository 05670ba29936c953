//! A thread that runs or waits for a CPU gets another class.
//!
//! The class that a thread is to have is in its entity. The owner of its token looks there before it puts the thread on a queue. So a
//! thread has it when it becomes runnable, and only one that is runnable already has to be found: by its CPU, whose queue's lock keeps
//! it there. If it is there neither on the queue nor running, it is on the way from one queue to another.

use core::hint::spin_loop;
use core::sync::atomic::Ordering;

use super::of;
use super::picking::collect;
use super::placing::{notify_if_idle, send_again};
use crate::cpu::{self, IrqGuard};
use crate::interrupts::preempt;
use crate::sched::cpu_scheduler::{CpuScheduler, Queue, charge};
use crate::sched::policy::LentThread;
use crate::sched::retry;
use crate::sched::state::Phase;
use crate::sched::tcb::Tcb;
use crate::smp::{self, Cpu};
use crate::sync::Timeout;
use crate::time::now_ns;

/// How long a thread may be on the way from one queue to another. Interrupts are off meanwhile.
const PATIENCE_MS: u64 = 1;

/// Gives a thread the class that it is to have, if it is runnable, and lets its CPU choose again. One that is not gets it when it becomes
/// runnable. The caller switches afterwards if that is wanted.
///
/// **Context:** thread or interrupt; not NMI. No queue is locked.
pub(in crate::sched) fn reclassify(guard: &IrqGuard, thread: &Tcb) {
    let mut patience = None;
    while thread.state.is_runnable() && thread.entity().has_change() {
        let Some(cpu) = smp::cpus().get(thread.entity().cpu().index()) else { return };
        let Some(scheduler) = of(cpu) else { return };
        reclassify_on(guard, cpu, scheduler, thread);
        // Its CPU gives it the class in any case. Later only the interrupt is late by which the CPU chooses again.
        if patience.get_or_insert_with(|| Timeout::after_ms(PATIENCE_MS)).has_passed() {
            return;
        }
        spin_loop();
    }
}

/// Gives the thread its class if it is there.
fn reclassify_on(guard: &IrqGuard, cpu: &Cpu, scheduler: &CpuScheduler, thread: &Tcb) {
    let mut locked = scheduler.queue.lock(guard);
    let now = now_ns();
    let Queue { policy: Some(policy), charged_ns } = &mut *locked else { return };
    collect(guard, scheduler, policy.as_mut(), now, false);
    let runs_here = thread.state.phase() == Phase::Running && thread.entity().cpu() == cpu.id();
    let chooses_again = if runs_here {
        // SAFETY: the thread must belong to the caller: its CPU runs it, whose queue is locked here. It cannot leave the CPU meanwhile, which
        // takes that lock, and the token is given up below.
        let mut token = unsafe { thread.token() };
        policy.charge(&mut LentThread::new(&mut token), charge(charged_ns, now));
        token.take_class();
        let _ = token.into_entity();
        scheduler.backlog.queued() > 0
    } else {
        policy.reclassify(thread.id(), now)
    };
    drop(locked);
    if cpu.id() == cpu::current() {
        if chooses_again {
            preempt::want_switch(guard);
        }
    } else if chooses_again {
        choose_again(guard, cpu, scheduler);
    } else {
        notify_if_idle(guard, cpu, scheduler);
    }
}

/// Lets another CPU choose again which thread it runs.
fn choose_again(guard: &IrqGuard, cpu: &Cpu, scheduler: &CpuScheduler) {
    if let Some(was) = scheduler.notice.notify(true)
        && smp::interrupt_own_thread(guard, cpu).is_err()
    {
        scheduler.notice.withdraw(was);
        scheduler.has_missed.store(true, Ordering::Release);
        retry::arm(send_again);
    }
}
