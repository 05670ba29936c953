//! The duration of a run, without the time in which the launcher itself was stopped.

use std::time::{Duration, Instant};

/// The longest wait between two readings of the clock.
pub const TICK: Duration = Duration::from_millis(200);

/// A busy host may delay a reading by so much. A longer delay was a stop: Ctrl-Z, SIGSTOP, a debugger.
const LATENESS: Duration = Duration::from_secs(2);

/// A clock that stops while the launcher does. It has to be read at least every [`TICK`].
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    limit: Duration,
    used: Duration,
    read_at: Instant,
}

impl RunClock {
    /// A clock that begins at `now` and runs out after `limit`.
    pub fn new(limit: Duration, now: Instant) -> RunClock {
        RunClock { limit, used: Duration::ZERO, read_at: now }
    }

    /// The remaining time at `now`; zero after the deadline.
    pub fn left(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.read_at);
        self.read_at = now;
        self.used += if passed > TICK + LATENESS { TICK } else { passed };
        self.limit.saturating_sub(self.used)
    }

    /// Begins again: the whole limit is left.
    pub fn restart(&mut self) {
        self.used = Duration::ZERO;
    }

    /// Allows `more` time, from now on.
    pub fn extend(&mut self, more: Duration) {
        self.limit = self.used + more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_of_the_launcher_does_not_count() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut clock = RunClock::new(Duration::from_secs(10), begin);
        assert_eq!(clock.left(at(200)), Duration::from_millis(9_800));
        // A busy host makes it late.
        assert_eq!(clock.left(at(2_200)), Duration::from_millis(7_800));
        // Stopped for a quarter of an hour.
        assert_eq!(clock.left(at(902_200)), Duration::from_millis(7_600));
        for tick in 1..=38 {
            clock.left(at(902_200 + tick * 200));
        }
        assert_eq!(clock.left(at(902_200 + 38 * 200)), Duration::ZERO);
        clock.extend(Duration::from_secs(3));
        assert_eq!(clock.left(at(902_200 + 38 * 200)), Duration::from_secs(3));
    }
}
