//! Threads that run while CPUs go offline and come back.

use core::time::Duration;

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::stress::thread_platform::Spec;

/// Threads of each CPU.
const OF_EACH: usize = 2;

/// The most CPUs that are offline at once.
const MOST_AWAY: usize = 16;

/// The workload `sched_hotplug`.
pub(crate) static SCHED_HOTPLUG: Workload = Workload {
    name: "sched_hotplug",
    summary: "Threads yield, sleep and wake each other, while one CPU after the other goes offline and comes back.",
    is_default: true,
    on_host: false,
    timed: Timed::Nothing,
    holds_runs: false,
    run: Body::Threads(sched_hotplug),
    details: Some(|shared, f| {
        let cycles = shared.offline_cycles.load(core::sync::atomic::Ordering::Relaxed);
        write!(f, "{cycles} CPU offline/online cycles")
    }),
};

/// The first thread, on the first CPU, takes the others offline.
fn sched_hotplug(run: &ThreadRun<'_>) {
    let spec = |number: usize| if number == 0 { Spec::pinned(run.cpu(0)) } else { Spec::ANY };
    run.run(1 + OF_EACH * run.cpus(), &spec, &|member| {
        if member.number() == 0 { cycle_cpus(member) } else { work(member) }
    });
}

fn work(member: &mut Member<'_>) {
    let threads = member.threads();
    while member.goes_on() {
        member.order(1);
        match member.rng.u8(..8) {
            0 => member.sleep(Duration::from_micros(50)),
            1 => {
                let other = member.rng.usize(..threads);
                member.unpark(other);
            }
            // A wake-up of another thread ends it early.
            2 => member.park_timeout(Duration::from_micros(100)),
            3 => (0..100).for_each(|_| core::hint::spin_loop()),
            _ => member.yield_now(),
        }
        member.done();
    }
}

fn cycle_cpus(member: &mut Member<'_>) {
    let mut away: heapless::Vec<u32, MOST_AWAY> = heapless::Vec::new();
    while member.goes_on() {
        member.order(1);
        if member.cpus() > 1 {
            let rank = member.rng.usize(1..member.cpus());
            let cpu = member.cpu_of(rank);
            match away.iter().position(|other| *other == cpu) {
                Some(index) => {
                    away.swap_remove(index);
                    member.online_cpu(cpu);
                }
                None if !away.is_full() && member.offline_cpu(cpu) => {
                    // There is room.
                    let _ = away.push(cpu);
                }
                None => {}
            }
        }
        member.yield_now();
        member.done();
    }
    away.iter().for_each(|cpu| member.online_cpu(*cpu));
}
