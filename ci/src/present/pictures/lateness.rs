//! The lateness of timers.

use std::collections::BTreeMap;

use plotters::prelude::*;

use crate::present::pictures::canvas::{Picture, PictureError, draw};
use crate::present::pictures::palette::series;
use crate::present::pictures::panels::{Axis, HEIGHT, frame, power};
use crate::report::Report;

/// The lowest value of the axis of counts: below one, which is to be seen.
const GROUND: f64 = -0.2;

/// A tick of an axis that is linear in the logarithm of nanoseconds to the base of ten.
fn power_of_time(value: f64) -> String {
    let whole = value.round();
    if (value - whole).abs() > 0.01 || !(0.0..12.0).contains(&whole) {
        return String::new();
    }
    let power = whole as u32;
    let unit = ["ns", "µs", "ms", "s"][power as usize / 3];
    format!("{} {unit}", 10u32.pow(power % 3))
}

/// The timers of all CPUs by how late they were; none where no timer has expired.
pub(crate) fn picture(report: &Report) -> Result<Option<Picture>, PictureError> {
    let mut all: BTreeMap<u64, u64> = BTreeMap::new();
    for (top, count) in report.lateness.iter().flat_map(|cpu| &cpu.buckets_ns) {
        let sum = all.entry((*top).max(1)).or_default();
        *sum = sum.saturating_add(*count);
    }
    all.retain(|_, count| *count > 0);
    let (Some(least), Some(most)) = (all.keys().next(), all.keys().next_back()) else { return Ok(None) };
    let log = |value: u64| (value as f64).log10();
    // A bucket begins where the one before ends, which is at half.
    let (from, to) = (log(*least) - 2f64.log10(), log(*most));
    let highest = all.values().map(|count| log(*count)).fold(0.0, f64::max) + 0.3;
    let legend = "How many timers were how late, of all CPUs: from each timer's deadline to the interrupt that found it \
                  due. Each bar is as wide as a power of two, the first holds all that were less than a microsecond late; \
                  the scale of counts is logarithmic."
        .to_owned();
    draw(
        "lateness",
        "Lateness of timers",
        legend,
        |_| HEIGHT,
        |area, _| {
            let x = Axis { range: from - 0.1..to + 0.1, name: "late by", label: &power_of_time, ticks: 10 };
            let y = Axis { range: GROUND..highest, name: "timers", label: &power, ticks: 6 };
            let mut chart = frame(area, "all timers", x, y)?;
            let bars = all.iter().map(|(top, count)| {
                let right = log(*top);
                let corners = [(right - 2f64.log10() + 0.02, GROUND), (right - 0.02, log(*count))];
                Rectangle::new(corners, series(0).filled())
            });
            chart.draw_series(bars)?;
            Ok(())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_times() {
        let ticks = [0.0, 3.0, 4.0, 5.0, 6.0, 9.0, 11.0].map(power_of_time);
        assert_eq!(ticks, ["1 ns", "1 µs", "10 µs", "100 µs", "1 ms", "1 s", "100 s"]);
        assert_eq!([-1.0, 3.5, 12.0].map(power_of_time), ["", "", ""]);
    }
}
