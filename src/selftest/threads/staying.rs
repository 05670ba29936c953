//! Checks threads that use one CPU for a while: one that waits for a call to other CPUs stays on its CPU, one that halts until a time may
//! move, and one that is switched away in the recorder of trace events begins again. Called by the part `threads`.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use super::super::check::{CheckResult, ensure};
use super::blocking::long;
use crate::cpu::{self, CpuId, CpuSet};
use crate::smp;
use crate::sync::Deadline;
use crate::thread::{self, Builder, Class};
use crate::{time, trace};

/// How long a call gives another thread of the caller's CPU to run, in milliseconds.
const CALL_MS: u64 = 20;

/// The real-time thread that competes with the caller: its state.
static RIVAL: AtomicU32 = AtomicU32::new(WAITING);

const WAITING: u32 = 0;
const WANTED: u32 = 1;
const RUNNING: u32 = 2;

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    recorder_restarts()?;
    Ok(waits_for_a_call()? + wakes_after_a_move()?)
}

/// A thread that is switched away in the recorder of trace events begins again there: the ring may be another one by then.
fn recorder_restarts() -> CheckResult {
    const NUMBER: u64 = 7;
    let recorder = trace::recorder();
    for rip in recorder.clone() {
        ensure!(trace::restarted(rip, NUMBER) == (recorder.start, NUMBER), "{rip:#x} is in {recorder:x?}");
    }
    let after = recorder.end;
    // SAFETY: the bytes are code of the kernel's image, which is mapped for reading.
    let last = unsafe { *core::ptr::with_exposed_provenance::<u8>(after as usize) };
    ensure!(last == RET, "the recorder ends at {after:#x} with {last:#x}, no RET");
    ensure!(!recorder.is_empty() && trace::restarted(after, NUMBER) == (after, NUMBER), "{recorder:x?}");
    Ok(())
}

/// The instruction RET (SDM Vol. 2B).
const RET: u8 = 0xc3;

/// How long a thread halts that is moved meanwhile.
const HALT: Duration = Duration::from_millis(50);

/// A thread halts until a time. Meanwhile a real-time thread takes its CPU until the first one has moved and woken.
fn wakes_after_a_move() -> CheckResult<u64> {
    static HALTS_ON: AtomicU32 = AtomicU32::new(0);
    static HAS_WOKEN: AtomicU32 = AtomicU32::new(0);
    HALTS_ON.store(0, Ordering::SeqCst);
    HAS_WOKEN.store(0, Ordering::SeqCst);
    let halting = Builder::new().name("halting").spawn(|| {
        HALTS_ON.store(cpu::current().0 + 1, Ordering::Release);
        time::sleep(HALT);
        HAS_WOKEN.store(1, Ordering::Release);
    })?;
    while HALTS_ON.load(Ordering::Acquire) == 0 {
        thread::yield_now();
    }
    let from = CpuId(HALTS_ON.load(Ordering::Acquire) - 1);
    let taking =
        Builder::new().name("taking").pinned(from).class(Class::RealTime { priority: 1 }).spawn(|| {
            let has_woken = || HAS_WOKEN.load(Ordering::Acquire) == 1;
            let _ = Deadline::after_ms(1000).wait_until(has_woken);
        })?;
    let woken = halting.join_timeout(long()).is_ok();
    if !woken {
        // An interrupt ends the halt of the CPU that the thread has moved to.
        let _ = smp::wake_others();
    }
    taking.join();
    ensure!(woken, "a thread that has moved from cpu {from} while it halts has not woken in {:?}", long());
    Ok(2)
}

/// While a thread of one CPU waits for a call to another, the call makes a real-time thread of the first CPU ready. It must not run before
/// the call has ended: it may call as well, and the caller could move.
fn waits_for_a_call() -> CheckResult<u64> {
    let mut online = smp::online().map(smp::Cpu::id);
    let (Some(to), Some(from)) = (online.next(), online.next()) else { return Ok(0) };
    RIVAL.store(WAITING, Ordering::SeqCst);
    let rival =
        Builder::new().name("rival").pinned(from).class(Class::RealTime { priority: 1 }).spawn(|| {
            while RIVAL.load(Ordering::Acquire) == WAITING {
                thread::park();
            }
            RIVAL.store(RUNNING, Ordering::Release);
        })?;
    let other = rival.thread().clone();
    let caller = Builder::new().name("caller").pinned(from).spawn(move || {
        let found = AtomicU32::new(WAITING);
        let outcome = smp::call(&CpuSet::of(to), &|| {
            RIVAL.store(WANTED, Ordering::Release);
            other.unpark();
            let has_run = || RIVAL.load(Ordering::Acquire) == RUNNING;
            let _ = Deadline::after_ms(CALL_MS).wait_until(has_run);
            found.store(RIVAL.load(Ordering::Acquire), Ordering::Release);
        });
        outcome.map(|()| found.into_inner())
    })?;
    let found = caller.join()?;
    rival.join();
    ensure!(found == WANTED, "cpu {from}: another thread ran while one waited for a call to cpu {to}");
    Ok(2)
}
