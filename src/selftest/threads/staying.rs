//! Checks that a thread stays on its CPU while it waits for a call to other CPUs. Called by the part `threads`.

use core::sync::atomic::{AtomicU32, Ordering};

use super::super::check::{CheckResult, ensure};
use crate::cpu::CpuSet;
use crate::smp;
use crate::sync::Deadline;
use crate::thread::{self, Builder, Class};

/// How long a call gives another thread of the caller's CPU to run, in milliseconds.
const CALL_MS: u64 = 20;

/// The real-time thread that competes with the caller: its state.
static RIVAL: AtomicU32 = AtomicU32::new(WAITING);

const WAITING: u32 = 0;
const WANTED: u32 = 1;
const RUNNING: u32 = 2;

/// While a thread of one CPU waits for a call to another, the call makes a real-time thread of the first CPU ready. It must not run before
/// the call has ended: it may call as well, and the caller could move. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
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
