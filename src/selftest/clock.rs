//! Checks that the time never goes back. All CPUs read it at once, and compare each reading with the largest that any CPU has
//! published. Then they read it in turn: a busy host may run them one after the other, and then no reading of a CPU follows one
//! of the next.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::check::{CheckResult, ensure, on_all_cpus, send_facts};
use crate::config::STRESS_GRACE_MS;
use crate::smp::{self, Cpu};
use crate::sync::Timeout;
use crate::time;

/// Readings on each CPU.
const READINGS: u32 = 100_000;

/// How often each CPU has its turn. Each CPU then reads after every other.
const TURNS: usize = 3;

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// A reading was less than an earlier one, or the time did not advance.
pub(crate) fn run(_: u32) -> CheckResult {
    let began_ns = time::now_ns();
    let greatest = AtomicU64::new(began_ns);
    let turn = AtomicUsize::new(0);
    let read = |cpu: &Cpu| {
        let before = greatest.load(Ordering::Acquire);
        let now = time::now_ns();
        ensure!(now >= before, "cpu {}: the time went back by {} ns", cpu.id(), before - now);
        greatest.fetch_max(now, Ordering::AcqRel);
        Ok(())
    };
    on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        for _ in 0..READINGS {
            read(cpu)?;
        }
        Ok(())
    })?;
    let cpus = smp::online().count();
    on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        let Some(rank) = cpu.rank() else { return Ok(()) };
        for round in 0..TURNS {
            let mine = round * cpus + rank;
            let comes =
                Timeout::after_ms(STRESS_GRACE_MS).wait_until(|| turn.load(Ordering::Acquire) >= mine);
            let at = turn.load(Ordering::Acquire);
            ensure!(comes.is_ok(), "cpu {}: the turn {mine} does not come: it is the turn {at}", cpu.id());
            let outcome = read(cpu);
            // After a failure no CPU waits for this one any more.
            turn.fetch_max(if outcome.is_ok() { mine + 1 } else { usize::MAX }, Ordering::AcqRel);
            outcome?;
        }
        Ok(())
    })?;
    let elapsed_ns = greatest.load(Ordering::Relaxed) - began_ns;
    ensure!(elapsed_ns != 0, "the time stands still");
    log::info!("clock: monotonic in {READINGS} readings on each of {} CPUs, {} us", cpus, elapsed_ns / 1000);
    send_facts("selftest.clock", &[("cpus", cpus as u64), ("readings_per_cpu", READINGS.into())]);
    Ok(())
}
