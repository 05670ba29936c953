//! Threads of the host, for the workloads of the scheduler.

extern crate std;

use core::fmt;
pub(in crate::stress) use std::thread::{
    Scope, ScopedJoinHandle, Thread, park, park_timeout, scope, sleep, yield_now,
};

use super::spec::Spec;
use crate::config::STRESS_GRACE_MS;
use crate::wire::Scheduling;

/// The host chooses the CPUs.
#[derive(Clone, Copy, Debug)]
pub struct Cpus;

/// Spawns a thread. `None` if the host has no room for it. The host has no real-time threads for everyone.
pub(in crate::stress) fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    _: Cpus,
    _: Spec,
    function: impl FnOnce() + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, ()>> {
    let builder = std::thread::Builder::new().name(name.into());
    builder.spawn_scoped(scope, function).ok()
}

/// Waits until the thread has ended.
pub(in crate::stress) fn join(handle: ScopedJoinHandle<'_, ()>) {
    handle.join().expect("a thread that panics ends the process by the panic of this one");
}

/// The host chooses the CPUs.
pub(in crate::stress) fn set_affinity(_: &Thread, _: Cpus, _: Option<u32>) {}

/// The time in nanoseconds since the first call.
pub(in crate::stress) fn now_ns() -> u64 {
    static BEGIN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    BEGIN.elapsed().as_nanos() as u64
}

/// The host does not say.
pub(in crate::stress) fn cpu() -> u32 {
    0
}

/// The host's threads have no priorities.
pub(in crate::stress) fn orders_by_priority() -> bool {
    false
}

/// How long threads may do no step, in milliseconds.
pub(in crate::stress) fn grace_ms() -> u64 {
    STRESS_GRACE_MS
}

/// The host does not say what its scheduler does.
pub(in crate::stress) fn scheduling() -> Scheduling {
    Scheduling::default()
}

/// See [`scheduling`].
pub(in crate::stress) fn since(_: Scheduling) -> Option<Scheduling> {
    None
}

/// The scope has joined all.
pub(in crate::stress) fn listed(_: &str) -> u64 {
    0
}

/// The host lists no threads.
pub(in crate::stress) struct Waiting(pub(in crate::stress) &'static str);

impl fmt::Display for Waiting {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
