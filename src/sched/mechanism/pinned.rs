//! Threads that may run on no other CPU than the one that goes offline.

use core::sync::atomic::Ordering;

use heapless::Vec;

use super::BROKEN;
use super::of;
use super::placing::{note_change, switch_after};
use crate::boot;
use crate::console::{self, LineBuffer};
use crate::cpu::{CpuId, IrqGuard};
use crate::sched::entity::{Affinity, ThreadId};
use crate::sched::state::Phase;
use crate::sched::tcb::Tcb;
use crate::sched::thread_list::{self, LEAVING};
use crate::smp;
use crate::smp::hotplug::{Affinity as Pinned, HotplugState, PinnedThread, PinnedThreads};
use crate::wire::{Record, Warning};

/// How many threads a refusal names.
const MOST_NAMED: usize = 16;

/// How many threads are reported after their list was unlocked.
const BATCH: usize = 8;

/// Returns whether a thread has an affinity of its own, to which it holds.
fn is_pinned(thread: &Tcb) -> bool {
    !thread.may_leave() && thread.affinity() != Affinity::Any && thread.state.phase() != Phase::Exited
}

/// Returns whether a thread may run on no CPU that stays online but this one.
fn needs(thread: &Tcb, cpu: CpuId) -> bool {
    let affinity = thread.affinity();
    is_pinned(thread) && affinity.allows(cpu) && !others_stay(cpu, affinity)
}

/// Returns whether a CPU other than this one, on which threads of this affinity may run, is online and stays so.
fn others_stay(cpu: CpuId, affinity: Affinity) -> bool {
    let mut others = smp::online().filter(|other| other.id() != cpu && affinity.allows(other.id()));
    others.any(thread_list::stays)
}

/// See [`SchedulerOps::prepare_offline`](smp::SchedulerOps::prepare_offline).
pub(in crate::sched) fn prepare_offline(cpu: CpuId, pinned: Pinned) -> Result<(), PinnedThreads> {
    // Before the lists are searched.
    LEAVING.begin(cpu);
    if pinned == Pinned::Break {
        return Ok(());
    }
    let (mut count, mut first, mut named) = (0, None::<PinnedThread>, Vec::<PinnedThread, MOST_NAMED>::new());
    thread_list::for_each(|thread| {
        if needs(thread, cpu) {
            count += 1;
            let thread = name_of(thread);
            first = first.into_iter().chain([thread]).min_by_key(PinnedThread::id);
            let _ = named.push(thread);
        }
    });
    let Some(first) = first else { return Ok(()) };
    LEAVING.end();
    for thread in &named {
        log::info!("cpu {cpu} stays online: {thread} may run on no other CPU");
    }
    Err(PinnedThreads { count, first })
}

fn name_of(thread: &Tcb) -> PinnedThread {
    let ThreadId(id) = thread.id();
    PinnedThread::new(id, thread.thread_name())
}

/// See [`SchedulerOps::finish_offline`](smp::SchedulerOps::finish_offline).
pub(in crate::sched) fn finish_offline(cpu: CpuId) {
    let target = smp::cpus().get(cpu.index());
    // One that has acknowledged and is late goes offline by itself, though it may still be in the set of online CPUs. If it refuses after all,
    // the threads have lost their affinity, of which the warnings tell.
    if target.is_some_and(|target| !target.is_going_offline() && target.is_online()) {
        restore(cpu);
    } else {
        check_is_empty(cpu);
        while break_some(cpu) {}
    }
    LEAVING.end();
    switch_after(IrqGuard::new());
}

/// A CPU that is offline has no thread: none would run before the CPU is online again.
///
/// # Panics
/// If it has one.
fn check_is_empty(cpu: CpuId) {
    let backlog = smp::cpus().get(cpu.index()).and_then(of).map(|scheduler| &scheduler.backlog);
    let is_offline =
        smp::cpus().get(cpu.index()).is_some_and(|cpu| cpu.hotplug_state() == HotplugState::Offline);
    if let Some(backlog) = backlog.filter(|backlog| is_offline && !backlog.is_empty()) {
        let queued = backlog.queued();
        panic!("cpu {cpu} is offline with {queued} threads on its queue");
    }
}

/// The CPU stays online. Threads that it has put on other queues already, where they may not run, return.
fn restore(cpu: CpuId) {
    thread_list::for_each(|thread| {
        if thread.affinity() != Affinity::Any && thread.affinity().allows(cpu) {
            // If the CPU that runs the thread cannot be interrupted, its next interrupt moves the thread.
            let _ = note_change(&IrqGuard::new(), thread);
        }
    });
}

/// The CPU is offline, or will be. Some threads that may run nowhere else lose their affinity. Returns whether there may be more.
fn break_some(cpu: CpuId) -> bool {
    let mut lost = Vec::<(PinnedThread, Affinity), BATCH>::new();
    thread_list::for_each(|thread| {
        let affinity = thread.affinity();
        if !lost.is_full() && is_pinned(thread) && !others_stay(cpu, affinity) {
            thread.want_affinity(Affinity::Any);
            let _ = note_change(&IrqGuard::new(), thread);
            let _ = lost.push((name_of(thread), affinity));
        }
    });
    for (thread, affinity) in &lost {
        BROKEN.fetch_add(1, Ordering::Relaxed);
        let message = LineBuffer::<120>::format(format_args!(
            "{thread} has lost its affinity to {affinity}, now offline"
        ));
        log::warn!("cpu {cpu}: {}", message.as_str());
        console::send(&Record::Warning(Warning {
            cpu: cpu.0,
            kind: "affinity",
            message: message.as_str(),
            rip: None,
            slide: boot::handoff().slide,
            wait: None,
        }));
    }
    lost.is_full()
}
