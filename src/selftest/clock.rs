//! Checks that the time never goes back. All CPUs read it at once, and compare each reading with the largest that any CPU has
//! published.

use core::sync::atomic::{AtomicU64, Ordering};

use super::check::{CheckResult, ensure, on_all_cpus, send_facts};
use crate::config::STRESS_GRACE_MS;
use crate::{smp, time};

/// Readings on each CPU.
const READINGS: u32 = 100_000;

/// Runs the part.
///
/// **Context:** the thread of the BSP, interrupts on, while all APs wait for work.
///
/// # Errors
/// A reading was less than an earlier one, or the time did not advance.
pub(crate) fn run(_: u32) -> CheckResult {
    let began_ns = time::now_ns();
    let greatest = AtomicU64::new(began_ns);
    on_all_cpus(STRESS_GRACE_MS, &|cpu| {
        for _ in 0..READINGS {
            let before = greatest.load(Ordering::Acquire);
            let now = time::now_ns();
            ensure!(now >= before, "cpu {}: the time went back by {} ns", cpu.id(), before - now);
            greatest.fetch_max(now, Ordering::AcqRel);
        }
        Ok(())
    })?;
    let elapsed_ns = greatest.load(Ordering::Relaxed) - began_ns;
    ensure!(elapsed_ns != 0, "the time stands still");
    log::info!(
        "clock: monotonic in {READINGS} readings on each of {} CPUs, {} us",
        smp::online().count(),
        elapsed_ns / 1000
    );
    let cpus = smp::online().count() as u64;
    send_facts("selftest.clock", &[("cpus", cpus), ("readings_per_cpu", READINGS.into())]);
    Ok(())
}
