//! Time-outs that do not count time in which the host stopped the machine.
//!
//! A host may stop the machine for seconds: a laptop sleeps, a virtual machine is paused or migrated. The clock then
//! jumps. A wait for another CPU with a [`Deadline`](super::Deadline) would end at once, although that CPU had no time to
//! run. A [`Timeout`] counts the time that the waiting CPU observes: each check counts at most one step, an eighth of the
//! time-out and no more than [`STEP_NS`].

/// The most time that one check counts, in nanoseconds. A waiting CPU checks more often, unless the host stops it.
pub(crate) const STEP_NS: u64 = 500_000_000;

/// The remaining time of a time-out. The caller reads the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    left_ns: u64,
    checked_ns: u64,
    step_ns: u64,
}

impl Timeout {
    /// Creates a time-out of `timeout_ns` nanoseconds from `now_ns` on.
    pub const fn new(now_ns: u64, timeout_ns: u64) -> Timeout {
        let eighth_ns = timeout_ns.div_ceil(8);
        let step_ns = if eighth_ns < STEP_NS { eighth_ns } else { STEP_NS };
        Timeout { left_ns: timeout_ns, checked_ns: now_ns, step_ns }
    }

    /// Counts the time since the last check. Returns whether no time is left.
    pub fn check(&mut self, now_ns: u64) -> bool {
        let passed = now_ns.saturating_sub(self.checked_ns).min(self.step_ns);
        self.checked_ns = self.checked_ns.max(now_ns);
        self.left_ns = self.left_ns.saturating_sub(passed);
        self.left_ns == 0
    }

    /// Skips the time since the last check, in which this CPU has not waited.
    pub fn skip(&mut self, now_ns: u64) {
        self.checked_ns = self.checked_ns.max(now_ns);
    }

    /// Returns the remaining time, in nanoseconds.
    pub const fn left_ns(&self) -> u64 {
        self.left_ns
    }
}

#[cfg(target_os = "none")]
mod kernel {
    use super::Timeout;
    use crate::sync::TimedOut;
    use crate::sync::deadline::{now_ns, spin_until};

    impl Timeout {
        /// Creates a time-out of `ms` milliseconds from now on. **Context:** any.
        pub fn after_ms(ms: u64) -> Timeout {
            Timeout::new(now_ns(), ms.saturating_mul(1_000_000))
        }

        /// Counts the time since the last check. Returns whether no time is left. **Context:** any.
        pub fn has_passed(&mut self) -> bool {
            self.check(now_ns())
        }

        /// Skips the time from the last check up to now. **Context:** any.
        pub fn resume(&mut self) {
            self.skip(now_ns());
        }

        /// Spins until the condition holds or no time is left. For waits that are short or with interrupts off. Does not
        /// change the interrupt flag. **Context:** any.
        ///
        /// # Errors
        /// [`TimedOut`] if the condition does not hold at the end.
        pub fn wait_until(&mut self, condition: impl FnMut() -> bool) -> Result<(), TimedOut> {
            spin_until(condition, || self.has_passed())
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_time_out_ends_when_its_time_has_been_seen_to_pass() {
        let mut timeout = Timeout::new(7, 4 * SECOND);
        let checks = (1..).map(|check| 7 + check * STEP_NS / 2);
        let used_up = checks.take_while(|now| !timeout.check(*now)).count() as u64;
        assert_eq!(used_up, 4 * SECOND / (STEP_NS / 2) - 1);
        assert_eq!(timeout.left_ns(), 0);
    }

    #[test]
    fn a_jump_of_the_clock_uses_up_one_step() {
        for jump in [STEP_NS, 12 * SECOND, u64::MAX / 2] {
            let mut timeout = Timeout::new(SECOND, 4 * SECOND);
            assert!(!timeout.check(SECOND + jump));
            assert_eq!(timeout.left_ns(), 4 * SECOND - STEP_NS);
        }
    }

    #[test]
    fn a_clock_that_goes_back_takes_nothing_and_gives_nothing() {
        let mut timeout = Timeout::new(SECOND, 8 * STEP_NS);
        assert!(!timeout.check(0));
        assert!(!timeout.check(SECOND));
        assert_eq!(timeout.left_ns(), 8 * STEP_NS);
        assert!((1..8).all(|step| !timeout.check(SECOND + step * STEP_NS)));
        assert!(timeout.check(SECOND + 8 * STEP_NS));
    }

    #[test]
    fn a_short_time_out_outlasts_a_stop_too() {
        // Such as that of a panic for the other CPUs, or of an interrupt controller.
        let mut timeout = Timeout::new(0, SECOND / 5);
        assert!((1..8).all(|check| !timeout.check(check * 12 * SECOND)));
        assert!(timeout.check(8 * 12 * SECOND));
        assert!(Timeout::new(0, 0).check(0));
    }

    #[test]
    fn time_in_which_nothing_waits_is_skipped() {
        let mut timeout = Timeout::new(0, 4 * SECOND);
        timeout.skip(3 * SECOND);
        assert!(!timeout.check(3 * SECOND));
        assert_eq!(timeout.left_ns(), 4 * SECOND);
    }

    #[test]
    fn many_stops_leave_time_for_as_many_checks() {
        let mut timeout = Timeout::new(0, 4 * SECOND);
        let used_up = (1..).take_while(|check| !timeout.check(check * 12 * SECOND)).count();
        assert_eq!(used_up as u64 + 1, 4 * SECOND / STEP_NS);
    }
}
