//! Threads that wait for a time, or until another thread ends the wait before.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::sched::sync::Event;
use crate::stress::failure::Failure;
use crate::stress::thread_platform::Spec;

/// Threads of each CPU.
const OF_EACH: usize = 3;

/// The most threads.
const MOST: usize = 192;

/// The longest sleep, in microseconds.
const MOST_US: u64 = 400;

/// How long a thread waits that another one wakes: for ever, as a workload goes.
const LONG: Duration = Duration::from_secs(3600);

/// The workload `timers`.
pub(crate) static TIMERS: Workload = Workload {
    name: "timers",
    summary: "Three threads for each CPU sleep for random short times; a third of them waits with long time-outs that others end.",
    is_default: true,
    on_host: true,
    timed: Timed::Lateness,
    holds_runs: false,
    run: Body::Threads(timers),
    details: None,
};

/// An event that one thread sets for another.
struct Woken {
    event: Event,
    is_over: AtomicBool,
}

/// Of three threads the first one sleeps, the second one waits for an event, which the third one sets.
fn timers(run: &ThreadRun<'_>) {
    let threads = (OF_EACH * run.cpus()).min(MOST);
    let events: Vec<Woken> = (0..threads.div_ceil(OF_EACH))
        .map(|_| Woken { event: Event::new(), is_over: AtomicBool::new(false) })
        .collect();
    run.run(threads, &|_| Spec::ANY, &|member| {
        let woken = &events[member.number() / OF_EACH];
        match member.number() % OF_EACH {
            0 => sleep(member, None),
            1 if member.number() + 1 < member.threads() => wait(member, woken),
            1 => {}
            _ => sleep(member, Some(woken)),
        }
    });
}

/// Sleeps for random times, and then sets the event, if there is one.
fn sleep(member: &mut Member<'_>, wakes: Option<&Woken>) {
    while member.goes_on() {
        member.order(1);
        let asked_ns = 1000 * member.rng.u64(..MOST_US);
        let (began, began_ns) = (member.cycles(), member.now_ns());
        member.sleep(Duration::from_nanos(asked_ns));
        let (cycles, ns) = (member.cycles_since(began), member.now_ns().saturating_sub(began_ns));
        match ns.checked_sub(asked_ns) {
            Some(late_ns) => {
                let cycles = u128::from(cycles) * u128::from(late_ns) / u128::from(ns.max(1));
                member.record(cycles as u64);
            }
            None => {
                member.note(Failure::SleptShort { thread: member.number() as u32, ns, asked_ns });
            }
        }
        if let Some(woken) = wakes {
            member.blocking(|| woken.event.set());
        }
        member.done();
    }
    if let Some(woken) = wakes {
        woken.is_over.store(true, Ordering::Release);
        member.blocking(|| woken.event.set());
    }
}

/// Waits for the event with a time-out, which ends each time before.
fn wait(member: &Member<'_>, woken: &Woken) {
    while !woken.is_over.load(Ordering::Acquire) {
        member.order(1);
        if member.blocking(|| woken.event.wait_timeout(LONG)).is_err() {
            member.note(Failure::WaitedLong { thread: member.number() as u32 });
            break;
        }
        woken.event.reset();
        member.done();
    }
}
