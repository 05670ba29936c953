//! When a CPU counts as stuck: the watchdog's rule. It compiles on any host, where tests run it.
//!
//! Each CPU at work counts its *heartbeats*: interrupts of its own timer with a fixed period. At each it reads the count
//! of another CPU. That CPU is stuck if its count has not changed for [`BEATS_PER_TIMEOUT`] heartbeats of the watching
//! CPU in a row. Heartbeats are the only clock here: when the host stops the machine, no CPU's count changes, and the one
//! late interrupt afterwards counts once, however long the stop was.

/// The heartbeats of the watching CPU in the watchdog's time-out.
pub(crate) const BEATS_PER_TIMEOUT: u32 = 8;

/// The CPU that a CPU watches, and for how long that one has had no heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeartbeatMonitor {
    target: Option<u32>,
    beats: u64,
    stalled: u32,
}

impl HeartbeatMonitor {
    /// No CPU is watched.
    pub(crate) const NONE: HeartbeatMonitor = HeartbeatMonitor { target: None, beats: 0, stalled: 0 };

    /// Records a heartbeat of the watching CPU. `watched` is the CPU to watch and its count, or `None`. Returns whether
    /// that CPU has become stuck: once, until its count changes.
    pub(crate) fn beat(&mut self, watched: Option<(u32, u64)>) -> bool {
        let Some((cpu, beats)) = watched else {
            *self = HeartbeatMonitor::NONE;
            return false;
        };
        if (self.target, self.beats) != (Some(cpu), beats) {
            *self = HeartbeatMonitor { target: Some(cpu), beats, stalled: 0 };
            return false;
        }
        self.stalled = self.stalled.saturating_add(1);
        self.stalled == BEATS_PER_TIMEOUT
    }
}

/// Returns whether the host has stopped the machine since `from_ns`, or the clock has jumped: CPUs had heartbeats until then, and
/// none of them had two more since. Of each other CPU, `beats` has the times of the last heartbeat but one and of the last, in
/// nanoseconds; 0 for none. After a stop each CPU takes one late interrupt. Where no CPU has heartbeats, nothing is known, and
/// the answer is no.
pub(crate) fn has_stopped(beats: impl Iterator<Item = [u64; 2]>, from_ns: u64, period_ns: u64) -> bool {
    let mut is_beating = false;
    for [last_but_one, last] in beats {
        // A part of a period later: a CPU may have beaten after `from_ns` and before the stop.
        if last_but_one >= from_ns + period_ns / 2 {
            return false;
        }
        is_beating |= last + 2 * period_ns >= from_ns;
    }
    is_beating
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_no_long_wait() {
        let stopped = |beats: &[[u64; 2]]| has_stopped(beats.iter().copied(), 10_000, 500);
        // It waits while others beat on.
        assert!(!stopped(&[[11_000, 11_500]]));
        assert!(!stopped(&[[9_000, 9_500], [10_300, 10_800]]));
        // All stand still; then each takes its late interrupt, or has not taken it yet.
        assert!(stopped(&[[9_600, 18_000], [9_200, 9_700]]));
        // One has beaten shortly before the stop.
        assert!(stopped(&[[10_100, 18_000]]));
        // None beats, or none is there.
        assert!(!stopped(&[[1_000, 1_500]]));
        assert!(!stopped(&[]));
    }

    #[test]
    fn a_cpu_is_stuck_after_so_many_beats_and_once() {
        let mut monitor = HeartbeatMonitor::NONE;
        let reports: Vec<_> = (0..3 * BEATS_PER_TIMEOUT).filter(|_| monitor.beat(Some((3, 7)))).collect();
        assert_eq!(reports.len(), 1);
        // Its count changes once, then no more.
        let mut again = (0..=BEATS_PER_TIMEOUT).map(|_| monitor.beat(Some((3, 8))));
        assert_eq!(again.position(|stuck| stuck), Some(BEATS_PER_TIMEOUT as usize));
    }

    #[test]
    fn a_cpu_with_progress_and_a_new_target_are_not_stuck() {
        let mut monitor = HeartbeatMonitor::NONE;
        for beats in 0..100 {
            assert!(!monitor.beat(Some((1, beats / u64::from(BEATS_PER_TIMEOUT)))));
        }
        for round in 0..100 {
            assert!(!monitor.beat(Some((round / BEATS_PER_TIMEOUT, 0))));
        }
        for round in 0..100u32 {
            assert!(!monitor.beat((!round.is_multiple_of(BEATS_PER_TIMEOUT)).then_some((1, 0))));
        }
    }
}
