//! Where all CPUs of a part meet.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::config::STRESS_GRACE_MS;
use crate::smp;
use crate::sync::Deadline;
use crate::time;

/// A meeting point, to be used 2^32 times by all CPUs together. Whoever waits there has interrupts on.
pub struct Meeting {
    cpus: u32,
    arrived: AtomicU32,
    is_over: AtomicBool,
}

impl Meeting {
    /// For so many CPUs.
    pub const fn new(cpus: u32) -> Meeting {
        Meeting { cpus, arrived: AtomicU32::new(0), is_over: AtomicBool::new(false) }
    }

    /// Waits for all others.
    ///
    /// # Panics
    /// If they do not come: then they never will, and the part has no result.
    pub fn wait(&self) {
        let round = self.arrived.fetch_add(1, Ordering::AcqRel) / self.cpus;
        let all = (round + 1) * self.cpus;
        let have_come =
            || self.arrived.load(Ordering::Acquire) >= all || self.is_over.load(Ordering::Acquire);
        if have_come() {
            smp::wake_others_or_warn();
        } else if time::halt_until(&Deadline::after_ms(STRESS_GRACE_MS), have_come).is_err() {
            panic!("a CPU did not come to a meeting in {STRESS_GRACE_MS} ms");
        }
    }

    /// Whether a CPU has failed.
    pub fn is_off(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Nobody waits any more: this CPU has failed and will not come again.
    pub fn call_off(&self) {
        self.is_over.store(true, Ordering::Release);
        smp::wake_others_or_warn();
    }
}
