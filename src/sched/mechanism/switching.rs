//! Switches between threads. A CPU leaves a thread with its queue locked, and the next thread unlocks it.

use core::ptr::NonNull;

use super::own;
use super::picking::{collect, pick, tcb_of};
use super::placing::{offer, place, wake_under};
use super::slicing::{keep_slicing, keep_slicing_beside};
use crate::cpu::{self, IrqGuard, fs_base};
use crate::interrupts::preempt;
use crate::sched::cpu_scheduler::{CpuScheduler, Left, Queue, charge, count, note_cpu};
use crate::sched::entity::Runnable;
use crate::sched::observe::observe;
use crate::sched::policy::{Enqueue, LentThread};
use crate::sched::state::{AfterSwitch, Wait};
use crate::sched::switch::switch_context;
use crate::sched::tcb::{Tcb, ThreadRef};
use crate::sched::thread_list;
use crate::sync::SpinLockGuard;
use crate::time::now_ns;
use crate::wire::LeaveReason;

/// The function that the exit of an interrupt calls if a switch is wanted.
pub(in crate::sched) fn switch_if_better(guard: &IrqGuard) {
    preempt::clear_wanted(guard);
    // The CPU's own thread looks for others by itself.
    let Some(current) = Tcb::current(guard) else { return };
    if current.state.take_change() && !change_affinity(guard, current) {
        return;
    }
    let me = own(guard);
    let mut locked = me.queue.lock(guard);
    let now = now_ns();
    let Queue { policy: Some(policy), charged_ns } = &mut *locked else { return };
    collect(guard, me, policy.as_mut(), now, false);
    // SAFETY: the thread runs on this CPU, so it belongs to the CPU.
    let mut token = unsafe { current.token() };
    let ran_ns = charge(charged_ns, now);
    policy.charge(&mut LentThread::new(&mut token), ran_ns);
    if !me.is_own_due.get() && !policy.is_preempted(&token) {
        keep_slicing(guard, me, policy.as_ref(), &token, now);
        // The CPU keeps the thread.
        let _ = token.into_entity();
        drop(locked);
    } else {
        current.state.set_queued();
        let affinity = token.affinity();
        if me.is_own_due.get() {
            policy.enqueue(token, Enqueue::Preempted, now);
            me.backlog.add_queued(1);
            offer(guard, &affinity);
            leave_to_own(guard, me, current, locked, LeaveReason::Preempted);
        } else {
            // Before it is on the queue: other threads are, so an idle CPU takes the lock to look.
            offer(guard, &affinity);
            let next = policy.switch(token, 0, Enqueue::Preempted, now);
            leave_queued(guard, me, current, next, locked, now, LeaveReason::Preempted);
        }
    }
}

/// Gives the running thread the affinity that was requested for it. Returns whether the CPU runs it still, as it did before; otherwise it
/// has run on another CPU meanwhile, and runs again.
#[cold]
#[inline(never)]
fn change_affinity(guard: &IrqGuard, current: &'static Tcb) -> bool {
    let locked = own(guard).queue.lock(guard);
    // SAFETY: the thread runs on this CPU, whose queue is locked, so it belongs to the CPU, which keeps it: the token is given up here.
    let mut token = unsafe { current.token() };
    token.scheduled_mut().affinity = current.affinity();
    let may_stay = token.may_run_on(cpu::current());
    let _ = token.into_entity();
    drop(locked);
    if !may_stay {
        // As a thread that waits and is woken at once: its next CPU is chosen when its registers are saved.
        while !current.state.begin(Wait::Event) {}
        wake_under(guard, current, Wait::Event);
        leave_here(guard, current, LeaveReason::Moved);
    }
    may_stay
}

/// Lets another thread of this CPU run, if the policy agrees. Returns when the calling thread runs again, and whether threads waited.
///
/// **Context:** a thread of the scheduler, which may block; `guard` alone keeps interrupts off.
#[inline]
pub(in crate::sched) fn yield_cpu(guard: &IrqGuard, current: &'static Tcb) -> bool {
    let me = own(guard);
    if me.backlog.is_empty() {
        return false;
    }
    preempt::clear_wanted(guard);
    let mut locked = me.queue.lock(guard);
    let now = now_ns();
    let Queue { policy: Some(policy), charged_ns } = &mut *locked else { return false };
    collect(guard, me, policy.as_mut(), now, false);
    current.state.set_queued();
    // SAFETY: the thread runs on this CPU, so it belongs to the CPU, which puts it on the queue.
    let token = unsafe { current.token() };
    let ran_ns = charge(charged_ns, now);
    // Before it is on the queue: other threads are, so an idle CPU takes the lock to look.
    offer(guard, &token.scheduled().affinity);
    let next = policy.switch(token, ran_ns, Enqueue::Yielded, now);
    leave_queued(guard, me, current, next, locked, now, LeaveReason::Yielded);
    true
}

/// Switches from a thread that was put on this CPU's queue to the one that was taken from it, or to the CPU's own.
#[inline(always)]
fn leave_queued(
    guard: &IrqGuard,
    me: &'static CpuScheduler,
    current: &'static Tcb,
    next: Option<Runnable>,
    locked: SpinLockGuard<'_, Queue>,
    now: u64,
    reason: LeaveReason,
) {
    let Some(mut token) = next else {
        // The policy gives out none, though it has `current`.
        me.backlog.add_queued(1);
        return leave_to_own(guard, me, current, locked, reason);
    };
    note_cpu(&mut token, cpu::current());
    keep_slicing_beside(guard, me, &locked, &token, now);
    let next = tcb_of(token);
    if core::ptr::eq(next, current) {
        note_running(guard, current);
        return;
    }
    // The next thread unlocks the queue.
    core::mem::forget(locked);
    switch_to(guard, me, current.saved_rsp().as_ptr(), Some(next), Left::Thread(reason));
    finish_switch(guard);
}

/// Switches from a thread that was put on this CPU's queue, and none was taken from it, to the CPU's own.
#[cold]
fn leave_to_own(
    guard: &IrqGuard,
    me: &'static CpuScheduler,
    current: &'static Tcb,
    locked: SpinLockGuard<'_, Queue>,
    reason: LeaveReason,
) {
    core::mem::forget(locked);
    switch_to(guard, me, current.saved_rsp().as_ptr(), None, Left::Thread(reason));
    finish_switch(guard);
}

/// Leaves the CPU to another thread, or to the CPU's own. The state of the calling thread says why already, as `reason` does for the counts.
/// Returns when it runs again, maybe on another CPU; not if it has ended.
///
/// **Context:** a thread of the scheduler, which may block; `guard` alone keeps interrupts off.
#[inline(always)]
pub(in crate::sched) fn leave(guard: &IrqGuard, current: &'static Tcb, reason: LeaveReason) {
    // A function for each reason: none has to keep it across the calls of the policy.
    match reason {
        LeaveReason::Parked => leave_as::<{ LeaveReason::Parked as usize }>(guard, current),
        LeaveReason::Ended => leave_as::<{ LeaveReason::Ended as usize }>(guard, current),
        _ => leave_as::<{ LeaveReason::Blocked as usize }>(guard, current),
    }
}

#[inline(never)]
fn leave_as<const REASON: usize>(guard: &IrqGuard, current: &'static Tcb) {
    leave_here(guard, current, LeaveReason::ALL[REASON]);
}

/// As [`leave`] of a thread that parks, and switches again if that has become wanted meanwhile.
///
/// **Context:** as for [`leave`].
#[inline(never)]
pub(in crate::sched) fn leave_and_return(guard: IrqGuard, current: &'static Tcb) {
    leave_here(&guard, current, LeaveReason::Parked);
    switch_now(guard);
}

/// Switches if that has become wanted under `guard`, which alone keeps interrupts off.
#[inline(always)]
pub(in crate::sched) fn switch_now(guard: IrqGuard) {
    drop(guard);
    preempt::switch_if_wanted();
}

#[inline(always)]
fn leave_here(guard: &IrqGuard, current: &'static Tcb, reason: LeaveReason) {
    let me = own(guard);
    preempt::clear_wanted(guard);
    let mut locked = me.queue.lock(guard);
    let now = now_ns();
    let Queue { policy: Some(policy), charged_ns } = &mut *locked else { return };
    collect(guard, me, policy.as_mut(), now, !me.is_own_due.get());
    // SAFETY: until the switch is completed (`finish_switch`), the thread belongs to this CPU.
    let mut token = unsafe { current.token() };
    let ran_ns = charge(charged_ns, now);
    policy.charge(&mut LentThread::new(&mut token), ran_ns);
    let _ = token.into_entity();
    let next =
        if me.is_own_due.get() || me.backlog.queued() == 0 { None } else { pick(me, policy.as_mut(), now) };
    let next = next.map(|token| {
        keep_slicing(guard, me, policy.as_ref(), &token, now);
        tcb_of(token)
    });
    me.previous.set(Some(current));
    // The next thread unlocks the queue.
    core::mem::forget(locked);
    switch_to(guard, me, current.saved_rsp().as_ptr(), next, Left::Thread(reason));
    finish_switch(guard);
}

/// Switches to a thread, or to the CPU's own if there is none. The queue is locked on both sides.
#[inline(always)]
pub(super) fn switch_to(
    guard: &IrqGuard,
    me: &'static CpuScheduler,
    save: *mut u64,
    next: Option<&'static Tcb>,
    left: Left,
) {
    count(&me.counts.left[left.index()]);
    let load = match next {
        Some(next) => {
            observe!(switched(guard, me, Some(next), left));
            // SAFETY: the thread lives until it has ended, and this CPU is about to use its stack.
            unsafe { fs_base::set_current(guard, next.fs_base()) };
            note_running(guard, next);
            next.saved_rsp().get()
        }
        None => {
            observe!(switched(guard, me, None, left));
            // SAFETY: the header is this CPU's own, which is never freed, and the CPU is about to use its own stack.
            unsafe { fs_base::set_current(guard, me.own.header.get()) };
            me.own.saved_rsp.get()
        }
    };
    // SAFETY: the next thread's context was saved by this function or made by `prepare`. No other CPU loads it: the thread was
    // taken from the queue, or is this CPU's own. It is loaded once, since it runs now. `save` belongs to the thread that is left.
    unsafe { switch_context(guard, save, load) };
}

/// Notes that this CPU, which the thread's header names already, runs the thread from now on. If its affinity was changed meanwhile, it looks
/// at that as soon as it may switch again, before its own code runs.
#[inline(always)]
fn note_running(guard: &IrqGuard, thread: &Tcb) {
    if thread.state.set_running() {
        preempt::want_switch(guard);
    }
}

/// Completes a switch, on the stack of the thread that the CPU has switched to: unlocks the queue, then does what remains to be
/// done with the previous thread.
pub(in crate::sched) fn finish_switch(guard: &IrqGuard) {
    // Read again: this thread may have been on another CPU before.
    let me = own(guard);
    let previous = me.previous.take();
    // SAFETY: this CPU holds the lock: a function of this module or `take_own` has forgotten the guard and switched to this thread.
    unsafe { me.queue.unlock_forgotten() };
    let Some(previous) = previous else { return };
    match previous.state.complete_switch() {
        AfterSwitch::Nothing => {}
        AfterSwitch::Enqueue => {
            // SAFETY: the state says that the thread belongs to this CPU, which puts it on a queue.
            let token = unsafe { previous.token() };
            place(guard, token, Enqueue::Woken);
        }
        AfterSwitch::Release => release(guard, previous),
    }
}

/// Releases a thread that has ended: wakes the one that waits for that, and gives up the thread's reference to itself.
#[cold]
#[inline(never)]
fn release(guard: &IrqGuard, ended: &'static Tcb) {
    let waiter = core::ptr::with_exposed_provenance_mut::<Tcb>(ended.waiter.get());
    if let Some(waiter) = NonNull::new(waiter) {
        // SAFETY: the address comes from `ThreadRef::into_raw` (`JoinHandle::wait`), whose reference goes with it.
        let waiter = unsafe { ThreadRef::from_raw(waiter) };
        wake_under(guard, &waiter, Wait::Event);
    }
    ended.note_stack_use(guard);
    // SAFETY: `spawn` has put it on the list, and its CPU calls this once, when it has left the thread.
    unsafe { thread_list::remove(guard, ended) };
    // The last use: after it the one that joins the thread may free it.
    // SAFETY: the thread has ended (`complete_switch`), and this CPU has switched away from its stack.
    unsafe { Tcb::release(guard, ended.into()) };
}
