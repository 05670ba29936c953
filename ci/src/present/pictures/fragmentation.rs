//! The fragmentation score of memory, round by round.

use plotters::prelude::*;

use crate::present::pictures::canvas::{Picture, PictureError, draw, key, key_height};
use crate::present::pictures::palette::series;
use crate::present::pictures::panels::{Axis, Panels, counted, frame};
use crate::present::pictures::stress::{KEY_GAP, allocators, widest, workloads};
use crate::report::Report;
use crate::report::stress::StressReport;

/// Draws a panel for each workload that measures fragmentation, with a line for each allocator. Returns `None` if none does.
pub(crate) fn picture(report: &Report) -> Result<Option<Picture>, PictureError> {
    let measured: Vec<StressReport> =
        report.stress.iter().filter(|result| !result.fragmentation.is_empty()).cloned().collect();
    if measured.is_empty() {
        return Ok(None);
    }
    let (workloads, allocators) = (workloads(&measured), allocators(&measured));
    let names: Vec<_> = allocators.iter().enumerate().map(|(place, name)| (series(place), *name)).collect();
    let legend = "The share of free memory that lies in free blocks of 2 MiB, before the first round and after each. 100 % is the \
                  least fragmentation: every free frame could serve a large page."
        .to_owned();
    let height = |format: super::Format| {
        Panels::new(workloads.len(), format).height() + key_height(format.width() - 20, &names) + KEY_GAP
    };
    draw("fragmentation", "Fragmentation score by round", legend, height, |area, format| {
        let used = key(&area.margin(0, 0, 10, 10), (0, 14), &names)?;
        let (_, below) = area.split_vertically(used + KEY_GAP as i32);
        for (area, workload) in Panels::new(workloads.len(), format).split(&below).iter().zip(&workloads) {
            let shown: Vec<_> = allocators
                .iter()
                .enumerate()
                .filter_map(|(place, allocator)| Some((place, widest(&measured, workload, allocator)?)))
                .collect();
            let rounds = shown.iter().map(|(_, result)| result.fragmentation.len()).max().unwrap_or(1);
            let x =
                Axis { range: 0.0..(rounds as f64 - 1.0).max(1.0), name: "round", label: &counted, ticks: 6 };
            let y = Axis { range: 0.0..105.0, name: "score in %", label: &counted, ticks: 6 };
            let mut chart = frame(area, workload, x, y)?;
            for (place, result) in shown {
                let points =
                    result.fragmentation.iter().enumerate().map(|(round, score)| (round as f64, *score));
                chart.draw_series(LineSeries::new(points, series(place).stroke_width(2)))?;
            }
        }
        Ok(())
    })
}
