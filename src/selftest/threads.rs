//! Checks threads on the machine: they run, end, park, wake, sleep, take turns, and move to idle CPUs.

mod blocking;
mod moving;
mod staying;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::check::{CheckResult, ensure, send_facts};
use crate::cpu::{self, CpuSet};
use crate::memory::frames::FRAME_BYTES;
use crate::sched;
use crate::smp;
use crate::thread::{self, Builder};

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
        if sched::policy().is_some_and(|policy| policy.is_fair) {
            spawned += spinners(cpus)?;
        }
        spawned += sleepers()?;
        spawned += blocking::run()?;
        spawned += moving::run()?;
        spawned += staying::run()?;
    }
    spawned += deep_stack()?;
    log::info!("threads: {spawned} threads on {cpus} CPUs, all ended");
    send_facts("selftest.threads", &[("threads", spawned)]);
    Ok(())
}

/// Each thread's result reaches its handle.
fn results() -> Result<u64, super::check::Failed> {
    let count = 64_u64;
    let handles: Vec<_> = (0..count).map(|number| thread::spawn(move || number * number)).collect();
    let sum: u64 = handles.into_iter().map(thread::JoinHandle::join).sum();
    let expected = (0..count).map(|number| number * number).sum::<u64>();
    ensure!(sum == expected, "threads: the results add up to {sum}, not {expected}");
    Ok(count)
}

/// A thread uses most of its stack, which is seen when the stack is unmapped.
fn deep_stack() -> Result<u64, super::check::Failed> {
    const STACK: usize = 128 * 1024;
    const USED: usize = 80 * 1024;
    let spawned = Builder::new().name("deep").stack_size(STACK).spawn(|| {
        let ballast = [1_u8; USED];
        core::hint::black_box(&ballast)[USED - 1] == 1
    });
    ensure!(
        spawned.is_ok_and(thread::JoinHandle::join),
        "threads: a stack of {STACK} bytes does not hold {USED}"
    );
    let deepest = sched::deepest_stack_use();
    ensure!(
        (USED..STACK + 2 * FRAME_BYTES).contains(&deepest),
        "threads: the deepest use of a stack is {deepest} bytes, where a thread has used {USED}"
    );
    Ok(1)
}

/// A pinned thread runs on its CPU.
fn pinned() -> Result<u64, super::check::Failed> {
    let mut count = 0;
    for cpu in smp::online() {
        let id = cpu.id();
        let spawned = Builder::new().name("pinned").pinned(id).spawn(move || {
            (0..10).all(|_| {
                thread::yield_now();
                cpu::current() == id
            })
        });
        ensure!(spawned.is_ok_and(thread::JoinHandle::join), "threads: one pinned to cpu {id} ran elsewhere");
        count += 1;
    }
    Ok(count)
}

/// Two threads hand a number to and fro.
fn ping_pong() -> Result<u64, super::check::Failed> {
    static TURN: AtomicU64 = AtomicU64::new(0);
    TURN.store(0, Ordering::SeqCst);
    let main = thread::current();
    let other = thread::spawn(move || {
        for round in 0..ROUNDS {
            while TURN.load(Ordering::Acquire) != 2 * round + 1 {
                thread::park();
            }
            TURN.store(2 * round + 2, Ordering::Release);
            main.unpark();
        }
    });
    for round in 0..ROUNDS {
        TURN.store(2 * round + 1, Ordering::Release);
        other.thread().unpark();
        while TURN.load(Ordering::Acquire) != 2 * round + 2 {
            thread::park();
        }
    }
    other.join();
    ensure!(TURN.load(Ordering::Acquire) == 2 * ROUNDS, "threads: a hand-over was lost");
    Ok(1)
}

/// More threads than CPUs spin until all of them run: those that wait must be given their turn by the timer.
fn spinners(cpus: u64) -> Result<u64, super::check::Failed> {
    static BEGUN: AtomicU64 = AtomicU64::new(0);
    BEGUN.store(0, Ordering::SeqCst);
    let count = 3 * cpus;
    let limit_ns = crate::time::now_ns() + 60_000_000_000;
    let handles: Vec<_> = (0..count)
        .map(|_| {
            thread::spawn(move || {
                BEGUN.fetch_add(1, Ordering::AcqRel);
                let mut ran_on = CpuSet::EMPTY;
                while BEGUN.load(Ordering::Acquire) < count {
                    ran_on.insert(cpu::current());
                    if crate::time::now_ns() > limit_ns {
                        panic!("{} of {count} spinners have begun", BEGUN.load(Ordering::Acquire));
                    }
                    core::hint::spin_loop();
                }
                ran_on
            })
        })
        .collect();
    let mut ran_on = CpuSet::EMPTY;
    for handle in handles {
        ran_on = handle.join().iter().chain(ran_on.iter()).collect();
    }
    ensure!(ran_on.len() as u64 <= cpus, "threads: there are fewer CPUs than spinners ran on");
    Ok(count)
}

/// No sleep is too short.
fn sleepers() -> Result<u64, super::check::Failed> {
    let count = 32_u64;
    let handles: Vec<_> = (0..count)
        .map(|number| {
            thread::spawn(move || {
                let delay = Duration::from_micros(100 * (number % 8));
                let before = crate::time::now_ns();
                thread::sleep(delay);
                u128::from(crate::time::now_ns() - before) >= delay.as_nanos()
            })
        })
        .collect();
    let in_time =
        handles.into_iter().filter(|_| true).map(thread::JoinHandle::join).filter(|is_so| *is_so).count()
            as u64;
    ensure!(in_time == count, "threads: {} of {count} sleeps were too short", count - in_time);
    Ok(count)
}
