//! What is recorded of the scheduler while all events are traced: the events, and beside them, over the whole run, how long threads and CPUs
//! ran, the latency of wake-ups and the depth of the queues. Where events are not recorded, each place costs a NOP (`cpu::static_key`).

use core::sync::atomic::Ordering;

use super::cpu_scheduler::{CpuScheduler, Left, count};
use super::entity::Runnable;
use super::policy::Enqueue;
use super::tcb::Tcb;
use crate::cpu::per_cpu::gs_base;
use crate::cpu::{CpuId, IrqGuard};
use crate::smp;
use crate::time::now_ns;
use crate::trace;
use crate::wire::{NO_THREAD, ThreadLeft, TraceEvent, depth_bucket, latency_bucket};

/// Calls a function of this module if events are recorded.
macro_rules! observe {
    ($function:ident($($argument:expr),*)) => {{
        let record = || $crate::sched::observe::$function($($argument),*);
        $crate::static_key!($crate::wire::TraceClass::Hot as u32, record())
    }};
}
pub(super) use observe;

/// The CPU is about to switch.
#[cold]
#[inline(never)]
pub(super) fn switched(guard: &IrqGuard, me: &CpuScheduler, next: Option<&Tcb>, left: Left) {
    let (measured, now) = (&me.measured, now_ns());
    let ran_ns = now.saturating_sub(measured.switched_ns.swap(now, Ordering::Relaxed));
    measured.runs_own.store(next.is_none(), Ordering::Relaxed);
    let (word, total) = match (left, Tcb::current(guard)) {
        (Left::Thread(reason), Some(thread)) => {
            (ThreadLeft { thread: thread.id().0, reason }.word(), &thread.notes().ran_ns)
        }
        _ => (NO_THREAD, &measured.own_ns),
    };
    total.fetch_add(ran_ns, Ordering::Relaxed);
    trace::record(TraceEvent::ThreadSwitch, next.map_or(NO_THREAD, |thread| thread.id().0), word);
    count(&measured.depth[depth_bucket(me.backlog.queued().into())]);
    if let Some(next) = next {
        note_migration(next);
    }
    let woken_ns = next.map_or(0, |thread| thread.notes().woken_ns.swap(0, Ordering::Relaxed));
    if woken_ns != 0 {
        let latency_ns = now.saturating_sub(woken_ns);
        count(&measured.latency[latency_bucket(latency_ns)]);
        measured.longest_ns.fetch_max(latency_ns, Ordering::Relaxed);
    }
}

/// The CPU is about to run a thread. Before, the thread's header names the CPU that has run it last, if one has.
fn note_migration(next: &Tcb) {
    let (before, here) = (next.gs_base(), gs_base());
    let from = smp::cpus().iter().find(|cpu| before != here && cpu.gs_base() == Some(before));
    if let Some(from) = from {
        trace::record(TraceEvent::ThreadMigrate, next.id().0, from.id().0.into());
    }
}

/// A thread is about to be put on a queue: one that waited, a new one, or one that was on another queue.
#[cold]
#[inline(never)]
pub(super) fn placed(token: &Runnable, reason: Enqueue) {
    // SAFETY: the block is valid while the token exists, which its caller has.
    let thread = unsafe { Tcb::of(token.entity()).as_ref() };
    match reason {
        Enqueue::Woken => trace::record(TraceEvent::ThreadWake, thread.id().0, 0),
        Enqueue::New => trace::record(TraceEvent::ThreadSpawn, thread.id().0, start_of(thread.name())),
        _ => return,
    }
    thread.notes().woken_ns.store(now_ns(), Ordering::Relaxed);
}

/// Returns the first eight bytes of a name.
fn start_of(name: &str) -> u64 {
    let mut start = [0; 8];
    start.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    u64::from_le_bytes(start)
}

/// The CPU takes a thread from the queue of another.
#[cold]
#[inline(never)]
pub(super) fn stolen(thread: &Runnable, victim: CpuId) {
    trace::record(TraceEvent::ThreadSteal, thread.id().0, victim.0.into());
}
