//! A barrier for CPUs of a stress or a self-test.
//!
//! A waiting CPU halts. Under an emulator with fewer cores than CPUs, a CPU that spins would take time from the CPUs that it
//! waits for. A wait has no time limit of its own: it fails if none of the CPUs makes progress for [`STRESS_GRACE_MS`].

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::progress::OPERATIONS;
use super::stall::{StallDetector, Stalled};
use crate::config::STRESS_GRACE_MS;
use crate::cpu::per_cpu::PerCpu;
use crate::cpu::{CpuId, CpuSet};
use crate::sync::Deadline;
use crate::{cpu, per_cpu, smp, time};

/// How long [`Barrier::wait_until`] spins between two halts.
const SPIN_US: u64 = 20;
/// How long it halts.
const HALT_US: u64 = 200;

per_cpu! {
    /// Whether this CPU waits at a barrier, 1 or 0.
    static WAITS: AtomicU32 = AtomicU32::new(0);
}

/// A barrier for a set of CPUs, which can be used any number of times.
pub(crate) struct Barrier {
    cpus: CpuSet,
    /// How many CPUs end the wait when they have arrived.
    parties: AtomicU32,
    waiting: AtomicU32,
    round: AtomicU64,
    is_aborted: AtomicBool,
}

impl Barrier {
    /// A barrier for these CPUs.
    pub(crate) fn new(cpus: CpuSet) -> Barrier {
        Barrier {
            parties: AtomicU32::new(cpus.len() as u32),
            cpus,
            waiting: AtomicU32::new(0),
            round: AtomicU64::new(0),
            is_aborted: AtomicBool::new(false),
        }
    }

    /// Excludes one CPU from all further waits. The caller must not wait in the current round yet.
    pub(crate) fn remove_one(&self) {
        self.parties.fetch_sub(1, Ordering::AcqRel);
    }

    /// Ends all waits, now and later: a CPU has failed and will not arrive again.
    #[cfg(feature = "selftest")]
    pub(crate) fn abort(&self) {
        self.is_aborted.store(true, Ordering::Release);
        smp::wake_others_or_warn();
    }

    /// Whether [`abort`](Barrier::abort) was called.
    pub(crate) fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::Acquire)
    }

    /// Waits until `condition` holds, which another CPU makes true.
    ///
    /// **Context:** thread, interrupts on. Halts.
    ///
    /// # Panics
    /// If no CPU makes progress for [`STRESS_GRACE_MS`].
    pub(crate) fn wait_until(&self, condition: impl Fn() -> bool) {
        if Deadline::after_us(SPIN_US).wait_until(&condition).is_ok() {
            return;
        }
        let waited = self.wait_for_progress(|ms| {
            let deadline = Deadline::after_ms(ms);
            // The other CPU does not send a wake-up, as it does not know that a CPU waits. It may need this CPU's host core.
            while !deadline.has_passed()
                && time::halt_until(&Deadline::after_us(HALT_US), &condition).is_err()
            {
                if Deadline::after_us(SPIN_US).wait_until(&condition).is_ok() {
                    return true;
                }
            }
            condition()
        });
        if let Err(Stalled { idle_ms }) = waited {
            panic!(
                "cpu {}: wait for another CPU timed out: no CPU made progress for {idle_ms} ms",
                cpu::current()
            );
        }
    }

    /// Waits until all CPUs have arrived, or the barrier is aborted.
    ///
    /// **Context:** thread, interrupts on. Halts.
    ///
    /// # Panics
    /// If no CPU makes progress for [`STRESS_GRACE_MS`].
    pub(crate) fn wait(&self) {
        if self.is_aborted() {
            return;
        }
        let round = self.round.load(Ordering::Acquire);
        WAITS.set(1);
        if self.waiting.fetch_add(1, Ordering::AcqRel) + 1 == self.parties.load(Ordering::Acquire) {
            self.waiting.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
            smp::wake_others_or_warn();
        } else {
            let is_over = || self.round.load(Ordering::Acquire) != round || self.is_aborted();
            let waited =
                self.wait_for_progress(|ms| time::halt_until(&Deadline::after_ms(ms), is_over).is_ok());
            if let Err(Stalled { idle_ms }) = waited {
                panic!(
                    "cpu {}: barrier timed out: {} of {} CPUs arrived, no progress for {idle_ms} ms by cpu {}",
                    cpu::current(),
                    self.waiting.load(Ordering::Relaxed),
                    self.parties.load(Ordering::Relaxed),
                    Missing(&self.cpus),
                );
            }
        }
        WAITS.set(0);
    }

    /// Repeats `wait`, which waits for the given number of milliseconds and returns whether the awaited event has occurred.
    fn wait_for_progress(&self, wait: impl Fn(u64) -> bool) -> Result<(), Stalled> {
        let mut detector = StallDetector::new(STRESS_GRACE_MS);
        while !wait(detector.interval_ms()) {
            detector.check(self.progress())?;
        }
        Ok(())
    }

    /// A number that changes whenever one of the CPUs completes operations or arrives.
    fn progress(&self) -> u64 {
        let operations = self.cpus.iter().filter_map(|cpu| smp::cpus()[cpu.index()].get(OPERATIONS));
        let operations = operations.map(|count| count.load(Ordering::Relaxed)).fold(0, u64::wrapping_add);
        let arrivals = self.round.load(Ordering::Relaxed) + u64::from(self.waiting.load(Ordering::Relaxed));
        operations.wrapping_add(arrivals)
    }
}

/// Displays the CPUs that wait at no barrier.
struct Missing<'a>(&'a CpuSet);

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = |cpu: &CpuId| {
            smp::cpus()[cpu.index()].get(WAITS).is_some_and(|waits| waits.load(Ordering::Relaxed) != 0)
        };
        for (index, cpu) in self.0.iter().filter(|cpu| !waits(cpu)).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{cpu}")?;
        }
        Ok(())
    }
}
