//! Checks that a thread that has a mutex runs with the priority of the most urgent thread that waits for it. Called by the part `threads`.
//!
//! The threads of a check wake each other, each one that is more urgent than itself: the order in which they run on one CPU does not
//! depend on time.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::super::check::{CheckResult, ensure};
use super::blocking::{SHORT, deadline, ended, long, may_hang};
use crate::cpu::CpuId;
use crate::sched;
use crate::smp;
use crate::thread::sync::{Mutex, MutexGuard};
use crate::thread::{self, Builder, Class, JoinHandle, Thread};
use crate::time::now_ns;

const LOW: Class = Class::RealTime { priority: 1 };
const MEDIUM: Class = Class::RealTime { priority: 10 };
const HIGH: Class = Class::RealTime { priority: 20 };

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    let mut spawned = many_owners_and_waiters()?;
    // The other policies know no priorities.
    if sched::policy().is_none_or(|policy| policy.name != "fair") {
        return Ok(spawned);
    }
    let mut online = smp::online().map(smp::Cpu::id);
    let first = online.next().unwrap_or(CpuId::BSP);
    let last = online.last().unwrap_or(first);
    for (owners, waiters) in [(first, first), (last, last), (last, first)] {
        spawned += inversion(owners, waiters)?;
        spawned += owner_that_runs(owners, waiters)?;
        spawned += chain_of_two(owners, waiters)?;
    }
    Ok(spawned + time_out(first)? + order_of_waiters(first)?)
}

/// How long a thread of medium priority runs if no other ends that.
fn patience() -> Duration {
    if may_hang() { Duration::from_secs(1) } else { long() }
}

/// What the threads of one check have done.
struct Steps {
    high_has_it: AtomicBool,
    medium_has_run: AtomicBool,
    medium_has_ended: AtomicBool,
    has_timed_out: AtomicBool,
}

impl Steps {
    fn clear(&self) {
        for step in [&self.high_has_it, &self.medium_has_run, &self.medium_has_ended, &self.has_timed_out] {
            step.store(false, Ordering::SeqCst);
        }
    }
}

static STEPS: Steps = Steps {
    high_has_it: AtomicBool::new(false),
    medium_has_run: AtomicBool::new(false),
    medium_has_ended: AtomicBool::new(false),
    has_timed_out: AtomicBool::new(false),
};

fn is(step: &AtomicBool) -> bool {
    step.load(Ordering::SeqCst)
}

fn note(step: &AtomicBool) {
    step.store(true, Ordering::SeqCst);
}

/// Spawns a thread that waits until it is unparked, and then runs a function.
fn spawn<T: Send + 'static>(
    name: &str,
    cpu: CpuId,
    class: Class,
    run: impl FnOnce() -> T + Send + 'static,
) -> CheckResult<JoinHandle<T>> {
    let spawned = Builder::new().name(name).pinned(cpu).class(class).spawn(move || {
        thread::park();
        run()
    });
    Ok(spawned?)
}

/// Spawns the thread of medium priority: it wakes another one, and runs until the one of high priority has its mutex, or its time is over.
fn spawn_medium(
    cpu: CpuId,
    wakes: Option<Thread>,
    until: &'static AtomicBool,
) -> CheckResult<JoinHandle<()>> {
    spawn("medium", cpu, MEDIUM, move || {
        note(&STEPS.medium_has_run);
        if let Some(thread) = wakes {
            thread.unpark();
        }
        let end = now_ns().saturating_add(patience().as_nanos() as u64);
        while !is(until) && now_ns() < end {
            core::hint::spin_loop();
        }
        note(&STEPS.medium_has_ended);
    })
}

/// Locks a mutex. Returns whether that was before the thread of medium priority has ended.
fn lock_before_medium_ends(mutex: &Mutex<()>) -> bool {
    let locked = mutex.lock_timeout(long());
    let is_in_time = locked.is_ok() && !is(&STEPS.medium_has_ended);
    note(&STEPS.high_has_it);
    is_in_time
}

/// A thread has a mutex, one of medium priority keeps it from its CPU, and one of high priority waits for the mutex: the first one runs
/// until it has unlocked the mutex, and no longer.
fn inversion(owners: CpuId, waiters: CpuId) -> CheckResult<u64> {
    static MUTEX: Mutex<()> = Mutex::new(());
    STEPS.clear();
    let high = spawn("high", waiters, HIGH, || lock_before_medium_ends(&MUTEX))?;
    let medium = spawn_medium(owners, Some(high.thread().clone()), &STEPS.high_has_it)?;
    let wakes = medium.thread().clone();
    let low = spawn("low", owners, LOW, move || {
        let guard = MUTEX.lock();
        wakes.unpark();
        // The thread of medium priority runs here, until this one inherits the high priority.
        let has_inherited = thread::current().current_class() == Some(HIGH);
        drop(guard);
        // And again here.
        (has_inherited, is(&STEPS.medium_has_ended), thread::current().current_class() == Some(LOW))
    })?;
    low.thread().unpark();
    let is_in_time = ended(high)?;
    ended(medium)?;
    let (has_inherited, is_over, has_returned) = ended(low)?;
    let place = if owners == waiters { "one CPU" } else { "two CPUs" };
    ensure!(
        is_in_time,
        "priority inversion: a mutex was not unlocked while a thread ran that is less urgent than one that waits, on {place}"
    );
    ensure!(
        has_inherited,
        "priority inheritance: the owner of a mutex has run, and without the priority of its waiter, on {place}"
    );
    ensure!(
        is_over && has_returned,
        "priority inheritance: a thread has kept a priority after it has unlocked the mutex, on {place}"
    );
    Ok(3)
}

/// As `inversion`, but the first thread runs when it inherits the priority: the one of medium priority comes later.
fn owner_that_runs(owners: CpuId, waiters: CpuId) -> CheckResult<u64> {
    static MUTEX: Mutex<()> = Mutex::new(());
    STEPS.clear();
    let medium = spawn_medium(owners, None, &STEPS.high_has_it)?;
    let high = spawn("high", waiters, HIGH, || {
        let is_locked = MUTEX.lock_timeout(long()).is_ok();
        note(&STEPS.high_has_it);
        is_locked
    })?;
    let (wakes, later) = (high.thread().clone(), medium.thread().clone());
    let low = spawn("low", owners, LOW, move || {
        let guard = MUTEX.lock();
        wakes.unpark();
        let until = deadline();
        while thread::current().current_class() != Some(HIGH) && now_ns() < until && !may_hang() {
            core::hint::spin_loop();
        }
        later.unpark();
        let was_preempted = is(&STEPS.medium_has_run);
        drop(guard);
        was_preempted
    })?;
    low.thread().unpark();
    let was_preempted = ended(low)?;
    let is_locked = ended(high)?;
    ended(medium)?;
    ensure!(is_locked, "priority inheritance: a mutex was not unlocked in time");
    ensure!(!was_preempted, "priority inheritance: a thread of less priority than was inherited has run");
    Ok(3)
}

/// A waits for a mutex of B, which waits for one of C, which a thread of medium priority keeps from its CPU: C runs.
fn chain_of_two(owners: CpuId, waiters: CpuId) -> CheckResult<u64> {
    static OF_B: Mutex<()> = Mutex::new(());
    static OF_C: Mutex<()> = Mutex::new(());
    STEPS.clear();
    let a = spawn("A", waiters, HIGH, || lock_before_medium_ends(&OF_B))?;
    let medium = spawn_medium(owners, Some(a.thread().clone()), &STEPS.high_has_it)?;
    let b = spawn("B", waiters, LOW, || {
        let mine = OF_B.lock();
        let is_locked = OF_C.lock_timeout(long()).is_ok();
        drop(mine);
        is_locked && thread::current().current_class() == Some(LOW)
    })?;
    let (wakes_b, wakes_medium) = (b.thread().clone(), medium.thread().clone());
    let c = spawn("C", owners, Class::Fair, move || {
        let guard = OF_C.lock();
        wakes_b.unpark();
        let until = deadline();
        while !wakes_b.is_blocked() && now_ns() < until {
            thread::yield_now();
        }
        wakes_medium.unpark();
        drop(guard);
        (is(&STEPS.medium_has_ended), thread::current().current_class() == Some(Class::Fair))
    })?;
    c.thread().unpark();
    let is_in_time = ended(a)?;
    ended(medium)?;
    let b_has_returned = ended(b)?;
    let (is_over, c_has_returned) = ended(c)?;
    ensure!(
        is_in_time,
        "priority inversion: a chain of two mutexes was not unlocked while a less urgent thread ran"
    );
    ensure!(
        b_has_returned && c_has_returned && is_over,
        "priority inheritance: a thread of a chain has kept a priority: {b_has_returned} {c_has_returned} {is_over}"
    );
    Ok(4)
}

/// The time of the thread that waits is over: the owner has its own priority again.
fn time_out(cpu: CpuId) -> CheckResult<u64> {
    static MUTEX: Mutex<()> = Mutex::new(());
    STEPS.clear();
    let high = spawn("high", cpu, HIGH, || {
        let is_late = MUTEX.lock_timeout(SHORT).is_err();
        note(&STEPS.has_timed_out);
        is_late
    })?;
    let medium = spawn_medium(cpu, Some(high.thread().clone()), &STEPS.has_timed_out)?;
    let wakes = medium.thread().clone();
    let low = spawn("low", cpu, LOW, move || {
        let guard = MUTEX.lock();
        wakes.unpark();
        let until = deadline();
        while !is(&STEPS.has_timed_out) && now_ns() < until {
            core::hint::spin_loop();
        }
        let is_over = is(&STEPS.medium_has_ended);
        drop(guard);
        is_over
    })?;
    low.thread().unpark();
    ensure!(ended(high)?, "priority inheritance: a mutex was locked twice");
    ended(medium)?;
    ensure!(
        ended(low)?,
        "priority inheritance: a thread has kept a priority of a thread whose time was over"
    );
    Ok(3)
}

/// A mutex goes to the most urgent thread that waits, and to the first of those.
fn order_of_waiters(cpu: CpuId) -> CheckResult<u64> {
    static MUTEX: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    let mut mine = MUTEX.lock();
    mine.clear();
    // This thread inherits the priority of each. So none is less urgent than one before it, and would not run.
    let classes = [Class::Fair, Class::Fair, LOW, MEDIUM, HIGH, HIGH];
    let mut waiters = Vec::new();
    for (class, number) in classes.into_iter().zip(0..) {
        let waiter = Builder::new().pinned(cpu).class(class).spawn(move || MUTEX.lock().push(number))?;
        let until = deadline();
        while !waiter.thread().is_blocked() {
            ensure!(now_ns() < until, "mutex: a thread does not wait for a locked one");
            thread::yield_now();
        }
        waiters.push(waiter);
    }
    let inherited = thread::current().current_class();
    MutexGuard::unlock_fair(mine);
    let own = thread::current().current_class();
    let count = waiters.len() as u64;
    for waiter in waiters {
        ended(waiter)?;
    }
    let order = MUTEX.lock();
    ensure!(
        inherited == Some(HIGH) && own == Some(Class::Fair),
        "priority inheritance: {inherited:?}, and {own:?} after it"
    );
    ensure!(order[..] == [4, 5, 3, 2, 0, 1], "mutex: locked in the order {:?}", &order[..]);
    Ok(count)
}

/// Threads of all classes, on all CPUs, use mutexes inside each other and give up waits: all end, each with its own class.
fn many_owners_and_waiters() -> CheckResult<u64> {
    const ROUNDS: u64 = 60;
    static MUTEXES: [Mutex<u64>; 3] = [const { Mutex::new(0) }; 3];
    let classes = [Class::Fair, LOW, Class::Fair, MEDIUM, HIGH, Class::Fair];
    let run = |class: Class, number: u64| {
        for round in 0..ROUNDS {
            let first = (round + number) as usize % 3;
            let mut outer = MUTEXES[first].lock();
            *outer += 1;
            if round.is_multiple_of(8) {
                thread::yield_now();
            }
            // In the order of their numbers, so that no thread waits for itself.
            for inner in &MUTEXES[first + 1..] {
                let short = Duration::from_micros(10 * (round % 7));
                let locked =
                    if round.is_multiple_of(2) { inner.lock_timeout(short).ok() } else { inner.try_lock() };
                if let Some(mut value) = locked {
                    *value += 1;
                    *value -= 1;
                }
            }
        }
        thread::current().current_class() == Some(class)
    };
    let sum = || MUTEXES.iter().map(|mutex| *mutex.lock()).sum::<u64>();
    let before = sum();
    let mut threads = Vec::new();
    for (class, number) in classes.into_iter().zip(0..) {
        threads.push(Builder::new().class(class).spawn(move || run(class, number))?);
    }
    let count = threads.len() as u64;
    for thread in threads {
        ensure!(ended(thread)?, "priority inheritance: a thread has kept a class that it had inherited");
    }
    let added = sum() - before;
    ensure!(added == count * ROUNDS, "mutex: {added} additions of {}", count * ROUNDS);
    Ok(count)
}
