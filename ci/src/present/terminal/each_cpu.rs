//! The rate of each CPU on one line, from one progress record to the next.

use octopod::wire::{Progress, cpus_per_lane};

use crate::present::table::short;

/// So many figures fit in a line of 80 columns; of more CPUs there are bars.
const MAX_FIGURES: usize = 10;

/// Bars by their height. A lane that stands still has a dot.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The record before.
#[derive(Debug, Default)]
pub(crate) struct EachCpu {
    index: Option<u32>,
    elapsed_ms: u64,
    lanes: Vec<u64>,
}

impl EachCpu {
    /// The line, of 80 columns at most; `None` if this record has no news.
    pub(crate) fn line(&mut self, progress: &Progress<String>) -> Option<String> {
        if self.index != Some(progress.index) {
            *self = EachCpu { index: Some(progress.index), ..EachCpu::default() };
        }
        let ms = progress.elapsed_ms.checked_sub(self.elapsed_ms).filter(|ms| *ms > 0)?;
        if progress.lanes.is_empty() {
            return None;
        }
        let before = self.lanes.iter().copied().chain(std::iter::repeat(0));
        let rates: Vec<u64> = progress
            .lanes
            .iter()
            .zip(before)
            .map(|(now, before)| now.saturating_sub(before).saturating_mul(1000) / ms)
            .collect();
        (self.elapsed_ms, self.lanes) = (progress.elapsed_ms, progress.lanes.to_vec());
        Some(drawn(progress.cpus, &rates))
    }
}

fn drawn(cpus: u32, rates: &[u64]) -> String {
    let each = cpus_per_lane(cpus as usize);
    let whose = match cpus {
        1 => "CPU 0".to_owned(),
        _ => format!("CPUs 0–{}", cpus.saturating_sub(1)),
    };
    if each == 1 && rates.len() <= MAX_FIGURES {
        let figures: String = rates.iter().map(|rate| format!(" {:>5}", short(*rate))).collect();
        return format!("{whose}, a second:{figures}");
    }
    let most = rates.iter().copied().max().unwrap_or(0);
    let bar = |rate: &u64| match rate {
        0 => '·',
        rate => BARS[(u128::from(*rate) * 8).div_ceil(u128::from(most)).clamp(1, 8) as usize - 1],
    };
    let bars: String = rates.iter().map(bar).collect();
    let share = if each == 1 { String::new() } else { format!(", {each} each") };
    let least = rates.iter().copied().min().unwrap_or(0);
    format!("{whose}{share}: {bars} {} to {} a second", short(least), short(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(cpus: u32, index: u32, elapsed_ms: u64, lanes: &[u64]) -> Progress<String> {
        Progress {
            workload: "pairs".to_owned(),
            allocator: "octopod".to_owned(),
            cpus,
            index,
            of: 9,
            elapsed_ms,
            budget_ms: 1000,
            operations: lanes.iter().sum(),
            lanes: lanes.iter().copied().collect(),
        }
    }

    #[test]
    fn a_line_is_about_the_time_since_the_one_before() {
        let mut each = EachCpu::default();
        let mut line = |progress| each.line(&progress);
        assert_eq!(line(progress(2, 0, 500, &[1_000, 0])).unwrap(), "CPUs 0–1, a second:  2.0k     0");
        assert_eq!(line(progress(2, 0, 600, &[1_000, 7])).unwrap(), "CPUs 0–1, a second:     0    70");
        assert_eq!(line(progress(2, 0, 600, &[9_000, 9])), None);
        // The next workload begins anew.
        assert_eq!(line(progress(1, 1, 100, &[100])).unwrap(), "CPU 0, a second:  1.0k");
    }

    #[test]
    fn of_many_cpus_there_are_bars_and_one_that_stands_still_is_seen() {
        let mut lanes = [800u64; 12];
        (lanes[0], lanes[5]) = (0, 1);
        let line = EachCpu::default().line(&progress(12, 0, 1000, &lanes)).unwrap();
        assert_eq!(line, "CPUs 0–11: ·████▁██████ 0 to 800 a second");
        let line = EachCpu::default().line(&progress(300, 0, 1000, &[16; 19])).unwrap();
        assert_eq!(line, "CPUs 0–299, 16 each: ███████████████████ 16 to 16 a second");
    }

    #[test]
    fn the_longest_lines_fit_a_terminal() {
        for cpus in [1, 8, 10, 11, 32, 33, 300, 1024, 4096] {
            let each = cpus_per_lane(cpus as usize);
            let lanes = vec![999_900_000_000; (cpus as usize).div_ceil(each)];
            let line = EachCpu::default().line(&progress(cpus, 0, 1000, &lanes)).unwrap();
            assert!(line.chars().count() < 80, "{}: {line}", line.chars().count());
        }
    }
}
