//! Threads that give up their CPU to each other.

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::stress::thread_platform::Spec;

/// Threads for each CPU. They may move, so a CPU may have more or fewer.
const OF_EACH: usize = 2;

/// Steps of each round.
const STEPS: usize = 16;

/// The workload `sched_yield`.
pub(crate) static SCHED_YIELD: Workload = Workload {
    name: "sched_yield",
    summary: "Two threads for each CPU give up the CPU to each other.",
    is_default: true,
    on_host: false,
    timed: Timed::Yield,
    holds_runs: false,
    run: Body::Threads(sched_yield),
    details: None,
};

fn sched_yield(run: &ThreadRun<'_>) {
    run.run(OF_EACH * run.cpus(), &|_| Spec::ANY, &|member| {
        while member.goes_on() {
            (0..STEPS).for_each(|_| step(member));
        }
    });
}

fn step(member: &mut Member<'_>) {
    member.order(1);
    if member.samples() {
        let began = member.cycles();
        member.yield_now();
        member.record_since(began);
    } else {
        member.yield_now();
    }
    member.done();
}
