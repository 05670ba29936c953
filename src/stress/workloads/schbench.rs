//! Threads that wake many others, whose wake-up latency is measured: Linux's `schbench`.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::stress::thread_platform::Spec;

/// A thread that wakes others, and the others.
const GROUP: usize = 4;

/// The most groups. There are three threads for two CPUs, so that a CPU is free for most threads that are woken, but not for all.
const MOST_GROUPS: usize = 64;

/// The most steps of a worker's computation.
const MOST_WORK: u32 = 500;

/// The worker waits, and has nothing to do.
const IDLE: u64 = 0;
/// The worker ends.
const END: u64 = u64::MAX;

/// The workload `schbench`.
pub(crate) static SCHBENCH: Workload = Workload {
    name: "schbench",
    summary: "Threads wake others, which compute for a short time and wait again; the wake-up latency is measured, as Linux's `schbench` does.",
    is_default: true,
    on_host: false,
    timed: Timed::WakeUp,
    holds_runs: false,
    run: Body::Threads(schbench),
    details: None,
};

fn schbench(run: &ThreadRun<'_>) {
    let groups = (3 * run.cpus()).div_ceil(2 * GROUP).min(MOST_GROUPS);
    // For each thread the time at which it was woken.
    let woken: Vec<AtomicU64> = (0..groups * GROUP).map(|_| AtomicU64::new(IDLE)).collect();
    run.run(woken.len(), &|_| Spec::ANY, &|member| {
        let first = member.number() / GROUP * GROUP;
        let end = (first + GROUP).min(member.threads());
        match member.number() - first {
            0 if end > first + 1 => wake_workers(member, &woken[..end], first + 1),
            0 => {}
            _ => work(member, &woken[member.number()], first),
        }
    });
}

/// Wakes each worker that is idle; waits if none is.
fn wake_workers(member: &mut Member<'_>, woken: &[AtomicU64], first: usize) {
    while member.goes_on() {
        let mut has_woken = false;
        for (number, woken) in woken.iter().enumerate().skip(first) {
            if woken.load(Ordering::Acquire) == IDLE {
                member.order(1);
                woken.store(member.cycles().max(1), Ordering::Release);
                member.unpark(number);
                has_woken = true;
            }
        }
        if !has_woken {
            // A worker that becomes idle wakes this thread.
            member.park();
        }
    }
    for (number, woken) in woken.iter().enumerate().skip(first) {
        while woken.load(Ordering::Acquire) != IDLE {
            member.park();
        }
        woken.store(END, Ordering::Release);
        member.unpark(number);
    }
}

fn work(member: &mut Member<'_>, woken: &AtomicU64, waker: usize) {
    loop {
        match woken.load(Ordering::Acquire) {
            IDLE => member.park(),
            END => return,
            began => {
                member.record_since(began);
                for _ in 0..member.rng.u32(..MOST_WORK) {
                    core::hint::spin_loop();
                }
                member.done();
                woken.store(IDLE, Ordering::Release);
                member.unpark(waker);
            }
        }
    }
}
