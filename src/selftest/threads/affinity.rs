//! Checks changes of affinity. Called by the part `threads`.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::super::check::{CheckResult, ensure};
use super::blocking::{deadline, long};
use crate::cpu::{self, CpuId};
use crate::sched;
use crate::smp;
use crate::thread::{self, Affinity, AffinityError, Builder};
use crate::time::now_ns;

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    let spinners = if sched::policy().is_some_and(|policy| policy.is_fair) { spinning()? } else { 0 };
    Ok(own()? + waiting()? + spinners)
}

/// A thread moves itself to each CPU.
fn own() -> CheckResult<u64> {
    let moves = thread::spawn(|| {
        smp::online().all(|cpu| {
            let moved = thread::current().set_affinity(Affinity::Pinned(cpu.id()));
            moved.is_ok() && cpu::current() == cpu.id()
        })
    });
    ensure!(moves.join(), "affinity: a thread has not moved to the CPU to which it has pinned itself");
    let nowhere = thread::current().set_affinity(Affinity::Pinned(CpuId(u32::MAX)));
    ensure!(
        nowhere == Err(AffinityError::NoCpu),
        "affinity: pinned to a CPU that does not exist: {nowhere:?}"
    );
    Ok(1)
}

/// A thread that waits runs next on the CPU to which it was moved, by whichever it is woken.
fn waiting() -> CheckResult<u64> {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    static ROUND: AtomicU32 = AtomicU32::new(0);
    /// The last round in which the thread has run.
    static DONE: AtomicU32 = AtomicU32::new(0);
    ROUND.store(0, Ordering::SeqCst);
    DONE.store(0, Ordering::SeqCst);
    let cpus: Vec<_> = smp::online().map(smp::Cpu::id).collect();
    let rounds = 4 * cpus.len() as u32;
    let sleeper = thread::spawn(move || {
        for round in 1..=rounds {
            while ROUND.load(Ordering::Acquire) < round {
                thread::park();
            }
            SEEN.store(cpu::current().0, Ordering::Release);
            DONE.store(round, Ordering::Release);
        }
    });
    for round in 1..=rounds {
        let to = cpus[(7 * round) as usize % cpus.len()];
        sleeper.thread().set_affinity(Affinity::Pinned(to))?;
        ROUND.store(round, Ordering::Release);
        sleeper.thread().unpark();
        let until = deadline();
        while DONE.load(Ordering::Acquire) != round && now_ns() < until {
            thread::yield_now();
        }
        let seen = SEEN.load(Ordering::Acquire);
        ensure!(
            DONE.load(Ordering::Acquire) == round && seen == to.0,
            "affinity: round {round}: a woken thread ran on cpu {seen}, not on cpu {to}"
        );
    }
    ensure!(sleeper.join_timeout(long()).is_ok(), "affinity: a thread that was moved does not end");
    Ok(1)
}

/// A thread that spins is moved from CPU to CPU.
fn spinning() -> CheckResult<u64> {
    static ENDS: AtomicBool = AtomicBool::new(false);
    static ON: AtomicU32 = AtomicU32::new(u32::MAX);
    ENDS.store(false, Ordering::SeqCst);
    let spinner = Builder::new().name("spinner").spawn(|| {
        while !ENDS.load(Ordering::Acquire) {
            ON.store(cpu::current().0, Ordering::Release);
            core::hint::spin_loop();
        }
    })?;
    let mut moved = Ok(());
    for cpu in smp::online().chain(smp::online()) {
        spinner.thread().set_affinity(Affinity::Pinned(cpu.id()))?;
        let until = deadline();
        while ON.load(Ordering::Acquire) != cpu.id().0 && now_ns() < until {
            thread::yield_now();
        }
        if ON.load(Ordering::Acquire) != cpu.id().0 {
            moved = Err(cpu.id());
        }
    }
    ENDS.store(true, Ordering::Release);
    spinner.join();
    if let Err(cpu) = moved {
        ensure!(false, "affinity: a thread that spins was not moved to cpu {cpu}");
    }
    Ok(1)
}
