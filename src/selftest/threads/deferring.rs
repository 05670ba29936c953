//! Checks deferred work. Called by the part `threads`.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use super::super::check::{CheckResult, ensure};
use super::blocking::{SHORT, long};
use crate::cpu::{self, CpuId, IrqGuard};
use crate::smp::{self, hotplug};
use crate::thread::{self, Builder};
use crate::time::timer;
use crate::work::{self, Work};

/// Requests of one check.
const REQUESTS: u64 = 100;

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    work::start()?;
    from_threads()?;
    from_handlers()?;
    after_a_delay()?;
    offline()
}

static MADE: AtomicU64 = AtomicU64::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);
static RUNS: AtomicU64 = AtomicU64::new(0);
static COUNTED: Work = Work::new(count, 3);

/// Blocks, as a handler must not.
fn count(data: usize) {
    thread::sleep(Duration::from_nanos(1));
    RUNS.fetch_add(1, Ordering::AcqRel);
    SEEN.store(MADE.load(Ordering::Acquire), Ordering::Release);
    assert_eq!(data, 3);
}

fn begin() {
    for counter in [&MADE, &SEEN, &RUNS] {
        counter.store(0, Ordering::SeqCst);
    }
}

/// Returns an error if a request was lost, or the function ran too often.
fn check(how: &str) -> CheckResult {
    let flushed = COUNTED.flush_timeout(long());
    let (made, seen, runs) =
        (MADE.load(Ordering::Acquire), SEEN.load(Ordering::Acquire), RUNS.load(Ordering::Acquire));
    ensure!(flushed.is_ok() && !COUNTED.is_pending(), "deferred work: {how}: it does not end");
    ensure!(
        made == REQUESTS && seen == made,
        "deferred work: {how}: the last run has seen {seen} of {made} requests"
    );
    ensure!((1..=made).contains(&runs), "deferred work: {how}: {runs} runs for {made} requests");
    Ok(())
}

fn from_threads() -> CheckResult {
    begin();
    for _ in 0..REQUESTS {
        MADE.fetch_add(1, Ordering::AcqRel);
        work::defer(&COUNTED)?;
    }
    check("from a thread")
}

/// Handlers of all CPUs.
fn from_handlers() -> CheckResult {
    begin();
    static LEFT: AtomicU64 = AtomicU64::new(0);
    let cpus = smp::online().count() as u64;
    LEFT.store(REQUESTS, Ordering::SeqCst);
    let tick = |_: &timer::Expiry| {
        let left = LEFT.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        if left.is_ok() {
            MADE.fetch_add(1, Ordering::AcqRel);
            if work::defer(&COUNTED).is_err() {
                // Shows in the counts.
                MADE.fetch_add(1_000, Ordering::AcqRel);
            }
        }
    };
    let handles = smp::online().map(|cpu| {
        Builder::new().pinned(cpu.id()).spawn(move || {
            while LEFT.load(Ordering::Acquire) != 0 {
                let _ = timer::after(Duration::from_micros(10), tick, 0);
                thread::sleep(Duration::from_micros(20));
            }
            // The timers that are armed still.
            thread::sleep(SHORT);
        })
    });
    let handles: alloc::vec::Vec<_> = handles.collect::<Result<_, _>>()?;
    ensure!(handles.len() as u64 == cpus, "deferred work: a CPU has come online meanwhile");
    handles.into_iter().for_each(thread::JoinHandle::join);
    check("from handlers")
}

fn after_a_delay() -> CheckResult {
    begin();
    MADE.store(REQUESTS, Ordering::SeqCst);
    let timer = work::delayed(&COUNTED, long())?;
    ensure!(timer::cancel(timer) && !COUNTED.is_pending(), "deferred work: a cancelled delay");
    work::delayed(&COUNTED, SHORT)?;
    let until = super::blocking::deadline();
    while RUNS.load(Ordering::Acquire) == 0 && crate::time::now_ns() < until {
        thread::sleep(SHORT);
    }
    check("after a delay")
}

/// Work of a CPU that goes offline runs on another; of one that comes back, there again.
fn offline() -> CheckResult<u64> {
    let last = smp::online().last().map_or(CpuId::BSP, smp::Cpu::id);
    if last == CpuId::BSP {
        return Ok(0);
    }
    static RAN_ON: AtomicU64 = AtomicU64::new(u64::MAX);
    static SLOW: Work = Work::new(
        |_| {
            thread::sleep(10 * SHORT);
            RAN_ON.store(u64::from(cpu::current().0), Ordering::Release);
        },
        0,
    );
    begin();
    MADE.store(REQUESTS, Ordering::SeqCst);
    let defers = Builder::new().pinned(last).spawn(|| {
        // Together, so that the second one waits for the first.
        let guard = IrqGuard::new();
        let deferred = work::defer(&SLOW).and(work::defer(&COUNTED));
        drop(guard);
        deferred
    })?;
    defers.join()?;
    hotplug::offline(last)?;
    check("of a CPU that goes offline")?;
    ensure!(SLOW.flush_timeout(long()).is_ok(), "deferred work: lost with its CPU");
    hotplug::online(last)?;
    // Its worker returns to it when it is woken the next time, or the time after that: it may have looked just before.
    let until = super::blocking::deadline();
    RAN_ON.store(u64::MAX, Ordering::SeqCst);
    while RAN_ON.load(Ordering::Acquire) != u64::from(last.0) && crate::time::now_ns() < until {
        Builder::new().pinned(last).spawn(|| work::defer(&SLOW))?.join()?;
        ensure!(SLOW.flush_timeout(long()).is_ok(), "deferred work: none on a CPU that came back");
    }
    let ran_on = RAN_ON.load(Ordering::Acquire);
    ensure!(ran_on == u64::from(last.0), "deferred work: of cpu {last}, ran on cpu {ran_on}");
    Ok(2)
}
