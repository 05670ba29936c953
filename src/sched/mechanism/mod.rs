//! The mechanism: it switches threads, wakes them, and moves them between CPUs.
//!
//! **Who has a thread.** The state word says it (see [`state`](super::state)). A running thread belongs to its CPU, a queued
//! one to a run queue or an inbox, a parked one to the waker that is to come. The owner has the thread's
//! [`Runnable`], so a thread is in one place at a time.
//!
//! **The switch.** A CPU locks its queue, chooses, and switches with the queue still locked. The next thread unlocks it. So a
//! thread that is put on the queue cannot be stolen before its registers are saved. A thread that parks is not on the queue:
//! the next thread completes its state, and queues it if it was woken meanwhile (`finish_switch`).
//!
//! **No CPU idles beside work.** A CPU that has nothing to run first notes that it is idle, then looks at every queue. A CPU
//! that queues a thread first queues it, then looks for idle CPUs that may run it, and claims one. So one of both sees the other. A
//! claimed CPU that runs another thread passes the claim on.
//!
//! **Affinity.** A thread is put only on the queue of a CPU on which it may run (`placing`), and a queue gives out only threads that it
//! has. So no CPU has to check what it picks.

mod changing;
mod hotplug;
mod idle;
mod picking;
mod pinned;
mod placing;
mod reclassifying;
mod slicing;
mod switching;
mod utilisation;

use core::sync::atomic::{AtomicU64, Ordering};

pub(crate) use changing::change_policy;
pub(super) use hotplug::{evacuate, noticed, open, reopen, set_queue};
pub(super) use idle::run_threads;
pub(super) use pinned::{finish_offline, prepare_offline};
pub(super) use placing::{interrupt_self, place, request_change, switch_after, unpark, wake_under};
pub(super) use reclassifying::reclassify;
#[cfg(feature = "selftest")]
pub(crate) use slicing::slice_end_ns;
pub(super) use slicing::slice_ended;
pub(super) use switching::{finish_switch, leave, leave_and_return, switch_if_better, switch_now, yield_cpu};
#[cfg(feature = "shell")]
pub(crate) use utilisation::CpuUse;
pub(super) use utilisation::current_run_ns;
pub(crate) use utilisation::use_of;

use super::cpu_scheduler::{CpuScheduler, Left, SwitchCounts};
use super::policies::Policy;
use crate::cpu::IrqGuard;
use crate::cpu::per_cpu::{self, PerCpu};
use crate::per_cpu;
use crate::smp::{self, Cpu};
use crate::sync::ChangeableHook;
use crate::wire::LeaveReason;

per_cpu! {
    static SCHEDULER: CpuScheduler = CpuScheduler::new();
}
crate::name_lock!(SCHEDULER, |gs_base, is_so| {
    // SAFETY: `gs_base` belongs to an area that is never freed: `held` and `name_of` pass no other.
    is_so(unsafe { PerCpu::of(&SCHEDULER, gs_base) }.queue.owner())
});

/// The policy of all CPUs.
static POLICY: ChangeableHook<Policy> = ChangeableHook::new();

/// Sets the policy that chooses the CPU of a thread.
pub(super) fn set_policy(policy: &'static Policy) {
    POLICY.set(policy);
}

/// Returns the policy, if the scheduler has started. **Context:** any.
#[inline(always)]
pub(crate) fn policy() -> Option<&'static Policy> {
    POLICY.get()
}

/// Returns this CPU's part.
#[inline(always)]
pub(super) fn own(_: &IrqGuard) -> &'static CpuScheduler {
    // SAFETY: `gs_base` is that of this CPU's area; areas are never freed.
    unsafe { SCHEDULER.of(per_cpu::gs_base()) }
}

/// Returns whether threads wait for this CPU.
pub(super) fn has_others(guard: &IrqGuard) -> bool {
    !own(guard).backlog.is_empty()
}

/// Returns the part of a CPU that has a per-CPU area.
pub(super) fn of(cpu: &Cpu) -> Option<&'static CpuScheduler> {
    cpu.get(SCHEDULER)
}

/// Returns the number of threads that a CPU counts on its queue, and that of the queue.
#[cfg(feature = "selftest")]
pub(crate) fn queued(cpu: &Cpu) -> Option<(u32, usize)> {
    let guard = IrqGuard::new();
    let scheduler = of(cpu)?;
    let locked = scheduler.queue.lock(&guard);
    Some((scheduler.backlog.queued(), locked.policy.as_deref()?.len()))
}

/// Returns how often the CPUs did what, by name. **Context:** any; the counts may be old.
pub(crate) fn counts() -> [(&'static str, u64); 7] {
    let all = || smp::cpus().iter().filter_map(of);
    let sum = |of_cpu: fn(&SwitchCounts) -> &AtomicU64| {
        all().map(|cpu| of_cpu(&cpu.counts).load(Ordering::Relaxed)).sum()
    };
    [
        ("switches", all().map(|cpu| cpu.counts.switches()).sum()),
        ("preempted", all().map(|cpu| cpu.counts.left(Left::Thread(LeaveReason::Preempted))).sum()),
        ("stolen", sum(|counts| &counts.stolen)),
        ("notices", sum(|counts| &counts.notices)),
        ("slices", sum(|counts| &counts.slices)),
        ("stranded", STRANDED.load(Ordering::Relaxed)),
        ("affinities_broken", BROKEN.load(Ordering::Relaxed)),
    ]
}

/// Threads that were queued elsewhere because no CPU on which they may run is online.
static STRANDED: AtomicU64 = AtomicU64::new(0);

/// Threads that lost their affinity because their last CPU went offline.
static BROKEN: AtomicU64 = AtomicU64::new(0);

crate::panic_context! {
    // One line, and one for each CPU that has switched: what the panic is about must stay on a screen of 25.
    "scheduler" => |out| {
        if smp::cpus().iter().filter_map(of).all(|cpu| cpu.counts.switches() == 0) {
            return Ok(());
        }
        let mut separator = "";
        // Without this one where it is 0: the line has the width of a screen.
        let is_shown = |name, count| name != "affinities_broken" || count > 0;
        for (name, count) in counts().into_iter().filter(|(name, count)| is_shown(*name, *count)) {
            write!(out, "{separator}{name} {count}")?;
            separator = ", ";
        }
        let all = smp::cpus().iter().filter_map(|cpu| Some((cpu.id(), of(cpu)?)));
        for (cpu, me) in all.filter(|(_, me)| me.counts.switches() > 0) {
            let queued = me.backlog.queued();
            let inbox = if me.backlog.inbox.has_threads() { ", inbox not empty" } else { "" };
            write!(out, "\ncpu {cpu}: {:?}, {queued} threads queued{inbox}", me.notice.get())?;
        }
        Ok(())
    }
}
