//! The mechanism: it switches threads, wakes them, and moves them between CPUs.
//!
//! **Who has a thread.** The state word says it (see [`state`](super::state)). A running thread belongs to its CPU, a queued
//! one to a run queue or an inbox, a parked one to the waker that is to come. The owner has the thread's
//! [`Runnable`], so a thread is in one place at a time.
//!
//! **The switch.** A CPU locks its queue, chooses, and switches with the queue still locked. The next thread unlocks it. So a
//! thread that is put on the queue cannot be stolen before its registers are saved. A thread that parks is not on the queue:
//! the next thread completes its state, and queues it if it was woken meanwhile ([`finish_switch`]).
//!
//! **No CPU idles beside work.** A CPU that has nothing to run first notes that it is idle, then looks at every queue. A CPU
//! that queues a thread first queues it, then looks for idle CPUs. So one of both sees the other.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::cpu_scheduler::{CpuScheduler, Leave, Queue, count, note_cpu};
use super::entity::{Affinity, Class, Runnable};
use super::notice::Attention;
use super::policies::Policy;
use super::policy::{Enqueue, Placement, RunQueue, Running};
use super::state::{AfterSwitch, Phase, Wake};
use super::switch::switch_context;
use super::tcb::{Tcb, ThreadRef};
use super::{idle_set, retry};
use crate::cpu::per_cpu::{self, PerCpu};
use crate::cpu::{self, CpuId, IrqGuard, fs_base};
use crate::interrupts::{Vector, preempt};
use crate::per_cpu;
use crate::smp::{self, Cpu};
use crate::sync::{Hook, SpinLockGuard};
use crate::time::now_ns;
use crate::time::timer::{self, Expiry};

per_cpu! {
    static SCHEDULER: CpuScheduler = CpuScheduler::new();
}
crate::name_lock!(SCHEDULER, |gs_base, is_so| {
    // SAFETY: `gs_base` belongs to an area that is never freed: `held` and `name_of` pass no other.
    is_so(unsafe { PerCpu::of(&SCHEDULER, gs_base) }.queue.owner())
});

/// The policy of all CPUs.
static POLICY: Hook<&'static Policy> = Hook::new();

/// Sets the policy. Only the first call has an effect.
pub(super) fn set_policy(policy: &'static Policy) {
    POLICY.set(policy);
}

/// Returns the policy, if the scheduler has started. **Context:** any.
pub(crate) fn policy() -> Option<&'static Policy> {
    POLICY.get()
}

/// Returns this CPU's part.
#[inline(always)]
pub(super) fn own(_: &IrqGuard) -> &'static CpuScheduler {
    // SAFETY: `gs_base` is that of this CPU's area; areas are never freed.
    unsafe { SCHEDULER.of(per_cpu::gs_base()) }
}

/// Returns the part of a CPU that has a per-CPU area.
pub(super) fn of(cpu: &Cpu) -> Option<&'static CpuScheduler> {
    cpu.get(SCHEDULER)
}

/// Threads that may run on no CPU that is online, and so ran on another.
static STRANDED: AtomicU64 = AtomicU64::new(0);

/// The function that the exit of an interrupt calls if a switch is wanted.
pub(super) fn switch_if_better(guard: &IrqGuard) {
    preempt::clear_wanted(guard);
    // The CPU's own thread looks for others by itself.
    let Some(current) = Tcb::current(guard) else { return };
    let me = own(guard);
    let mut locked = me.queue.lock(guard);
    let now = now_ns();
    let Queue { policy: Some(policy), charged_ns } = &mut *locked else { return };
    let has_collected = me.collect(policy.as_mut(), now);
    // SAFETY: the thread runs on this CPU, so it belongs to the CPU.
    let mut token = unsafe { current.token() };
    let ran_ns = current.charge(charged_ns, now);
    policy.charge(&mut Running::new(&mut token), ran_ns);
    if !me.is_own_due.get() && !policy.is_preempted(&token) {
        keep_slicing(guard, me, policy.as_ref(), &token, now);
        // The CPU keeps the thread.
        let _ = token.into_entity();
        drop(locked);
    } else {
        count(&me.counts.preempted);
        current.state.set_queued();
        let next = if me.is_own_due.get() {
            policy.enqueue(token, Enqueue::Preempted, now);
            None
        } else {
            policy.switch(token, 0, Enqueue::Preempted, now)
        };
        leave_queued(guard, me, current, next, locked, now);
    }
    if has_collected {
        kick_idle_for_rest(guard, me);
    }
}

/// Lets another thread of this CPU run, if the policy agrees. Returns when the calling thread runs again.
///
/// **Context:** a thread of the scheduler, which may block; `guard` alone keeps interrupts off.
#[inline]
pub(super) fn yield_cpu(guard: &IrqGuard, current: &'static Tcb) {
    let me = own(guard);
    if me.is_empty() {
        return;
    }
    preempt::clear_wanted(guard);
    let mut locked = me.queue.lock(guard);
    let now = now_ns();
    let Queue { policy: Some(policy), charged_ns } = &mut *locked else { return };
    let has_collected = me.collect(policy.as_mut(), now);
    count(&me.counts.yielded);
    current.state.set_queued();
    // SAFETY: the thread runs on this CPU, so it belongs to the CPU, which puts it on the queue.
    let token = unsafe { current.token() };
    let ran_ns = current.charge(charged_ns, now);
    let next = policy.switch(token, ran_ns, Enqueue::Yielded, now);
    leave_queued(guard, me, current, next, locked, now);
    if has_collected {
        kick_idle_for_rest(guard, me);
    }
}

/// Switches from a thread that was put on this CPU's queue to the one that was taken from it, or to the CPU's own.
#[inline(always)]
fn leave_queued(
    guard: &IrqGuard,
    me: &'static CpuScheduler,
    current: &'static Tcb,
    next: Option<Runnable>,
    mut locked: SpinLockGuard<'_, Queue>,
    now: u64,
) {
    let next = match next {
        Some(token) if token.may_run_on(cpu::current()) => Some(token),
        other => {
            // `current` is on the queue, and no thread left it for this CPU.
            me.add_queued(1);
            match (other, locked.policy.as_deref_mut()) {
                (Some(token), Some(policy)) => {
                    elsewhere(guard, token).or_else(|| pick(guard, me, policy, now))
                }
                _ => None,
            }
        }
    };
    let Some(mut token) = next else {
        // The policy gives out none, or the CPU's own thread is due.
        core::mem::forget(locked);
        switch_to(guard, me, current.saved_rsp().as_ptr(), None);
        return finish_switch(guard);
    };
    note_cpu(&mut token, cpu::current());
    if let Some(policy) = &locked.policy {
        keep_slicing(guard, me, policy.as_ref(), &token, now);
    }
    let next = tcb_of(token);
    if core::ptr::eq(next, current) {
        current.state.set_running();
        return;
    }
    // The next thread unlocks the queue.
    core::mem::forget(locked);
    switch_to(guard, me, current.saved_rsp().as_ptr(), Some(next));
    finish_switch(guard);
}

/// Leaves the CPU to another thread, or to the CPU's own. The state of the calling thread says why already. Returns when it runs
/// again, maybe on another CPU; not if it has ended.
///
/// **Context:** a thread of the scheduler, which may block; `guard` alone keeps interrupts off.
pub(super) fn leave(guard: &IrqGuard, current: &'static Tcb, leave: Leave) {
    let me = own(guard);
    preempt::clear_wanted(guard);
    let mut locked = me.queue.lock(guard);
    let now = now_ns();
    let Queue { policy: Some(policy), charged_ns } = &mut *locked else { return };
    let has_collected = me.collect(policy.as_mut(), now);
    // SAFETY: until the switch is completed (`finish_switch`), the thread belongs to this CPU.
    let mut token = unsafe { current.token() };
    let ran_ns = current.charge(charged_ns, now);
    policy.charge(&mut Running::new(&mut token), ran_ns);
    let _ = token.into_entity();
    count(&me.counts.parked);
    let next = if me.is_own_due.get() || me.queued.load(Ordering::Relaxed) == 0 {
        None
    } else {
        pick(guard, me, policy.as_mut(), now)
    };
    let next = next.map(|token| {
        keep_slicing(guard, me, policy.as_ref(), &token, now);
        tcb_of(token)
    });
    me.previous.set(Some((current, leave)));
    // The next thread unlocks the queue.
    core::mem::forget(locked);
    switch_to(guard, me, current.saved_rsp().as_ptr(), next);
    finish_switch(guard);
    if has_collected {
        kick_idle_for_rest(guard, own(guard));
    }
}

/// After threads came from the inbox: if more than one did, an idle CPU may steal the rest.
#[cold]
fn kick_idle_for_rest(guard: &IrqGuard, me: &CpuScheduler) {
    if me.queued.load(Ordering::Relaxed) > 0 {
        kick_idle(guard, Affinity::Any);
    }
}

/// Switches to a thread, or to the CPU's own if there is none. The queue is locked on both sides.
#[inline(always)]
fn switch_to(guard: &IrqGuard, me: &'static CpuScheduler, save: *mut u64, next: Option<&'static Tcb>) {
    count(&me.counts.switches);
    let (header, load) = match next {
        Some(next) => {
            next.state.set_running();
            next.switches.store(next.switches.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            (next.fs_base(), next.saved_rsp().get())
        }
        None => (me.own.header.get(), me.own.saved_rsp.get()),
    };
    // SAFETY: the header is that of a thread that lives until it has ended, and of which this CPU is about to use the stack.
    unsafe { fs_base::set_current(guard, header) };
    // SAFETY: the next thread's context was saved by this function or made by `prepare`. No other CPU loads it: the thread was
    // taken from the queue, or is this CPU's own. It is loaded once, since it runs now. `save` belongs to the thread that is left.
    unsafe { switch_context(guard, save, load) };
}

/// Completes a switch, on the stack of the thread that the CPU has switched to: unlocks the queue, then does what remains to be
/// done with the previous thread.
pub(super) fn finish_switch(guard: &IrqGuard) {
    // Read again: this thread may have been on another CPU before.
    let me = own(guard);
    let previous = me.previous.take();
    // SAFETY: this CPU holds the lock: `reschedule` or `run_threads` has forgotten the guard and switched to this thread.
    unsafe { me.queue.unlock_forgotten() };
    let Some((previous, leave)) = previous else { return };
    let after = if leave == Leave::Moving { AfterSwitch::Enqueue } else { previous.state.complete_switch() };
    match after {
        AfterSwitch::Nothing => {}
        AfterSwitch::Enqueue => {
            // SAFETY: the state says that the thread belongs to this CPU, which puts it on a queue.
            let token = unsafe { previous.token() };
            let reason = if leave == Leave::Moving { Enqueue::Migrated } else { Enqueue::Woken };
            place(guard, token, reason);
        }
        AfterSwitch::Release => release(guard, previous),
    }
}

/// Releases a thread that has ended: wakes the one that waits for that, and gives up the thread's reference to itself.
#[cold]
fn release(guard: &IrqGuard, ended: &'static Tcb) {
    let waiter = core::ptr::with_exposed_provenance_mut::<Tcb>(ended.waiter.get());
    if let Some(waiter) = NonNull::new(waiter) {
        // SAFETY: the address comes from `ThreadRef::into_raw` (`JoinHandle::wait`), whose reference goes with it.
        let waiter = unsafe { ThreadRef::from_raw(waiter) };
        wake_in_handler(guard, &waiter);
    }
    // The last use: after it the one that joins the thread may free it.
    // SAFETY: the thread has ended (`complete_switch`), and this CPU has switched away from its stack.
    unsafe { Tcb::release(ended.into()) };
}

/// Sets the timer that ends the slice of the thread that runs from now on, if others wait.
#[inline(always)]
fn keep_slicing(guard: &IrqGuard, me: &CpuScheduler, policy: &dyn RunQueue, running: &Runnable, now_ns: u64) {
    if me.notice.get() != Attention::Slicing && me.queued.load(Ordering::Relaxed) != 0 {
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
        timer::set_slice(guard, now_ns + slice_ns);
        me.notice.set_slicing();
    }
}

/// The slice timer's callback.
pub(super) fn slice_ended(guard: &IrqGuard) {
    let me = own(guard);
    count(&me.counts.slices);
    // The timer does not run any more: from here on wakers send an interrupt. `reschedule` then looks into the inbox.
    me.notice.set(Attention::Running);
    smp::look_again(guard);
    preempt::want_switch(guard);
}

/// The interrupt by which other CPUs say that there is a thread in the inbox, or work for the CPU's own thread.
pub(super) fn noticed(guard: &IrqGuard) {
    let me = own(guard);
    count(&me.counts.notices);
    if smp::is_own_thread_due() {
        me.is_own_due.set(true);
    }
    me.notice.set(Attention::Running);
    preempt::want_switch(guard);
}

/// Takes the next thread from the queue. One that must not run here goes elsewhere.
///
/// **Context:** the queue is locked.
#[inline]
fn pick(guard: &IrqGuard, me: &CpuScheduler, policy: &mut dyn RunQueue, now_ns: u64) -> Option<Runnable> {
    loop {
        let mut token = policy.pick_next(now_ns)?;
        me.remove_queued();
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
fn elsewhere(guard: &IrqGuard, token: Runnable) -> Option<Runnable> {
    let mut token = send_elsewhere(guard, token, cpu::current()).err()?;
    token.scheduled_mut().affinity = Affinity::Any;
    STRANDED.fetch_add(1, Ordering::Relaxed);
    Some(token)
}

/// Returns the control block of a thread that this CPU takes from its queue to run it.
fn tcb_of(token: Runnable) -> &'static Tcb {
    // SAFETY: the block is valid while the thread has not ended, and it cannot end before it runs.
    unsafe { Tcb::of(token.into_entity()).as_ref() }
}

/// Runs the threads of this CPU, or one that it steals, until there is none. Returns whether there was one. If not, the CPU is
/// noted as idle, and may halt.
///
/// **Context:** the CPU's own thread, `guard` alone keeps interrupts off.
pub(super) fn run_threads(guard: &IrqGuard) -> bool {
    let me = own(guard);
    preempt::clear_wanted(guard);
    me.is_own_due.set(false);
    let Some(next) = take_next(guard, me) else { return false };
    // Locked by `take_own`.
    switch_to(guard, me, me.own.saved_rsp.as_ptr(), Some(next));
    finish_switch(guard);
    true
}

/// Takes a thread to run from this CPU's queue, or from another's. Leaves this CPU's queue locked if there is one, else notes
/// that the CPU is idle.
fn take_next(guard: &IrqGuard, me: &'static CpuScheduler) -> Option<&'static Tcb> {
    if let Some(next) = take_own(guard, me) {
        return Some(next);
    }
    me.notice.set(Attention::Idle);
    idle_set::insert(cpu::current());
    // Again: a thread may have come before the line above.
    if let Some(next) = take_own(guard, me) {
        return Some(next);
    }
    if steal(guard, me)
        && let Some(next) = take_own(guard, me)
    {
        return Some(next);
    }
    if me.queued.load(Ordering::Relaxed) > 0 {
        // The policy did not give out a thread that it has.
        timer::set_slice(guard, now_ns() + PATIENCE_NS);
    }
    None
}

/// The time after which a CPU asks a policy again that has threads and gave out none.
const PATIENCE_NS: u64 = 1_000_000;

/// Takes a thread to run from this CPU's queue, and leaves that locked if there is one.
fn take_own(guard: &IrqGuard, me: &'static CpuScheduler) -> Option<&'static Tcb> {
    if me.is_empty() {
        return None;
    }
    let mut locked = me.queue.lock(guard);
    let now = now_ns();
    locked.charged_ns = now;
    let policy = locked.policy.as_deref_mut()?;
    if me.notice.get() != Attention::Slicing {
        me.notice.set(Attention::Running);
    }
    let has_collected = me.collect(policy, now);
    let token = pick(guard, me, policy, now)?;
    idle_set::remove(cpu::current());
    keep_slicing(guard, me, policy, &token, now);
    core::mem::forget(locked);
    if has_collected {
        kick_idle_for_rest(guard, me);
    }
    Some(tcb_of(token))
}

/// Takes a thread from another CPU's queue to this CPU's. Returns whether there was one.
fn steal(guard: &IrqGuard, me: &CpuScheduler) -> bool {
    let here = cpu::current();
    let (before, after) = smp::cpus().split_at(here.index());
    for cpu in after.iter().skip(1).chain(before).filter(|cpu| cpu.is_online()) {
        let Some(victim) = of(cpu) else { continue };
        if victim.is_empty() {
            continue;
        }
        let mut locked = victim.queue.lock(guard);
        let Some(policy) = locked.policy.as_deref_mut() else { continue };
        victim.collect(policy, now_ns());
        let stolen = policy.steal(here);
        if stolen.is_some() {
            victim.remove_queued();
        }
        drop(locked);
        if victim.queued.load(Ordering::SeqCst) > 0 {
            // The victim may have seen its inbox empty, and its queue not yet longer.
            if victim.notice.claim_idle() && smp::interrupt_own_thread(guard, cpu).is_err() {
                victim.notice.withdraw(Attention::Idle);
                retry::arm(send_again);
            }
            if stolen.is_some() {
                kick_idle(guard, Affinity::Any);
            }
        }
        match stolen {
            Some(token) if token.may_run_on(here) => {
                count(&me.counts.stolen);
                enqueue_here(guard, me, token, Enqueue::Migrated);
                return true;
            }
            // The policy must not do that.
            Some(token) => {
                if let Err(token) = send_elsewhere(guard, token, here) {
                    enqueue_here(guard, me, token, Enqueue::Migrated);
                    return true;
                }
            }
            None => {}
        }
    }
    false
}

/// Puts a thread on this CPU's queue.
fn enqueue_here(guard: &IrqGuard, me: &CpuScheduler, token: Runnable, reason: Enqueue) {
    let mut locked = me.queue.lock(guard);
    let now = now_ns();
    let Queue { policy: Some(policy), charged_ns } = &mut *locked else {
        // Only CPUs whose inbox is open are chosen, and `open` opens it after the queue.
        unreachable!("a thread is queued on a CPU without a scheduler")
    };
    policy.enqueue(token, reason, now);
    me.add_queued(1);
    smp::look_again(guard);
    let Some(current) = Tcb::current(guard) else { return };
    if current.state.phase() == Phase::Running {
        // SAFETY: the thread runs on this CPU, to which it belongs; the token is given up below.
        let mut running = unsafe { current.token() };
        let ran_ns = current.charge(charged_ns, now);
        policy.charge(&mut Running::new(&mut running), ran_ns);
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
pub(super) fn place(guard: &IrqGuard, token: Runnable, reason: Enqueue) {
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
fn send_to(guard: &IrqGuard, token: Runnable, reason: Enqueue, wished: CpuId) {
    let here = cpu::current();
    let refused = if wished != here && wished.index() < smp::cpus().len() && token.may_run_on(wished) {
        push_to(guard, token, wished)
    } else {
        Err(token)
    };
    let token = match refused {
        Ok(()) => return,
        Err(token) if token.may_run_on(here) && own(guard).inbox.is_open() => token,
        Err(token) => match send_elsewhere(guard, token, here) {
            Ok(()) => return,
            // This CPU finds that no other may run it.
            Err(token) => token,
        },
    };
    let affinity = token.affinity();
    enqueue_here(guard, own(guard), token, reason);
    kick_idle(guard, affinity);
}

/// Puts a thread into the inbox of a CPU other than `here`, on which it may run. Returns it if there is none.
fn send_elsewhere(guard: &IrqGuard, mut token: Runnable, here: CpuId) -> Result<(), Runnable> {
    for cpu in smp::online().map(Cpu::id).filter(|cpu| *cpu != here) {
        if token.may_run_on(cpu) {
            match push_to(guard, token, cpu) {
                Ok(()) => return Ok(()),
                Err(refused) => token = refused,
            }
        }
    }
    Err(token)
}

/// Puts a thread into the inbox of another CPU, and interrupts the CPU if it has to be. Returns it if the CPU takes none.
fn push_to(guard: &IrqGuard, token: Runnable, cpu: CpuId) -> Result<(), Runnable> {
    let to = &smp::cpus()[cpu.index()];
    let Some(other) = of(to) else { return Err(token) };
    let is_urgent = matches!(token.attributes().class, Class::RealTime { .. });
    let affinity = token.affinity();
    other.inbox.push(token)?;
    if let Some(was) = other.notice.notify(is_urgent)
        && smp::interrupt_own_thread(guard, to).is_err()
    {
        other.notice.withdraw(was);
        retry::arm(send_again);
    }
    if !idle_set::contains(cpu) {
        kick_idle(guard, affinity);
    }
    Ok(())
}

/// Interrupts an idle CPU on which a thread may run, if there is one, so that it steals the thread.
fn kick_idle(guard: &IrqGuard, affinity: Affinity) {
    let claims =
        |cpu: CpuId| smp::cpus().get(cpu.index()).and_then(of).is_some_and(|other| other.notice.claim_idle());
    if let Some(cpu) = idle_set::nearest(cpu::current(), affinity, claims) {
        let to = &smp::cpus()[cpu.index()];
        if smp::interrupt_own_thread(guard, to).is_err()
            && let Some(other) = of(to)
        {
            other.notice.withdraw(Attention::Idle);
            retry::arm(send_again);
        }
    }
}

/// The callback of the timer for interrupts that could not be sent.
fn send_again(_: &Expiry) {
    retry::disarm();
    notify_again(&IrqGuard::new());
}

/// Sends again what could not be sent: interrupts every CPU that has threads in its inbox and no pending interrupt, and an idle
/// one, which may steal.
///
/// **Context:** a timer callback.
fn notify_again(guard: &IrqGuard) {
    for (cpu, other) in smp::online().filter_map(|cpu| Some((cpu, of(cpu)?))) {
        if other.inbox.has_threads()
            && let Some(was) = other.notice.notify(true)
            && smp::interrupt_own_thread(guard, cpu).is_err()
        {
            other.notice.withdraw(was);
            retry::arm(send_again);
        }
    }
    kick_idle(guard, Affinity::Any);
}

/// Wakes a thread. The caller is an interrupt handler of the scheduler, at whose exit this CPU switches if that is wanted.
pub(super) fn wake_in_handler(guard: &IrqGuard, tcb: &Tcb) {
    if tcb.state.wake() == Wake::Enqueue {
        // SAFETY: `wake` has given the parked thread to the caller.
        let token = unsafe { tcb.token() };
        place(guard, token, Enqueue::Woken);
    }
}

/// Wakes a thread, or lets its next park return at once. Switches to it if it should run instead of the caller.
///
/// **Context:** thread or interrupt; not NMI.
pub(crate) fn wake(tcb: &Tcb) {
    if tcb.state.wake() == Wake::Nothing {
        return;
    }
    let guard = IrqGuard::new();
    // SAFETY: `wake` has given the parked thread to the caller.
    let token = unsafe { tcb.token() };
    place(&guard, token, Enqueue::Woken);
    switch_after(guard);
}

/// Switches if that has become wanted under `guard`: now, or, in a section with interrupts off or a handler, at its end.
pub(super) fn switch_after(guard: IrqGuard) {
    if guard.were_enabled() {
        drop(guard);
        preempt::switch_if_wanted();
    } else if preempt::is_switch_wanted() {
        // The interrupt is pending until interrupts are on again. If it cannot be sent, the next one switches.
        let _ = crate::apic::send_to_self(&guard, Vector::RESCHEDULE);
    }
}

/// Gives a CPU its run queue.
///
/// **Context:** thread, interrupts on: it allocates.
pub(super) fn set_queue(cpu: &Cpu, policy: &'static Policy) {
    let queue = (policy.new_queue)(cpu.id());
    if let Some(scheduler) = of(cpu) {
        scheduler.queue.lock(&IrqGuard::new()).policy = Some(queue);
    }
}

/// Opens this CPU's inbox. Its run queue is set.
pub(super) fn open(guard: &IrqGuard) {
    own(guard).inbox.open();
}

/// The CPU has left the set of online CPUs: its threads go to others.
pub(super) fn evacuate(guard: &IrqGuard) {
    let me = own(guard);
    idle_set::remove(cpu::current());
    for token in me.inbox.close() {
        place(guard, token, Enqueue::Migrated);
    }
    loop {
        let mut locked = me.queue.lock(guard);
        let token = locked.policy.as_deref_mut().and_then(RunQueue::remove_any);
        if token.is_some() {
            me.remove_queued();
        }
        drop(locked);
        let Some(token) = token else { break };
        place(guard, token, Enqueue::Migrated);
    }
}

/// The CPU is in the set of online CPUs again.
pub(super) fn reopen(guard: &IrqGuard) {
    let me = own(guard);
    me.notice.set(Attention::Running);
    me.inbox.open();
}

crate::panic_context! {
    "scheduler" => |out| {
        let all = smp::cpus().iter().filter_map(|cpu| Some((cpu.id(), of(cpu)?)));
        for (cpu, me) in all.filter(|(_, me)| me.counts.switches.load(Ordering::Relaxed) > 0) {
            let queued = me.queued.load(Ordering::Relaxed);
            let inbox = if me.inbox.has_threads() { ", inbox not empty" } else { "" };
            writeln!(out, "cpu {cpu}: {:?}, {queued} threads queued{inbox}", me.notice.get())?;
        }
        Ok(())
    }
}
