//! Checks where threads go whose CPU goes offline, and what the scheduler counts.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;

use super::super::check::{CheckResult, ensure};
use super::blocking::{SHORT, deadline, long};
use crate::cpu::{self, CpuId, CpuSet, IrqGuard};
use crate::sched;
use crate::sched::work::{self, Work};
use crate::smp;
use crate::smp::hotplug::{self, Affinity, OfflineError};
use crate::sync::Timeout;
use crate::thread::{self, AffinityError, Builder, Class, JoinHandle, SpawnError};
use spin::Once;

/// Threads that wait for the CPU that goes offline.
const THREADS: u64 = 3;

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    let last = smp::online().last().map_or(CpuId::BSP, smp::Cpu::id);
    if last == CpuId::BSP {
        return Ok(0);
    }
    let mut spawned = pinned_to_an_offline_cpu(last)?;
    spawned += only_threads_of_one_cpu_keep_it_online(last)?;
    check_counts()?;
    if sched::policy().is_some_and(|policy| policy.name == "fair") {
        spawned += woken_while_it_leaves(last)?;
        spawned += idle_after_it_was_offline(last)?;
        spawned += slices(last)?;
    }
    Ok(spawned)
}

/// Threads of a CPU that goes offline, to which they are pinned, run elsewhere: those that wait for it, and one that is woken while it is
/// offline.
fn pinned_to_an_offline_cpu(cpu: CpuId) -> CheckResult<u64> {
    static ENDS: AtomicBool = AtomicBool::new(false);
    static TURNS: AtomicU64 = AtomicU64::new(0);
    ENDS.store(false, Ordering::SeqCst);
    TURNS.store(0, Ordering::SeqCst);
    let pinned = || Builder::new().name("pinned").pinned(cpu);
    let sleeper = pinned().spawn(|| {
        thread::park();
        cpu::current()
    })?;
    let busy = (0..THREADS)
        .map(|_| {
            pinned().spawn(|| {
                while !ENDS.load(Ordering::Acquire) {
                    TURNS.fetch_add(1, Ordering::AcqRel);
                    thread::yield_now();
                }
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    wait_for_turns(&TURNS)?;
    let broken = broken();
    match hotplug::offline(cpu) {
        Err(OfflineError::Pinned { threads, .. }) => ensure!(
            threads.count == THREADS as u32 + 1 && threads.first.name() == "pinned",
            "threads: cpu {cpu} stays online for {threads}, {} in all",
            threads.count
        ),
        other => {
            ensure!(false, "threads: cpu {cpu} is to go offline, to which threads are pinned: {other:?}")
        }
    }
    hotplug::offline_with(cpu, Affinity::Break)?;
    let lost = self::broken() - broken;
    ensure!(lost == THREADS + 1, "threads: {lost} threads lost their affinity, not {}", THREADS + 1);
    ensure!(
        sleeper.thread().affinity() == thread::Affinity::Any,
        "threads: one pinned to cpu {cpu}, which is offline, keeps its affinity"
    );
    ensure!(
        matches!(pinned().spawn(|| {}), Err(SpawnError::NoCpu { .. })),
        "threads: one was spawned that may run on cpu {cpu} only, which is offline"
    );
    ensure!(
        thread::current().set_affinity(thread::Affinity::Pinned(cpu)) == Err(AffinityError::NoCpu),
        "threads: one was pinned to cpu {cpu}, which is offline"
    );
    let leaver = pinned().may_leave().spawn(cpu::current);
    let ran_on = leaver.map(|leaver| leaver.join_timeout(long()));
    ensure!(
        matches!(ran_on, Ok(Ok(on)) if on != cpu),
        "threads: one that may leave cpu {cpu}, which is offline, was not spawned or ran there"
    );
    // They run still.
    wait_for_turns(&TURNS)?;
    sleeper.thread().unpark();
    for _ in 0..THREADS {
        thread::yield_now();
    }
    let woken_on = sleeper.join_timeout(long());
    ensure!(
        woken_on.is_ok_and(|on| on != cpu),
        "threads: one pinned to cpu {cpu}, which is offline, did not run"
    );
    ENDS.store(true, Ordering::Release);
    busy.into_iter().for_each(JoinHandle::join);
    hotplug::online(cpu)?;
    Ok(THREADS + 2)
}

/// Returns how many threads have lost their affinity.
fn broken() -> u64 {
    sched::counts().into_iter().find(|(name, _)| *name == "affinities_broken").map_or(0, |(_, count)| count)
}

/// Threads of two CPUs, of which one is offline, keep the other online; and workers of a CPU keep none online.
fn only_threads_of_one_cpu_keep_it_online(cpu: CpuId) -> CheckResult<u64> {
    static BOTH: Once<CpuSet> = Once::new();
    static WORK: Work = Work::new(|_| {}, 0);
    let Some(other) = smp::online().map(smp::Cpu::id).find(|other| *other != cpu && *other != CpuId::BSP)
    else {
        return Ok(0);
    };
    let both = BOTH.call_once(|| {
        let mut both = CpuSet::of(cpu);
        both.insert(other);
        both
    });
    // Makes the CPU's worker, which is pinned to it.
    Builder::new().pinned(cpu).spawn(|| work::defer(&WORK).map(|_| WORK.flush()))?.join()?;
    let sleeper = Builder::new().name("of two").affinity(both).spawn(thread::park)?;
    hotplug::offline(cpu)?;
    let refused = hotplug::offline(other);
    hotplug::online(cpu)?;
    sleeper.thread().unpark();
    sleeper.join();
    ensure!(
        matches!(refused, Err(OfflineError::Pinned { threads, .. }) if threads.first.name() == "of two"),
        "threads: cpu {other}, the last of a thread's CPUs, is to go offline: {refused:?}"
    );
    let broken = broken();
    hotplug::offline(cpu)?;
    hotplug::online(cpu)?;
    ensure!(self::broken() == broken, "threads: a worker has lost its affinity");
    Ok(2)
}

/// A thread that is woken while it leaves the CPU, and should run before the one that the CPU has switched to, runs at once.
fn woken_while_it_leaves(cpu: CpuId) -> CheckResult<u64> {
    const RUNS: u64 = 1;
    const ENDED: u64 = 2;
    /// What the urgent thread does. All threads are on one CPU, so another thread that sees that it runs has run before it.
    static URGENT: AtomicU64 = AtomicU64::new(0);
    static LATE: AtomicU64 = AtomicU64::new(0);
    fn look() {
        if URGENT.load(Ordering::SeqCst) == RUNS {
            LATE.fetch_add(1, Ordering::SeqCst);
        }
    }
    URGENT.store(0, Ordering::SeqCst);
    LATE.store(0, Ordering::SeqCst);
    let pinned = move || Builder::new().pinned(cpu);
    let urgent = move || {
        URGENT.store(RUNS, Ordering::SeqCst);
        let fresh = pinned().spawn(look);
        for _ in 0..20 {
            sched::park_and_wake();
        }
        URGENT.store(ENDED, Ordering::SeqCst);
        fresh.map(JoinHandle::join)
    };
    let others = move || {
        let yields = pinned().spawn(|| {
            while URGENT.load(Ordering::SeqCst) != ENDED {
                thread::yield_now();
                look();
            }
        })?;
        thread::yield_now();
        let urgent = pinned().class(Class::RealTime { priority: 1 }).spawn(urgent)?;
        look();
        yields.join();
        urgent.join()
    };
    pinned().spawn(others)?.join()?;
    let late = LATE.load(Ordering::SeqCst);
    ensure!(
        late == 0,
        "threads: a real-time thread that was woken waited {late} times for others of its CPU"
    );
    Ok(4)
}

/// A CPU that was idle when it went offline runs, when it is online again, a thread that only it can run. The request to go offline comes by
/// an interrupt other than that for threads, so the CPU has looked for threads before it only.
fn idle_after_it_was_offline(cpu: CpuId) -> CheckResult<u64> {
    /// How long the thread waits at most, in milliseconds.
    const WAIT_MS: u64 = 30_000;
    static SPINNING: AtomicU64 = AtomicU64::new(0);
    static HAS_RUN: AtomicBool = AtomicBool::new(false);
    static ENDS: AtomicBool = AtomicBool::new(false);
    SPINNING.store(0, Ordering::SeqCst);
    HAS_RUN.store(false, Ordering::SeqCst);
    ENDS.store(false, Ordering::SeqCst);
    let until = deadline();
    while !sched::is_idle(cpu) && crate::time::now_ns() < until {
        thread::sleep(SHORT);
    }
    // When it takes an interrupt, it has decided to halt.
    smp::call(&CpuSet::of(cpu), &|| {})?;
    hotplug::offline_by_wake(cpu)?;
    hotplug::online(cpu)?;
    let others: Vec<_> = smp::online().map(smp::Cpu::id).filter(|other| *other != cpu).collect();
    let spinners = others.len() as u64;
    // They run before all others on their CPUs.
    let urgent = |on| Builder::new().name("urgent").pinned(on).class(Class::RealTime { priority: 1 });
    let spin = move || {
        SPINNING.fetch_add(1, Ordering::AcqRel);
        let is_over = || ENDS.load(Ordering::Acquire);
        Timeout::after_ms(2 * WAIT_MS).wait_until(is_over).is_ok()
    };
    // The BSP's last: this thread does not run beside it.
    let mut handles = Vec::new();
    for on in others.into_iter().filter(|on| *on != CpuId::BSP) {
        handles.push(urgent(on).spawn(spin)?);
    }
    let spawner = urgent(CpuId::BSP).spawn(move || {
        SPINNING.fetch_add(1, Ordering::AcqRel);
        let mut limit = Timeout::after_ms(WAIT_MS);
        let all_spin = limit.wait_until(|| SPINNING.load(Ordering::Acquire) == spinners).is_ok();
        let fair = Builder::new().name("fair").spawn(|| HAS_RUN.store(true, Ordering::Release));
        let has_run = limit.wait_until(|| HAS_RUN.load(Ordering::Acquire)).is_ok();
        ENDS.store(true, Ordering::Release);
        fair.map(|fair| (all_spin, has_run, fair))
    })?;
    let (all_spin, has_run, fair) = spawner.join()?;
    fair.join();
    let all_end = handles.into_iter().all(JoinHandle::join);
    ensure!(all_spin && all_end, "threads: not all CPUs have run a real-time thread");
    ensure!(has_run, "threads: cpu {cpu}, which was offline, takes no thread of others");
    Ok(spinners + 1)
}

/// The slice timer of a thread with a long slice does not stay for one with a short slice.
fn slices(cpu: CpuId) -> CheckResult<u64> {
    const LONG_SLICE: Duration = Duration::from_secs(4);
    const SHORT_SLICE: Duration = Duration::from_millis(2);
    static ENDS: AtomicBool = AtomicBool::new(false);
    ENDS.store(false, Ordering::SeqCst);
    let pinned = move |slice| Builder::new().pinned(cpu).slice(slice);
    let long = move || {
        // It waits, so the timer is set for this thread.
        let other = pinned(LONG_SLICE).spawn(|| {
            while !ENDS.load(Ordering::Acquire) {
                thread::yield_now();
            }
        })?;
        let short = pinned(SHORT_SLICE).spawn(|| {
            let _guard = IrqGuard::new();
            sched::slice_end_ns().map(|end_ns| end_ns.saturating_sub(crate::time::now_ns()))
        })?;
        let left_ns = short.join();
        ENDS.store(true, Ordering::Release);
        other.join();
        Ok::<_, SpawnError>(left_ns)
    };
    let left_ns = pinned(LONG_SLICE).spawn(long)?.join()?;
    let is_short = left_ns.is_none_or(|left_ns| u128::from(left_ns) <= SHORT_SLICE.as_nanos());
    ensure!(is_short, "threads: a slice of {SHORT_SLICE:?} ends after {left_ns:?} ns");
    Ok(3)
}

/// Waits until the threads that count have had their turns.
fn wait_for_turns(turns: &AtomicU64) -> CheckResult {
    let before = turns.load(Ordering::Acquire);
    let until = deadline();
    while turns.load(Ordering::Acquire) < before + 100 {
        ensure!(crate::time::now_ns() < until, "threads: those of a CPU that went offline do not run");
        thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// The number of threads that each CPU counts is that of its queue.
fn check_counts() -> CheckResult {
    for cpu in smp::cpus() {
        if let Some((counted, queued)) = sched::queued(cpu) {
            ensure!(
                counted as usize == queued,
                "threads: cpu {} counts {counted} threads on its queue of {queued}",
                cpu.id()
            );
        }
    }
    Ok(())
}
