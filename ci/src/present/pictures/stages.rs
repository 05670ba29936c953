//! The stages of the boot on the BSP, from the kernel's entry to its work.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::base::numbers::time;
use crate::present::pictures::boot::step;
use crate::present::pictures::canvas::{Picture, PictureError, draw, letters, words};
use crate::present::pictures::palette::{FAINT, GRID, series};
use crate::report::Report;

/// Room for the stages' names, in pixels.
const NAMES: i32 = 96;

/// Room for how long the last of them took.
const BEYOND: i32 = 62;

/// The height of a stage's line.
const LINE: i32 = 18;

/// The height of the first line.
const TOP: i32 = 10;

/// The stage that the boot ends in.
const WORK: &str = "work";

/// A stage, when it began and when it ended.
type Lasted<'a> = (&'a str, u64, u64);

/// Returns the time before the first stage, and each stage up to the work. If the run ended earlier, only the beginning of the last
/// stage is known.
fn lasted(report: &Report) -> Vec<Lasted<'_>> {
    let names = ["rt0"].into_iter().chain(report.boot_stages.iter().map(|stage| stage.stage.as_str()));
    let began = || [0].into_iter().chain(report.boot_stages.iter().map(|stage| stage.began_us));
    let all = names.zip(began()).zip(began().skip(1)).map(|((name, from), to)| (name, from, to.max(from)));
    all.take_while(|(name, ..)| *name != WORK).collect()
}

/// The picture; none where no stage is known.
pub(crate) fn picture(report: &Report) -> Result<Option<Picture>, PictureError> {
    let stages = lasted(report);
    let Some((_, _, end)) = stages.last().copied() else { return Ok(None) };
    let legend =
        "The BSP's way from the kernel's entry to its work: each stage from its beginning to that of the \
                  next, and how long it took."
            .to_owned();
    let bottom = TOP + stages.len() as i32 * LINE;
    draw(
        "stages",
        "The boot, stage by stage",
        legend,
        |_| (bottom + 44) as u32,
        |area, _| {
            let width = area.dim_in_pixel().0 as i32 - NAMES - BEYOND;
            let end = end.max(1);
            let x = |us: u64| NAMES + (us.min(end) as f64 / end as f64 * f64::from(width)) as i32;
            let (unit, unit_name) = if end >= 10_000 { (1000.0, "ms") } else { (1.0, "µs") };
            let step = step(end as f64 / unit / f64::from((width / 62).max(2)));
            let mut tick = 0.0;
            while tick * unit <= end as f64 {
                let at = x((tick * unit) as u64);
                area.draw(&PathElement::new([(at, TOP - 4), (at, bottom + 4)], GRID))?;
                let text = if step < 1.0 { format!("{tick:.1}") } else { format!("{tick:.0}") };
                words(area, &text, (at, bottom + 14), letters(11.0).color(&FAINT), HPos::Center)?;
                tick += step;
            }
            let name = format!("{unit_name} since the kernel's entry");
            let below = (NAMES + width / 2, bottom + 31);
            words(area, &name, below, letters(11.0).color(&FAINT), HPos::Center)?;
            for (place, (name, from, to)) in stages.iter().enumerate() {
                let (top, middle) = (TOP + place as i32 * LINE, TOP + place as i32 * LINE + LINE / 2);
                words(area, name, (NAMES - 8, middle), letters(11.0), HPos::Right)?;
                // However short, it was there.
                let (left, right) = (x(*from), x(*to).max(x(*from) + 1));
                let bar = Rectangle::new([(left, top + 3), (right, top + LINE - 3)], series(0).filled());
                area.draw(&bar)?;
                words(area, &time((to - from) as f64), (right + 5, middle), letters(11.0), HPos::Left)?;
            }
            Ok(())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{report, seen};

    #[test]
    fn a_stage_lasts_until_the_next_and_the_work_is_none() {
        let mut report = report(&seen(8, &["pairs"], &["octopod"]));
        let expected = [
            ("rt0", 0, 9),
            ("loader", 9, 900),
            ("memory", 900, 26_000),
            ("clock", 26_000, 46_000),
            ("aps", 46_000, 52_000),
        ];
        assert_eq!(lasted(&report), expected);
        report.boot_stages.truncate(2);
        assert_eq!(lasted(&report), expected[..2]);
        report.boot_stages.clear();
        assert!(lasted(&report).is_empty() && picture(&report).unwrap().is_none());
    }

    #[test]
    fn a_stage_that_begins_behind_the_end_is_drawn_within_the_picture() {
        let mut report = report(&seen(8, &["pairs"], &["octopod"]));
        report.boot_stages[0].began_us = 1 << 53;
        assert!(picture(&report).unwrap().is_some());
    }
}
