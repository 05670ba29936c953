//! Threads that become runnable: the CPU on whose queue they are put, and how it learns of them.

use core::sync::atomic::Ordering;

use super::slicing::keep_slicing;
use super::{STRANDED, of, own, policy};
use crate::apic::{self, ApicError};
use crate::cpu::{self, CpuId, IrqGuard};
use crate::interrupts::{Vector, preempt};
use crate::sched::cpu_scheduler::{CpuScheduler, Queue, charge};
use crate::sched::entity::{Affinity, Class, Runnable};
#[cfg(feature = "faults")]
use crate::sched::faults::{self, SchedFault};
use crate::sched::notice::Attention;
use crate::sched::observe::observe;
use crate::sched::policy::{Enqueue, LentThread, Placement};
use crate::sched::state::{Phase, Wait, Wake};
use crate::sched::tcb::Tcb;
use crate::sched::{idle_set, retry};
use crate::smp::{self, Cpu};
use crate::time::now_ns;
use crate::time::timer::{self, Expiry};

/// Puts a thread, which may run on this CPU, on its queue.
pub(super) fn enqueue_here(guard: &IrqGuard, me: &CpuScheduler, mut token: Runnable, reason: Enqueue) {
    let mut locked = me.queue.lock(guard);
    let now = now_ns();
    let Queue { policy: Some(policy), charged_ns } = &mut *locked else {
        // Only CPUs whose inbox is open are chosen, and `open` opens it after the queue.
        unreachable!("a thread is queued on a CPU without a scheduler")
    };
    token.note_place(cpu::current());
    token.update_class();
    policy.enqueue(token, reason, now);
    me.backlog.add_queued(1);
    smp::look_again(guard);
    let Some(current) = Tcb::current(guard) else { return };
    if current.state.phase() == Phase::Running {
        // SAFETY: the thread runs on this CPU, to which it belongs; the token is given up below.
        let mut running = unsafe { current.token() };
        let ran_ns = charge(charged_ns, now);
        policy.charge(&mut LentThread::new(&mut running), ran_ns);
        let is_preempted = policy.is_preempted(&running);
        if is_preempted {
            preempt::want_switch(guard);
        } else {
            keep_slicing(guard, me, policy.as_ref(), &running, now);
        }
        let _ = running.into_entity();
    }
}

/// Puts a thread, which belongs to the caller, on the queue of a CPU that the policy chooses.
pub(in crate::sched) fn place(guard: &IrqGuard, token: Runnable, reason: Enqueue) {
    #[cfg(feature = "faults")]
    if reason == Enqueue::New && faults::forgets_thread() {
        let _ = token.into_entity();
        return;
    }
    let placement = Placement {
        waker: cpu::current(),
        is_idle: idle_set::contains,
        nearest_idle: |near, affinity| idle_set::nearest(near, affinity, |_| true),
    };
    let wished = match policy() {
        Some(policy) => (policy.select_cpu)(&token, &placement),
        None => cpu::current(),
    };
    send_to(guard, token, reason, wished);
}

/// Puts a thread on the queue of a CPU where it may run: `wished`, if that is one.
pub(super) fn send_to(guard: &IrqGuard, token: Runnable, reason: Enqueue, wished: CpuId) {
    observe!(placed(&token, reason));
    let here = cpu::current();
    let refused = if wished != here && wished.index() < smp::cpus().len() && token.may_run_on(wished) {
        push_to(guard, token, reason, wished)
    } else {
        Err(token)
    };
    let token = match refused {
        Ok(()) => return,
        Err(token) if token.may_run_on(here) && is_open(guard) => token,
        Err(token) => match send_elsewhere(guard, token, reason, here) {
            Ok(()) => return,
            Err(token) => match strand(guard, token, reason, here) {
                Some(token) => token,
                None => return,
            },
        },
    };
    let affinity = token.affinity();
    enqueue_here(guard, own(guard), token, reason);
    offer(guard, &affinity);
}

/// Returns whether this CPU takes threads: not while it goes offline.
fn is_open(guard: &IrqGuard) -> bool {
    own(guard).backlog.inbox.is_open()
}

/// No CPU on which a thread may run takes it. It must run somewhere, so its token loses the affinity. The thread itself keeps it
/// ([`Tcb::affinity`]) until that is changed as well, or it takes it over again. Returns the token if this CPU is to run the thread.
#[cold]
fn strand(guard: &IrqGuard, mut token: Runnable, reason: Enqueue, here: CpuId) -> Option<Runnable> {
    token.scheduled_mut().affinity = Affinity::Any;
    STRANDED.fetch_add(1, Ordering::Relaxed);
    if is_open(guard) {
        return Some(token);
    }
    // This CPU goes offline, so it is not the BSP, which never does.
    let sent = send_elsewhere(guard, token, reason, here);
    assert!(sent.is_ok(), "no CPU takes a thread of cpu {here}, which goes offline");
    None
}

/// Puts a thread into the inbox of a CPU other than `here`, on which it may run. Returns it if there is none.
fn send_elsewhere(
    guard: &IrqGuard,
    mut token: Runnable,
    reason: Enqueue,
    here: CpuId,
) -> Result<(), Runnable> {
    for cpu in smp::online().map(Cpu::id).filter(|cpu| *cpu != here) {
        if token.may_run_on(cpu) {
            match push_to(guard, token, reason, cpu) {
                Ok(()) => return Ok(()),
                Err(refused) => token = refused,
            }
        }
    }
    Err(token)
}

/// Puts a thread into the inbox of another CPU, and interrupts the CPU if it has to be. Returns it if the CPU takes none.
fn push_to(guard: &IrqGuard, mut token: Runnable, reason: Enqueue, cpu: CpuId) -> Result<(), Runnable> {
    let to = &smp::cpus()[cpu.index()];
    let Some(other) = of(to) else { return Err(token) };
    token.note_place(cpu);
    token.update_class();
    let is_urgent = matches!(token.attributes().class, Class::RealTime { .. });
    let affinity = token.affinity();
    token.scheduled_mut().reason = reason;
    other.backlog.inbox.push(token)?;
    if let Some(was) = other.notice.notify(is_urgent)
        && smp::interrupt_own_thread(guard, to).is_err()
    {
        other.notice.withdraw(was);
        retry::arm(send_again);
    }
    if !idle_set::contains(cpu) {
        offer(guard, &affinity);
    }
    Ok(())
}

/// A thread was put on a queue, and does not run next: interrupts an idle CPU on which it may run, if there is one.
#[inline(always)]
pub(super) fn offer(guard: &IrqGuard, affinity: &Affinity) {
    #[cfg(feature = "faults")]
    if faults::is_armed(SchedFault::StealPinned) {
        return kick_idle(guard, Affinity::Any);
    }
    if !matches!(affinity, Affinity::Pinned(_)) && idle_set::is_any() {
        kick_idle(guard, *affinity);
    }
}

/// Interrupts an idle CPU on which a thread may run, if there is one, so that it steals the thread.
#[cold]
#[inline(never)]
fn kick_idle(guard: &IrqGuard, affinity: Affinity) {
    let here = cpu::current();
    let claims = |cpu: CpuId| cpu != here && claim(cpu).is_some();
    if let Some(cpu) = idle_set::nearest(here, affinity, claims) {
        interrupt_claimed(guard, &smp::cpus()[cpu.index()]);
    }
}

fn claim(cpu: CpuId) -> Option<()> {
    let other = smp::cpus().get(cpu.index()).and_then(of)?;
    other.notice.claim_idle().then_some(())
}

fn interrupt_claimed(guard: &IrqGuard, cpu: &Cpu) {
    if smp::interrupt_own_thread(guard, cpu).is_err()
        && let Some(other) = of(cpu)
    {
        other.notice.withdraw_claim();
        retry::arm(send_again);
    }
}

/// The caller has moved threads of another CPU's inbox to its queue. The CPU may have seen its inbox empty, and its queue not yet longer:
/// interrupts it if it is idle.
pub(super) fn notify_if_idle(guard: &IrqGuard, cpu: &Cpu, other: &CpuScheduler) {
    if other.backlog.queued() > 0
        && other.notice.notify_idle()
        && smp::interrupt_own_thread(guard, cpu).is_err()
    {
        other.notice.withdraw(Attention::Idle);
        retry::arm(send_again);
    }
}

/// Interrupts all idle CPUs: one of them may run a thread that is on some queue.
#[cold]
#[inline(never)]
pub(super) fn kick_all_idle(guard: &IrqGuard) {
    smp::online().filter(|cpu| claim(cpu.id()).is_some()).for_each(|cpu| interrupt_claimed(guard, cpu));
}

/// This CPU runs a thread of its own, or goes offline. If it was claimed to steal one before, others have to.
#[inline(always)]
pub(super) fn pass_claim_on(guard: &IrqGuard, me: &CpuScheduler) {
    if me.is_claimed.take() {
        kick_all_idle(guard);
    }
}

/// The callback of the timer for interrupts that could not be sent.
pub(super) fn send_again(_: &Expiry) {
    retry::disarm();
    notify_again(&IrqGuard::new());
}

/// Sends again what could not be sent: interrupts every CPU that has threads in its inbox or has to choose again and no pending interrupt, and the idle
/// ones, which may steal.
///
/// **Context:** a timer callback.
fn notify_again(guard: &IrqGuard) {
    for (cpu, other) in smp::online().filter_map(|cpu| Some((cpu, of(cpu)?))) {
        let has_missed = other.has_missed.swap(false, Ordering::AcqRel);
        if (has_missed || other.backlog.inbox.has_threads())
            && let Some(was) = other.notice.notify(true)
            && smp::interrupt_own_thread(guard, cpu).is_err()
        {
            other.notice.withdraw(was);
            other.has_missed.store(has_missed, Ordering::Release);
            retry::arm(send_again);
        }
    }
    kick_all_idle(guard);
}

/// Wakes a thread that waits so, or leaves a token. The caller switches afterwards if that is wanted, by [`switch_after`] or by the exit
/// of its handler.
///
/// **Context:** thread or interrupt; not NMI.
#[inline]
pub(in crate::sched) fn wake_under(guard: &IrqGuard, tcb: &Tcb, wait: Wait) {
    #[cfg(feature = "faults")]
    if wait == Wait::Unpark && faults::loses_wake() {
        return;
    }
    if tcb.state.wake(wait) == Wake::Enqueue {
        // SAFETY: `wake` has given the waiting thread to the caller.
        let token = unsafe { tcb.token() };
        place(guard, token, Enqueue::Woken);
    }
}

/// Wakes a thread that is parked, or leaves a token. Switches to it if it should run instead of the caller.
///
/// **Context:** thread or interrupt; not NMI.
#[inline]
pub(in crate::sched) fn unpark(tcb: &Tcb) {
    if !tcb.state.leave_token(Wait::Unpark) {
        wake_parked(tcb);
    }
}

/// The affinity of a thread was changed: it takes that over before it runs on.
///
/// **Context:** thread or interrupt; not NMI.
///
/// # Errors
/// [`ApicError`]: the CPU that runs the thread could not be interrupted. It makes the change at its next interrupt.
pub(in crate::sched) fn request_change(guard: IrqGuard, tcb: &Tcb) -> Result<(), ApicError> {
    let sent = note_change(&guard, tcb);
    switch_after(guard);
    sent
}

/// As [`request_change`]. The caller switches afterwards if that is wanted.
pub(super) fn note_change(guard: &IrqGuard, tcb: &Tcb) -> Result<(), ApicError> {
    let mut sent = Ok(());
    if tcb.state.request_change() {
        // A thread that moves meanwhile finds the change where it runs next.
        let cpu = smp::cpus().iter().find(|cpu| cpu.gs_base() == Some(tcb.gs_base()));
        match cpu {
            Some(cpu) if cpu.id() != cpu::current() => sent = smp::interrupt_own_thread(guard, cpu),
            _ => preempt::want_switch(guard),
        }
    }
    sent
}

#[inline(never)]
fn wake_parked(tcb: &Tcb) {
    // Before the wake-up: if another thread ran between it and the enqueuing, the woken one would wait for that thread as well.
    let guard = IrqGuard::new();
    wake_under(&guard, tcb, Wait::Unpark);
    switch_after(guard);
}

/// Switches if that has become wanted under `guard`: now, or, in a section with interrupts off or a handler, at its end. The exit of
/// the timer interrupt switches anyway, so its callbacks send no interrupt.
pub(in crate::sched) fn switch_after(guard: IrqGuard) {
    if guard.were_enabled() {
        drop(guard);
        preempt::switch_if_wanted();
    } else if preempt::is_switch_wanted() && !timer::is_expiring(&guard) {
        interrupt_self(&guard);
    }
}

/// Sends this CPU the interrupt at whose exit it switches. It is pending until interrupts are on again. If it cannot be sent, the next
/// interrupt switches.
#[cold]
pub(in crate::sched) fn interrupt_self(guard: &IrqGuard) {
    let _ = apic::send_to_self(guard, Vector::RESCHEDULE);
}
