//! Detects that other CPUs make no progress.
//!
//! A workload takes as long as the host lets it: under an emulator on a busy host a CPU may wait for a core longer than its
//! share of the work takes. So a wait for other CPUs has no time limit. It ends when they make no progress.

/// Checks per grace period.
const CHECKS: u32 = 16;

/// The state of one wait.
#[derive(Debug)]
pub(crate) struct StallDetector {
    grace_ms: u64,
    /// The progress at the previous check.
    progress: Option<u64>,
    /// Consecutive checks that found the same progress.
    idle: u32,
}

/// No CPU made progress in the grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stalled {
    /// For how long, in milliseconds.
    pub idle_ms: u64,
}

impl StallDetector {
    /// A detector that reports a stall after `grace_ms` milliseconds without progress.
    pub(crate) const fn new(grace_ms: u64) -> StallDetector {
        StallDetector { grace_ms, progress: None, idle: 0 }
    }

    /// The time from one check to the next, in milliseconds. If the host stops all CPUs for longer, that counts as one interval.
    pub(crate) const fn interval_ms(&self) -> u64 {
        self.grace_ms.div_ceil(CHECKS as u64)
    }

    /// Compares `progress`, any number that changes with each step of another CPU, with that of the previous check.
    ///
    /// # Errors
    /// It has been the same for the grace period.
    pub(crate) fn check(&mut self, progress: u64) -> Result<(), Stalled> {
        self.idle = if self.progress.replace(progress) == Some(progress) { self.idle + 1 } else { 0 };
        if self.idle < CHECKS {
            Ok(())
        } else {
            Err(Stalled { idle_ms: u64::from(self.idle) * self.interval_ms() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks until a stall is reported, at most `most` times. Returns the number of checks before, and the stall.
    fn checks(
        detector: &mut StallDetector,
        most: u32,
        mut progress: impl FnMut(u32) -> u64,
    ) -> Option<(u32, Stalled)> {
        (0..most).find_map(|check| Some((check, detector.check(progress(check)).err()?)))
    }

    #[test]
    fn a_wait_without_progress_ends_after_the_grace_period() {
        let mut detector = StallDetector::new(1600);
        assert_eq!(detector.interval_ms(), 100);
        assert_eq!(checks(&mut detector, 1000, |_| 7), Some((16, Stalled { idle_ms: 1600 })));
    }

    #[test]
    fn a_wait_with_progress_has_no_time_limit() {
        let mut detector = StallDetector::new(1600);
        assert_eq!(checks(&mut detector, 100_000, |check| u64::from(check / 15)), None);
        assert_eq!(
            checks(&mut detector, 1000, |_| 0),
            Some((16, Stalled { idle_ms: 1600 })),
            "and then no longer"
        );
    }

    #[test]
    fn a_short_grace_period_is_rounded_up() {
        let mut detector = StallDetector::new(1);
        assert_eq!(checks(&mut detector, 1000, |_| 0), Some((16, Stalled { idle_ms: 16 })));
    }
}
