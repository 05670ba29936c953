//! Reports of threads and of the scheduler, at the end of the work.

use crate::console::{self, LineBuffer};
use crate::wire::{self, Record};
use crate::{sched, smp};

/// Sends the threads, if there were others than the boot's, and what the scheduler has counted. Logs which has used its stack most deeply.
pub(super) fn threads() {
    let Some((deepest, stack)) = sched::deepest_thread().and_then(|thread| Some((thread, thread.stack?)))
    else {
        return;
    };
    log::info!("deepest stack: {deepest}");
    console::send(&Record::number("sched.stacks", "deepest_bytes", stack.used_bytes as u64));
    console::send(&Record::text("sched.stacks", "deepest_thread", deepest.name()));
    for thread in sched::list_threads(wire::MAX_THREADS) {
        let affinity = LineBuffer::<64>::format(format_args!("{}", thread.affinity));
        console::send(&Record::Thread(wire::ThreadRow {
            id: thread.id.0,
            name: thread.name(),
            state: thread.state.name(),
            cpu: thread.cpu.0,
            affinity: affinity.as_str(),
            stack_bytes: thread.stack.map(|stack| stack.bytes as u64),
            stack_used_bytes: thread.stack.map(|stack| stack.used_bytes as u64),
            is_own_use: thread.stack.is_none_or(|stack| stack.is_own),
            ran_ns: thread.ran_ns,
        }));
    }
    let send = |(name, value)| console::send(&Record::number("sched.counts", name, value));
    sched::counts().into_iter().for_each(send);
}

/// Sends what the scheduler has counted on each CPU.
pub(super) fn scheduler() {
    for cpu in smp::cpus() {
        let Some(its) = sched::use_of(cpu).filter(|its| its.switches.all() > 0) else { continue };
        console::send(&Record::SchedCpu(wire::SchedCpu {
            cpu: cpu.id().0,
            elapsed_ns: its.elapsed_ns,
            busy_ns: its.busy_ns,
            switches: its.switches,
            stolen: its.stolen,
            longest_latency_ns: its.scheduler.measured.longest_ns(),
            latencies: its.scheduler.measured.latencies(),
            depths: its.scheduler.measured.depths(),
        }));
    }
}
