//! The time never goes back, whichever CPU is asked: all CPUs read it at once, each against the greatest that any has
//! been told so far.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::config::STRESS_GRACE_MS;
use crate::cpu::CpuId;
use crate::sync::SpinLockIrq;
use crate::{smp, time};

/// Readings on each CPU.
const READINGS: u32 = 100_000;

/// What the clock did wrong.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// It went back.
    Back {
        /// The CPU that was told so.
        cpu: CpuId,
        /// By how much.
        ns: u64,
    },
    /// It stood still.
    Stands,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Back { cpu, ns } => {
                write!(f, "cpu {cpu}: the time is {ns} ns less than what was told before")
            }
            Failure::Stands => f.write_str("the time stands still"),
        }
    }
}

/// Reads the time on all CPUs at once. Only the boot processor calls this, with interrupts on, when all CPUs wait for
/// work.
///
/// # Errors
/// A reading that was less than one before.
pub fn run(_: u32) -> Result<(), Failure> {
    let first: SpinLockIrq<Option<Failure>> = SpinLockIrq::new(None);
    let began_ns = time::now_ns();
    let greatest = AtomicU64::new(began_ns);
    super::on_each_cpu(STRESS_GRACE_MS, &|cpu| {
        for _ in 0..READINGS {
            let before = greatest.load(Ordering::Acquire);
            let now = time::now_ns();
            if now < before {
                first.lock().get_or_insert(Failure::Back { cpu: cpu.id(), ns: before - now });
                return;
            }
            greatest.fetch_max(now, Ordering::AcqRel);
        }
    });
    if let Some(failure) = *first.lock() {
        return Err(failure);
    }
    let elapsed_ns = greatest.load(Ordering::Relaxed) - began_ns;
    if elapsed_ns == 0 {
        return Err(Failure::Stands);
    }
    log::info!(
        "the time went on in {READINGS} readings on each of {} CPUs, by {} us",
        smp::online().count(),
        elapsed_ns / 1000
    );
    Ok(())
}
