//! Threads that lock the same mutexes.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::sched::sync::{Mutex, MutexGuard};
use crate::stress::failure::Failure;
use crate::stress::thread_platform::Spec;

/// Threads of each CPU.
const OF_EACH: usize = 2;

/// The mutexes, so that threads wait for some and find others free.
const MUTEXES: usize = 3;

/// How long a thread waits at most that locks with a time-out: often too short.
const TIMEOUT: Duration = Duration::from_micros(200);

/// The workload `mutex`.
pub(crate) static MUTEX: Workload = Workload {
    name: "mutex",
    summary: "Two threads for each CPU lock three mutexes, and some give up the CPU while they hold one.",
    is_default: true,
    on_host: true,
    timed: Timed::Lock,
    holds_runs: false,
    run: Body::Threads(mutex),
    details: None,
};

/// A mutex, and who holds it: the number of the thread plus 1, or 0.
struct Guarded {
    holder: AtomicU64,
    count: Mutex<u64>,
}

fn mutex(run: &ThreadRun<'_>) {
    let mutexes: [Guarded; MUTEXES] =
        core::array::from_fn(|_| Guarded { holder: AtomicU64::new(0), count: Mutex::new(0) });
    let locked = AtomicU64::new(0);
    run.run((OF_EACH * run.cpus()).max(2), &|_| Spec::ANY, &|member| {
        let mut mine = 0;
        while member.goes_on() {
            let guarded = &mutexes[member.rng.usize(..MUTEXES)];
            member.order(1);
            if let Some(mut count) = lock(member, guarded) {
                hold(member, &guarded.holder);
                *count += 1;
                mine += 1;
                unlock(member, count);
            }
            member.done();
        }
        locked.fetch_add(mine, Ordering::Relaxed);
    });
    let counted = mutexes.into_iter().map(|guarded| guarded.count.into_inner()).sum();
    let locked = locked.into_inner();
    if counted != locked {
        run.note(Failure::SumsDiffer { expected: locked, found: counted });
    }
}

/// Locks a mutex: most wait for it, some for a while, and some not at all.
fn lock<'a>(member: &mut Member<'_>, guarded: &'a Guarded) -> Option<MutexGuard<'a, u64>> {
    match member.rng.u8(..8) {
        0 => guarded.count.try_lock(),
        1 => member.blocking(|| guarded.count.lock_timeout(TIMEOUT)).ok(),
        _ => {
            let began = member.samples().then(|| member.cycles());
            let locked = member.blocking(|| guarded.count.lock());
            if let Some(began) = began {
                member.record_since(began);
            }
            Some(locked)
        }
    }
}

/// Holds a mutex that is locked, now and then while other threads run.
fn hold(member: &mut Member<'_>, holder: &AtomicU64) {
    let (number, thread) = (member.number() as u64 + 1, member.number() as u32);
    let held_twice = |found: u64| Failure::HeldTwice { thread, other: found.wrapping_sub(1) as u32 };
    let before = holder.swap(number, Ordering::Relaxed);
    if before != 0 {
        member.note(held_twice(before));
    }
    if member.rng.u8(..16) == 0 {
        member.yield_now();
    }
    let after = holder.swap(0, Ordering::Relaxed);
    if after != number {
        member.note(held_twice(after));
    }
}

/// Unlocks a mutex. Some hand it to a thread that waits.
fn unlock(member: &mut Member<'_>, guard: MutexGuard<'_, u64>) {
    if member.rng.u8(..8) == 0 {
        member.blocking(|| MutexGuard::unlock_fair(guard));
    } else {
        member.blocking(|| drop(guard));
    }
}
