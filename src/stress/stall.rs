//! How long one waits for CPUs that are at work: as long as any of them comes further.
//!
//! A workload takes as long as its host lets it: under an emulator on a busy host a CPU may wait for a core longer than its
//! share of the work would take it. So the wait has no end of its own, and whoever waits looks at the clock's ticks only
//! while nothing happens.

/// How often one looks in the time after which one gives up.
const LOOKS: u32 = 16;

/// The patience of one wait.
#[derive(Debug)]
pub struct StallDetector {
    grace_ms: u64,
    /// What the others had done at the last look.
    steps: Option<u64>,
    /// Looks since then at which they had done no more.
    idle: u32,
}

/// Nobody has come further for the time of grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// For how long.
    pub idle_ms: u64,
}

impl StallDetector {
    /// To be given up when nothing has happened for so long.
    pub const fn new(grace_ms: u64) -> StallDetector {
        StallDetector { grace_ms, steps: None, idle: 0 }
    }

    /// How long it is from one look to the next. A host that stops all CPUs for long makes it one look all the same.
    pub const fn look_ms(&self) -> u64 {
        self.grace_ms.div_ceil(LOOKS as u64)
    }

    /// Looks at how much the others have done, by any measure that changes whenever they do something.
    ///
    /// # Errors
    /// If that has been the same for the time of grace.
    pub fn look(&mut self, steps: u64) -> Result<(), Stalled> {
        self.idle = if self.steps.replace(steps) == Some(steps) { self.idle + 1 } else { 0 };
        if self.idle < LOOKS {
            Ok(())
        } else {
            Err(Stalled { idle_ms: u64::from(self.idle) * self.look_ms() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks until patience ends; at most so often.
    fn looks(
        patience: &mut StallDetector,
        most: u32,
        mut steps: impl FnMut(u32) -> u64,
    ) -> Option<(u32, Stalled)> {
        (0..most).find_map(|look| Some((look, patience.look(steps(look)).err()?)))
    }

    #[test]
    fn whoever_does_nothing_is_given_up_after_the_grace() {
        let mut patience = StallDetector::new(1600);
        assert_eq!(patience.look_ms(), 100);
        assert_eq!(looks(&mut patience, 1000, |_| 7), Some((16, Stalled { idle_ms: 1600 })));
    }

    #[test]
    fn whoever_comes_further_is_waited_for_however_long_it_takes() {
        let mut patience = StallDetector::new(1600);
        assert_eq!(looks(&mut patience, 100_000, |look| u64::from(look / 15)), None);
        assert_eq!(
            looks(&mut patience, 1000, |_| 0),
            Some((16, Stalled { idle_ms: 1600 })),
            "and then no longer"
        );
    }

    #[test]
    fn a_short_grace_is_no_less_than_it_says() {
        let mut patience = StallDetector::new(1);
        assert_eq!(looks(&mut patience, 1000, |_| 0), Some((16, Stalled { idle_ms: 16 })));
    }
}
