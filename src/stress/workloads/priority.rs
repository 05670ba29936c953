//! A thread has a mutex that a more urgent one waits for, while a thread of a priority between the two spins.
//!
//! The threads of a group wake each other, each one that is more urgent than itself. So where all are on one CPU, the order in which they
//! run does not depend on time: the thread that spins does no step while the other waits for the mutex.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::member::Member;
use super::worker::{Body, ThreadRun, Timed, Workload};
use crate::sched::sync::Mutex;
use crate::stress::failure::Failure;
use crate::stress::thread_platform::{self as platform, Spec};

/// The most groups.
const MOST_GROUPS: usize = 32;

/// The threads of a group, by their order.
const OF_EACH: usize = 4;
/// Begins the rounds. It is a fair thread, so that the others leave time for all threads of the CPU.
const STARTER: usize = 0;
/// Has the mutex.
const LOW: usize = 1;
/// Spins, which keeps LOW from its CPU.
const MIDDLE: usize = 2;
/// Waits for the mutex.
const HIGH: usize = 3;

/// The priorities of the threads of a group.
const PRIORITIES: [Option<u8>; OF_EACH] = [None, Some(1), Some(10), Some(20)];

/// What each of the three threads of a round does of it.
const IN_EACH_ROUND: u32 = 3;

/// The steps after which MIDDLE gives up. In each it reads a word.
const MOST_STEPS: u64 = 10_000;

/// The steps between two reads of the clock.
const LOOK: u64 = 1024;

/// The workload `priority`.
pub(crate) static PRIORITY: Workload = Workload {
    name: "priority",
    summary: "On each CPU a real-time thread has a mutex that a more urgent one waits for, while one of a priority between them spins.",
    is_default: true,
    on_host: false,
    timed: Timed::Lock,
    holds_runs: false,
    run: Body::Threads(priority),
    details: None,
};

/// What the threads of one CPU share. Rounds are numbered from 1; each number is that of the last round in which it has happened.
struct Group {
    /// How often it was locked.
    mutex: Mutex<u64>,
    /// The round has begun.
    begun: AtomicU64,
    /// LOW has locked the mutex.
    locked: AtomicU64,
    /// MIDDLE has begun to spin.
    spins: AtomicU64,
    /// HIGH has locked the mutex.
    passed: AtomicU64,
    /// MIDDLE has ended its spinning.
    has_spun: AtomicU64,
    /// The threads that have not ended the round; before the first one, those that have not begun to wait for it.
    left: AtomicU32,
    /// Whether HIGH is on the CPU of the others.
    is_together: AtomicBool,
    is_over: AtomicBool,
}

impl Group {
    fn new() -> Group {
        Group {
            mutex: Mutex::new(0),
            begun: AtomicU64::new(0),
            locked: AtomicU64::new(0),
            spins: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            has_spun: AtomicU64::new(0),
            left: AtomicU32::new(IN_EACH_ROUND),
            is_together: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
        }
    }
}

fn priority(run: &ThreadRun<'_>) {
    let groups: Vec<Group> = (0..run.cpus().min(MOST_GROUPS)).map(|_| Group::new()).collect();
    let spec = |number: usize| Spec {
        pinned: Some(run.cpu(number / OF_EACH)),
        priority: PRIORITIES[number % OF_EACH],
    };
    run.run(OF_EACH * groups.len(), &spec, &|member| {
        let (group, role) = (&groups[member.number() / OF_EACH], member.number() % OF_EACH);
        // Without memory for all threads of a group it does not run.
        if member.number() - role + OF_EACH > member.threads() {
            return;
        }
        if role != STARTER {
            ready(member, group);
        }
        match role {
            STARTER => begin_rounds(member, group),
            LOW => hold(member, group),
            MIDDLE => spin(member, group),
            _ => wait_for_mutex(member, group),
        }
    });
    let rounds: u64 = groups.iter().map(|group| group.begun.load(Ordering::Acquire)).sum();
    let locked = groups.into_iter().map(|group| group.mutex.into_inner()).sum();
    if locked != 2 * rounds {
        run.note(Failure::SumsDiffer { expected: 2 * rounds, found: locked });
    }
}

/// Begins one round after the other. The others are more urgent: those of this CPU wait whenever this thread runs.
fn begin_rounds(member: &mut Member<'_>, group: &Group) {
    let mut round = 0;
    await_end(member, group);
    while member.goes_on() {
        round += 1;
        member.order(u64::from(IN_EACH_ROUND));
        group.left.store(IN_EACH_ROUND, Ordering::Relaxed);
        group.begun.store(round, Ordering::Release);
        wake(member, LOW);
        await_end(member, group);
        // The other fair threads of the CPU have waited for the whole round.
        member.yield_now();
    }
    group.is_over.store(true, Ordering::Release);
    (LOW..OF_EACH).for_each(|role| wake(member, role));
}

/// LOW: has the mutex while MIDDLE and HIGH run.
fn hold(member: &Member<'_>, group: &Group) {
    let mut round = 1;
    while comes(member, group, &group.begun, round) {
        let mut locks = member.blocking(|| group.mutex.lock());
        *locks += 1;
        group.locked.store(round, Ordering::Release);
        let is_ordered = is_ordered(group);
        // This switches to MIDDLE, until this thread has inherited the priority of HIGH.
        wake(member, MIDDLE);
        // This as well, until MIDDLE waits for the next round: the thread has its own priority again.
        member.blocking(|| drop(locks));
        if is_ordered && group.has_spun.load(Ordering::Acquire) != round {
            member.note(Failure::PriorityKept { thread: member.number() as u32 });
        }
        end_step(member, group);
        round += 1;
    }
}

/// MIDDLE: spins until HIGH has locked the mutex.
fn spin(member: &Member<'_>, group: &Group) {
    let late_ns = platform::grace_ms() * 1_000_000;
    let by_priority = platform::orders_by_priority();
    let mut round = 1;
    while comes(member, group, &group.locked, round) {
        let (began_ns, is_ordered) = (member.now_ns(), is_ordered(group));
        group.spins.store(round, Ordering::Release);
        wake(member, HIGH);
        let mut steps = 0;
        while group.passed.load(Ordering::Acquire) != round {
            steps += 1;
            let is_late = steps % LOOK == 0 && member.now_ns() > began_ns + late_ns;
            if is_late || steps == MOST_STEPS && is_ordered {
                member.note(Failure::PriorityInverted { thread: member.number() as u32, steps });
                break;
            }
            if by_priority {
                core::hint::spin_loop();
            } else {
                member.yield_now();
            }
        }
        group.has_spun.store(round, Ordering::Release);
        end_step(member, group);
        round += 1;
    }
}

/// HIGH: waits for the mutex that LOW has.
fn wait_for_mutex(member: &mut Member<'_>, group: &Group) {
    let rank = member.number() / OF_EACH;
    let mut round = 1;
    while comes(member, group, &group.spins, round) {
        let began = member.samples().then(|| member.cycles());
        let mut locks = member.blocking(|| group.mutex.lock());
        if let Some(began) = began {
            member.record_since(began);
        }
        *locks += 1;
        group.passed.store(round, Ordering::Release);
        member.blocking(|| drop(locks));
        // In the next round it waits here, or on the next CPU, which takes longer: the other one spins until that CPU has run this thread.
        let goes_away = member.rng.u8(..16) == 0;
        let cpu = member.cpu_of(rank + usize::from(goes_away));
        member.pin_to(cpu);
        group.is_together.store(cpu == member.cpu_of(rank), Ordering::Release);
        end_step(member, group);
        round += 1;
    }
}

/// Whether the priorities alone decide in which order the threads of the round run.
///
/// **Context:** LOW or MIDDLE, before it wakes the next thread: at its end HIGH notes its place in the next round.
fn is_ordered(group: &Group) -> bool {
    group.is_together.load(Ordering::Acquire) && platform::orders_by_priority()
}

/// Waits until something has happened in a round. Returns `false` if there is no such round.
fn comes(member: &Member<'_>, group: &Group, event: &AtomicU64, round: u64) -> bool {
    loop {
        if event.load(Ordering::Acquire) >= round {
            return true;
        }
        if group.is_over.load(Ordering::Acquire) {
            return false;
        }
        member.park();
    }
}

/// Waits until all threads have ended the round.
fn await_end(member: &Member<'_>, group: &Group) {
    while group.left.load(Ordering::Acquire) > 0 {
        member.park();
    }
}

/// A thread has done what it does in a round.
fn end_step(member: &Member<'_>, group: &Group) {
    member.done();
    ready(member, group);
}

/// A thread is about to wait for the next round. The last one wakes the thread that begins it.
fn ready(member: &Member<'_>, group: &Group) {
    if group.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        wake(member, STARTER);
    }
}

/// Wakes another thread of the group.
fn wake(member: &Member<'_>, role: usize) {
    let first = member.number() - member.number() % OF_EACH;
    member.unpark(first + role);
}
