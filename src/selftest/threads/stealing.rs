//! Checks that a CPU without a thread takes one that waits for another CPU. Called by the part `threads`.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::super::check::{CheckResult, ensure};
use super::blocking::{ended, long};
use crate::cpu::CpuId;
use crate::sched;
use crate::smp;
use crate::sync::Timeout;
use crate::thread::{Builder, Class};

/// How many CPUs begin to spin.
static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// Whether the thief's thread ends, so that the CPU is idle.
static IS_FREE: AtomicBool = AtomicBool::new(false);

/// Whether the thread that waits has run.
static HAS_RUN: AtomicBool = AtomicBool::new(false);

/// Whether all threads end.
static ENDS: AtomicBool = AtomicBool::new(false);

/// Runs all checks. Returns the number of threads.
pub(super) fn run() -> CheckResult<u64> {
    // Another policy may let fair threads run beside the real-time ones.
    if sched::policy().is_none_or(|policy| policy.name != "fair") {
        return Ok(0);
    }
    let cpus: Vec<_> = smp::online().map(smp::Cpu::id).collect();
    let mut spawned = 0;
    for victim in &cpus {
        // The BSP's if there is no other: this thread does not run while the BSP spins.
        if let Some(thief) = cpus.iter().rev().find(|cpu| *cpu != victim) {
            spawned += steals_from(*victim, *thief, &cpus)?;
        }
    }
    Ok(spawned)
}

/// All CPUs run a real-time thread, and the victim's spawns another thread, which waits there. When the thief's thread ends, the thief runs
/// the other one.
fn steals_from(victim: CpuId, thief: CpuId, cpus: &[CpuId]) -> CheckResult<u64> {
    SPINNING.store(0, Ordering::SeqCst);
    [&IS_FREE, &HAS_RUN, &ENDS].into_iter().for_each(|flag| flag.store(false, Ordering::SeqCst));
    let urgent = |on| Builder::new().name("urgent").pinned(on).class(Class::RealTime { priority: 1 });
    let limit_ms = long().as_millis() as u64;
    let spinner = |on: CpuId| {
        urgent(on).spawn(move || {
            SPINNING.fetch_add(1, Ordering::AcqRel);
            let is_over = || ENDS.load(Ordering::Acquire) || on == thief && IS_FREE.load(Ordering::Acquire);
            // The victim's thread waits at most as long for each of two conditions.
            Timeout::after_ms(3 * limit_ms).wait_until(is_over).is_ok()
        })
    };
    let others = cpus.len() - 1;
    let boss = || {
        urgent(victim).spawn(move || {
            let all_spin = || SPINNING.load(Ordering::Acquire) == others;
            let have_begun = Timeout::after_ms(limit_ms).wait_until(all_spin).is_ok();
            let waiting = Builder::new().name("waiting").spawn(|| HAS_RUN.store(true, Ordering::Release));
            IS_FREE.store(true, Ordering::Release);
            let has_run = Timeout::after_ms(limit_ms).wait_until(|| HAS_RUN.load(Ordering::Acquire)).is_ok();
            ENDS.store(true, Ordering::Release);
            waiting.map(|waiting| (have_begun, has_run, waiting))
        })
    };
    // That of the BSP is last: this thread does not run beside it.
    let mut handles = Vec::new();
    for on in cpus.iter().filter(|on| **on != victim && **on != CpuId::BSP) {
        handles.push(spinner(*on)?);
    }
    let boss = boss()?;
    if victim != CpuId::BSP {
        handles.push(spinner(CpuId::BSP)?);
    }
    let (have_begun, has_run, waiting) = ended(boss)??;
    ended(waiting)?;
    for handle in handles {
        ensure!(ended(handle)?, "threads: a real-time thread of the check has not ended in time");
    }
    ensure!(have_begun, "threads: not all CPUs have run a real-time thread");
    ensure!(has_run, "threads: cpu {thief} is idle while a thread waits for cpu {victim}");
    Ok(cpus.len() as u64 + 1)
}
