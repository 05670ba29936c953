//! When a CPU counts as stuck: the watchdog's rule, which compiles and is tested on any host.
//!
//! Each CPU at work counts its *beats*, interrupts of its own timer at a fixed period, and at each looks at the beats of
//! another. That one is stuck if its count has not moved during [`BEATS`] beats of the watcher's in a row. The watcher's
//! beats are the only clock here: when the host stops the whole machine, nobody's beats go on, and the one late interrupt
//! afterwards counts once, however much time it stands for.

/// So many beats of a watcher's, without one of the watched, are the watchdog's time.
pub const BEATS: u32 = 8;

/// Whom a CPU watches, and since when that one has not moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    whom: Option<u32>,
    beats: u64,
    unmoved: u32,
}

impl Watch {
    /// Watching nobody.
    pub const NOBODY: Watch = Watch { whom: None, beats: 0, unmoved: 0 };

    /// At a beat of the watcher's: it is to watch that CPU, which has counted so many beats; `None` if there is none.
    /// Whether that CPU is stuck; said once, until it moves.
    pub fn beat(&mut self, watched: Option<(u32, u64)>) -> bool {
        let Some((cpu, beats)) = watched else {
            *self = Watch::NOBODY;
            return false;
        };
        if (self.whom, self.beats) != (Some(cpu), beats) {
            *self = Watch { whom: Some(cpu), beats, unmoved: 0 };
            return false;
        }
        self.unmoved = self.unmoved.saturating_add(1);
        self.unmoved == BEATS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_is_stuck_after_so_many_beats_and_once() {
        let mut watch = Watch::NOBODY;
        let said: Vec<_> = (0..3 * BEATS).filter(|_| watch.beat(Some((3, 7)))).collect();
        assert_eq!(said.len(), 1);
        // It moves, and stops again.
        let mut again = (0..=BEATS).map(|_| watch.beat(Some((3, 8))));
        assert_eq!(again.position(|stuck| stuck), Some(BEATS as usize));
    }

    #[test]
    fn who_moves_or_changes_is_not_stuck() {
        let mut watch = Watch::NOBODY;
        for beats in 0..100 {
            assert!(!watch.beat(Some((1, beats / u64::from(BEATS)))));
        }
        for round in 0..100 {
            assert!(!watch.beat(Some((round / BEATS, 0))));
        }
        for round in 0..100u32 {
            assert!(!watch.beat((!round.is_multiple_of(BEATS)).then_some((1, 0))));
        }
    }
}
