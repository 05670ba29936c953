//! Checks threads on the machine: they run, end, park, wake, sleep, take turns, and move to idle CPUs.

mod affinity;
mod blocking;
mod deferring;
mod foreign_locks;
mod inheriting;
mod moving;
mod preempting;
mod sharing;
mod stacks;
mod staying;
mod stealing;
mod tasks;
mod values;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::check::{CheckResult, ensure, send_facts};
use crate::cpu::{self, CpuSet};
use crate::sched;
use crate::smp;
use crate::sync::SpinLockIrq;
use crate::thread::{self, Builder};
use crate::time::now_ns;
use blocking::{deadline, ended, in_threads, long};

/// The rounds of the self-test for which each check runs once.
const ROUNDS_PER_LOOP: u32 = 200;

/// Rounds of a hand-over between two threads.
const ROUNDS: u64 = 1_000;

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on.
///
/// # Errors
/// The first failed check.
pub(crate) fn run(rounds: u32) -> CheckResult {
    let cpus = smp::online().count() as u64;
    let mut spawned = 0;
    for _ in 0..rounds.div_ceil(ROUNDS_PER_LOOP) {
        spawned += results()?;
        spawned += pinned()?;
        spawned += ping_pong()?;
        spawned += stealing::run()?;
        if sched::policy().is_some_and(|policy| policy.is_fair) {
            spawned += spinners(cpus)?;
        }
        spawned += sleepers()?;
        spawned += blocking::run()?;
        spawned += foreign_locks::run()?;
        spawned += inheriting::run()?;
        spawned += moving::run()?;
        spawned += preempting::run()?;
        spawned += staying::run()?;
        spawned += sharing::run()?;
        spawned += affinity::run()?;
        spawned += values::run()?;
        spawned += deferring::run()?;
        spawned += tasks::run()?;
    }
    spawned += stacks::run()?;
    log::info!("threads: {spawned} threads on {cpus} CPUs, all ended");
    send_facts("selftest.threads", &[("threads", spawned)]);
    Ok(())
}

/// Each thread's result reaches its handle.
fn results() -> CheckResult<u64> {
    let count = 64_u64;
    let sum = in_threads(count, |number| number * number)?.into_iter().sum::<u64>();
    let expected = (0..count).map(|number| number * number).sum::<u64>();
    ensure!(sum == expected, "threads: the results add up to {sum}, not {expected}");
    Ok(count)
}

/// Pinned threads run on their CPU, also while others of them wait there and other CPUs are idle.
fn pinned() -> CheckResult<u64> {
    const OF_EACH: u32 = 4;
    let mut count = 0;
    for cpu in smp::online() {
        let id = cpu.id();
        let spawn = |_| {
            Builder::new().name("pinned").pinned(id).spawn(move || {
                (0..50).all(|_| {
                    thread::yield_now();
                    cpu::current() == id
                })
            })
        };
        let handles = (0..OF_EACH).map(spawn).collect::<Result<Vec<_>, _>>()?;
        for handle in handles {
            ensure!(ended(handle)?, "threads: one pinned to cpu {id} ran elsewhere");
            count += 1;
        }
    }
    Ok(count)
}

/// Two threads hand a number to and fro.
fn ping_pong() -> CheckResult<u64> {
    static TURN: AtomicU64 = AtomicU64::new(0);
    /// Waits for a turn. Returns whether it has come.
    fn wait_for(turn: u64) -> bool {
        let until = deadline();
        while TURN.load(Ordering::Acquire) != turn && now_ns() < until {
            thread::park_timeout(long());
        }
        // Late, it has come because the time was over.
        TURN.load(Ordering::Acquire) == turn && now_ns() < until
    }
    TURN.store(0, Ordering::SeqCst);
    let main = thread::current();
    let other = thread::spawn(move || {
        (0..ROUNDS).all(|round| {
            let has_come = wait_for(2 * round + 1);
            TURN.store(2 * round + 2, Ordering::Release);
            main.unpark();
            has_come
        })
    });
    for round in 0..ROUNDS {
        TURN.store(2 * round + 1, Ordering::Release);
        other.thread().unpark();
        ensure!(wait_for(2 * round + 2), "threads: hand-over {round} was lost on the way back");
    }
    ensure!(other.join(), "threads: a hand-over was lost on the way there");
    Ok(1)
}

/// The CPUs on which a thread of `spinners` has run.
static RAN_ON: SpinLockIrq<CpuSet> = SpinLockIrq::new(CpuSet::EMPTY);
crate::name_lock!(RAN_ON);

/// More threads than CPUs spin until all of them run, and each CPU has run one: those that wait must be given their turn by the timer, and
/// CPUs without a thread must steal.
fn spinners(cpus: u64) -> CheckResult<u64> {
    static BEGUN: AtomicU64 = AtomicU64::new(0);
    static CPUS: AtomicU64 = AtomicU64::new(0);
    BEGUN.store(0, Ordering::SeqCst);
    CPUS.store(0, Ordering::SeqCst);
    *RAN_ON.lock() = CpuSet::EMPTY;
    let count = 3 * cpus;
    let until = deadline();
    let spin = move |_| {
        BEGUN.fetch_add(1, Ordering::AcqRel);
        let mut on = None;
        let is_over = || BEGUN.load(Ordering::Acquire) == count && CPUS.load(Ordering::Acquire) == cpus;
        while !is_over() && now_ns() < until {
            let here = cpu::current();
            if on.replace(here) != Some(here) {
                let mut ran_on = RAN_ON.lock();
                ran_on.insert(here);
                CPUS.store(ran_on.len() as u64, Ordering::Release);
            }
            core::hint::spin_loop();
        }
        is_over()
    };
    let ended = in_threads(count, spin)?.into_iter().all(|is_so| is_so);
    let (begun, ran_on) = (BEGUN.load(Ordering::Acquire), CPUS.load(Ordering::Acquire));
    ensure!(ended, "threads: {begun} of {count} spinners have begun, on {ran_on} of {cpus} CPUs");
    Ok(count)
}

/// No sleep is too short.
fn sleepers() -> CheckResult<u64> {
    let count = 32_u64;
    let in_time = in_threads(count, |number| {
        let delay = Duration::from_micros(100 * (number % 8));
        let before = now_ns();
        thread::sleep(delay);
        u128::from(now_ns() - before) >= delay.as_nanos()
    })?;
    let short = in_time.into_iter().filter(|is_so| !is_so).count();
    ensure!(short == 0, "threads: {short} of {count} sleeps were too short");
    Ok(count)
}
