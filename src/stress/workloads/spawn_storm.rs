//! Threads that spawn and join others.

use core::sync::atomic::{AtomicU64, Ordering};

use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::stress::failure::Failure;
use crate::stress::thread_platform::Spec;

/// The most threads that one thread spawns at a time: some more than stacks are kept on a CPU.
const MOST_AT_ONCE: usize = 12;

/// The most threads that spawn.
const MOST_SPAWNERS: usize = 32;

/// The workload `spawn_storm`.
pub(crate) static SPAWN_STORM: Workload = Workload {
    name: "spawn_storm",
    summary: "A thread of each CPU spawns up to twelve threads at a time, some of them pinned, and joins them.",
    is_default: true,
    on_host: false,
    timed: Timed::SpawnJoin,
    holds_runs: false,
    run: Body::Threads(spawn_storm),
    details: None,
};

fn spawn_storm(run: &ThreadRun<'_>) {
    run.run(run.cpus().min(MOST_SPAWNERS), &|_| Spec::ANY, &|member| {
        while member.goes_on() {
            let count = member.rng.usize(1..=MOST_AT_ONCE);
            let random = member.rng.u64(..);
            let spec = |number: usize| match random >> (5 * number) & 0x1f {
                0..8 => Spec::pinned(run.cpu((random >> number) as usize & 0xff)),
                _ => Spec::ANY,
            };
            // A bit for each thread.
            let ran = AtomicU64::new(0);
            let began = member.cycles();
            let spawned = member.spawn_and_join(count, &spec, &|number| {
                ran.fetch_xor(1 << number, Ordering::Relaxed);
            });
            if count == 1 && spawned == 1 {
                member.record_since(began);
            }
            member.order(spawned as u64);
            let (expected, found) = ((1 << spawned) - 1, ran.into_inner());
            if found != expected {
                member.note(Failure::WrongValue { thread: member.number() as u32, expected, found });
            }
            (0..found.count_ones()).for_each(|_| member.done());
        }
    });
}
