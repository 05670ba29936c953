//! The kernel's threads, for the workloads of the scheduler.

use core::fmt;

use super::spec::Spec;
use crate::config::STRESS_GRACE_MS;
use crate::cpu::{self, CpuId, CpuSet};
use crate::sched;
use crate::sync::SpinLockIrq;
use crate::thread::{self, Affinity, Builder, Class, ThreadInfo};
pub(in crate::stress) use crate::thread::{
    Scope, ScopedJoinHandle, Thread, park, park_timeout, scope, sleep, yield_now,
};
pub(in crate::stress) use crate::time::now_ns;
use crate::wire::Scheduling;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The CPUs on which the threads of a workload run that are not pinned.
pub type Cpus = Affinity;

/// The sets of CPUs that were asked for. They are never freed: a thread's affinity borrows its set for ever.
static SETS: SpinLockIrq<Vec<&'static CpuSet>> = SpinLockIrq::new(Vec::new());
crate::name_lock!(SETS);

/// The affinity of threads that run on these CPUs. A set that was made before is used again.
///
/// **Context:** a thread, interrupts on: it allocates.
pub(in crate::stress) fn affinity(ids: &[u32]) -> Affinity {
    let set: CpuSet = ids.iter().copied().map(CpuId).collect();
    if let Some(known) = SETS.lock().iter().find(|known| ***known == set) {
        return Affinity::Set(known);
    }
    let set: &'static CpuSet = Box::leak(Box::new(set));
    let mut room = Vec::with_capacity(SETS.lock().len() + 1);
    let mut sets = SETS.lock();
    room.extend_from_slice(&sets);
    room.push(set);
    let old = core::mem::replace(&mut *sets, room);
    drop(sets);
    drop(old);
    Affinity::Set(set)
}

/// Spawns a thread. `None` without memory.
pub(in crate::stress) fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    cpus: Cpus,
    spec: Spec,
    function: impl FnOnce() + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, ()>> {
    let mut builder = Builder::new().name(name);
    builder = match (spec.pinned, cpus) {
        (Some(cpu), _) => builder.pinned(CpuId(cpu)),
        (None, Affinity::Any) => builder,
        (None, Affinity::Pinned(cpu)) => builder.pinned(cpu),
        (None, Affinity::Set(set)) => builder.affinity(set),
    };
    if let Some(priority) = spec.priority {
        builder = builder.class(Class::RealTime { priority });
    }
    builder.spawn_scoped(scope, function).ok()
}

/// Waits until the thread has ended and its CPU has left it.
pub(in crate::stress) fn join(handle: ScopedJoinHandle<'_, ()>) {
    handle.join();
}

/// Pins a thread to a CPU, or lets it run on those of the workload.
pub(in crate::stress) fn set_affinity(thread: &Thread, cpus: Cpus, cpu: Option<u32>) {
    let affinity = cpu.map_or(cpus, |cpu| Affinity::Pinned(CpuId(cpu)));
    if let Err(error) = thread.set_affinity(affinity) {
        log::warn!("{error}");
    }
}

/// The number of the CPU that runs the caller.
pub(in crate::stress) fn cpu() -> u32 {
    cpu::current().0
}

/// Whether a thread runs only while no more urgent one is ready on its CPU. The other policies know no priorities.
pub(in crate::stress) fn orders_by_priority() -> bool {
    sched::policy().is_some_and(|policy| policy.name == "fair")
}

/// How long threads may do no step, in milliseconds. With a fault, which may let them wait for ever, not as long.
pub(in crate::stress) fn grace_ms() -> u64 {
    #[cfg(feature = "faults")]
    if sched::faults::may_hang() {
        const WITH_FAULT_MS: u64 = 5_000;
        return WITH_FAULT_MS;
    }
    STRESS_GRACE_MS
}

/// What the scheduler has done since the boot.
pub(in crate::stress) fn scheduling() -> Scheduling {
    let mut all = Scheduling::default();
    for (name, count) in sched::counts() {
        match name {
            "switches" => all.switches = count,
            "preempted" => all.preempted = count,
            "stolen" => all.stolen = count,
            "notices" => all.notices = count,
            _ => {}
        }
    }
    all
}

/// What it has done since `before`.
pub(in crate::stress) fn since(before: Scheduling) -> Option<Scheduling> {
    let now = scheduling();
    Some(Scheduling {
        switches: now.switches - before.switches,
        preempted: now.preempted - before.preempted,
        stolen: now.stolen - before.stolen,
        notices: now.notices - before.notices,
    })
}

/// The threads of this name that are listed.
pub(in crate::stress) fn listed(name: &str) -> u64 {
    thread::list().iter().filter(|thread| thread.name() == name).count() as u64
}

/// Displays the first threads of this name that have not ended.
pub(in crate::stress) struct Waiting(pub(in crate::stress) &'static str);

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 4;
        let threads = thread::list();
        for thread in threads.iter().filter(|thread| thread.name() == self.0).take(MOST) {
            let ThreadInfo { id, state, cpu, .. } = thread;
            write!(f, "; thread {id} is {state}, last on cpu {cpu}")?;
        }
        Ok(())
    }
}
