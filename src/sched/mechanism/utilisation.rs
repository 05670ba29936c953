//! How long CPUs run threads, and how often they switch.

use core::sync::atomic::Ordering;

use super::of;
use crate::sched::cpu_scheduler::{CpuScheduler, Left};
use crate::smp::{self, Cpu};
use crate::time::now_ns;
use crate::trace;
use crate::wire::{LeaveReason, SwitchesByReason};

/// What a CPU has done since the scheduler has started.
pub(crate) struct CpuUse {
    /// The time since.
    pub(crate) elapsed_ns: u64,
    /// How long of that it ran a thread, or work for all CPUs; `None` unless all events are recorded.
    pub(crate) busy_ns: Option<u64>,
    /// Its switches.
    pub(crate) switches: SwitchesByReason,
    /// Threads that it has taken from other CPUs' queues.
    pub(crate) stolen: u64,
    /// The CPU's part, for what it measures.
    pub(crate) scheduler: &'static CpuScheduler,
}

/// Returns what a CPU has done; `None` if the scheduler has not started there.
///
/// **Context:** thread or interrupt; not NMI.
pub(crate) fn use_of(cpu: &Cpu) -> Option<CpuUse> {
    let scheduler = of(cpu)?;
    let started_ns = scheduler.started_ns.load(Ordering::Relaxed);
    if started_ns == 0 {
        return None;
    }
    let now = now_ns();
    let elapsed_ns = now.saturating_sub(started_ns);
    let busy_ns = trace::records_hot_events().then(|| {
        let (runs_own, since_ns) = scheduler.measured.current(now);
        let own_ns = scheduler.measured.own_ns.load(Ordering::Relaxed) + if runs_own { since_ns } else { 0 };
        let idle_ns = own_ns.saturating_sub(smp::work_ns(cpu));
        elapsed_ns.saturating_sub(idle_ns)
    });
    let counts = &scheduler.counts;
    let left = |reason| counts.left(Left::Thread(reason));
    Some(CpuUse {
        elapsed_ns,
        busy_ns,
        switches: SwitchesByReason {
            yielded: left(LeaveReason::Yielded),
            preempted: left(LeaveReason::Preempted),
            moved: left(LeaveReason::Moved),
            parked: left(LeaveReason::Parked),
            blocked: left(LeaveReason::Blocked),
            ended: left(LeaveReason::Ended),
            own: counts.left(Left::Own),
        },
        stolen: counts.stolen.load(Ordering::Relaxed),
        scheduler,
    })
}

/// Returns for how long a CPU has run its thread since it has switched to it; 0 if it runs its own.
///
/// **Context:** any; the CPU may switch meanwhile.
pub(in crate::sched) fn current_run_ns(cpu: &Cpu) -> u64 {
    of(cpu).map_or(0, |scheduler| match scheduler.measured.current(now_ns()) {
        (false, since_ns) => since_ns,
        (true, _) => 0,
    })
}
