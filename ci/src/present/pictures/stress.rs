//! The measurements of the stress: the operations of each CPU, their growth with the number of CPUs, and their latency.

use octopod::wire::Cycles;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::present::pictures::canvas::{Drawn, Picture, PictureError, draw, key, key_height, letters};
use crate::present::pictures::lanes::{Spread, lanes};
use crate::present::pictures::palette::{FAINT, INK, series};
use crate::present::pictures::panels::{Axis, Chart, Panels, counted, frame, power};
use crate::report::Report;
use crate::report::stress::StressReport;

/// Room above the panels where there is a key.
pub(crate) const KEY_GAP: u32 = 12;

/// The lowest value of a logarithmic axis of counts: below one, which is to be seen.
const GROUND: f64 = -0.2;

/// Each value of a key, once, in the order in which they come.
fn firsts<'a, T: PartialEq>(stress: &'a [StressReport], key: impl Fn(&'a StressReport) -> T) -> Vec<T> {
    let mut seen = Vec::new();
    for value in stress.iter().map(key) {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

pub(crate) fn workloads(stress: &[StressReport]) -> Vec<&str> {
    firsts(stress, |result| result.workload.as_str())
}

pub(crate) fn allocators(stress: &[StressReport]) -> Vec<&str> {
    firsts(stress, |result| result.allocator.as_str())
}

/// An allocator's result with the most CPUs.
pub(crate) fn widest<'a>(
    stress: &'a [StressReport],
    workload: &str,
    allocator: &str,
) -> Option<&'a StressReport> {
    let wanted = stress.iter().filter(|result| result.workload == workload && result.allocator == allocator);
    wanted.max_by_key(|result| result.cpus)
}

fn cpus(count: u32) -> String {
    if count == 1 { "1 CPU".to_owned() } else { format!("{count} CPUs") }
}

/// Each CPU's operations, a panel for each workload.
pub(crate) fn operations(report: &Report) -> Result<Option<Picture>, PictureError> {
    let workloads = workloads(&report.stress);
    let shown: Vec<&StressReport> = workloads
        .iter()
        .filter_map(|workload| {
            // A workload runs on allocators, on heaps, or with policies.
            let allocators = allocators(&report.stress);
            allocators.into_iter().find_map(|allocator| widest(&report.stress, workload, allocator))
        })
        .filter(|result| !result.per_cpu_operations.is_empty())
        .collect();
    let Some(first) = shown.first() else { return Ok(None) };
    let mut legend =
        format!("Allocations and frees of each CPU, with {} on {}.", first.allocator, cpus(first.cpus));
    let lane = lanes((0..).zip(&first.per_cpu_operations)).first().map_or(1, |lane| lane.members.len());
    if lane > 1 {
        legend.push_str(&format!(
            " Each bar stands for {lane} CPUs: their mean, and a line from the least to the greatest."
        ));
    }
    let height = |format| Panels::new(shown.len(), format).height();
    draw("operations", "Operations per CPU", legend, height, |area, format| {
        for (area, result) in Panels::new(shown.len(), format).split(area).iter().zip(&shown) {
            let lanes = lanes((0..).zip(result.per_cpu_operations.iter().copied()));
            let most = result.per_cpu_operations.iter().copied().max().unwrap_or(0).max(1) as f64;
            let name = |at: f64| {
                let whole = (at - at.round()).abs() < 0.01;
                lanes
                    .get(at.round() as usize)
                    .filter(|_| whole && at >= 0.0)
                    .map_or_else(String::new, |lane| lane.first.to_string())
            };
            let x = Axis {
                range: -0.6..lanes.len() as f64 - 0.4,
                name: "CPU",
                label: &name,
                ticks: lanes.len().min(9),
            };
            let y = Axis { range: 0.0..most * 1.08, name: "operations", label: &counted, ticks: 5 };
            let mut chart = frame(area, &result.workload, x, y)?;
            for (place, lane) in lanes.iter().enumerate() {
                let Some(spread) = Spread::of(lane.members.iter().copied()) else { continue };
                let at = place as f64;
                let mean =
                    lane.members.iter().map(|count| *count as f64).sum::<f64>() / lane.members.len() as f64;
                let corners = [(at - 0.38, 0.0), (at + 0.38, mean)];
                chart.draw_series([Rectangle::new(corners, series(0).filled())])?;
                if lane.members.len() > 1 {
                    let ends = [(at, spread.min as f64), (at, spread.max as f64)];
                    chart.draw_series([PathElement::new(ends, INK)])?;
                }
            }
        }
        Ok(())
    })
}

/// A marker that is known by its shape as well as by its colour.
fn markers(chart: &mut Chart<'_, '_>, place: usize, points: &[(f64, f64)]) -> Drawn {
    let style = series(place).filled();
    let points = points.iter().copied();
    match place % 3 {
        0 => drop(chart.draw_series(points.map(|at| Circle::new(at, 4, style)))?),
        1 => drop(chart.draw_series(points.map(|at| TriangleMarker::new(at, 6, style)))?),
        _ => drop(chart.draw_series(points.map(|at| Cross::new(at, 4, series(place).stroke_width(2))))?),
    }
    Ok(())
}

/// Draws the operations by the number of CPUs, a line for each allocator; none where nothing was compared.
pub(crate) fn scaling(report: &Report) -> Result<Option<Picture>, PictureError> {
    let stress = &report.stress;
    let (workloads, allocators) = (workloads(stress), allocators(stress));
    let mut counts = firsts(stress, |result| result.cpus);
    counts.sort_unstable();
    if workloads.len() == stress.len() {
        // No workload ran twice.
        return Ok(None);
    }
    let names: Vec<_> = allocators.iter().enumerate().map(|(place, name)| (series(place), *name)).collect();
    let legend =
        "Operations a second of all CPUs together. More is better; a flat line means that the CPUs wait for \
                  each other, or that the host has no more cores."
            .to_owned();
    let height = |format: super::Format| {
        Panels::new(workloads.len(), format).height() + key_height(format.width() - 20, &names) + KEY_GAP
    };
    draw("scaling", "Operations a second by CPUs and allocator", legend, height, |area, format| {
        let used = key(&area.margin(0, 0, 10, 10), (0, 14), &names)?;
        let (_, below) = area.split_vertically(used + KEY_GAP as i32);
        for (area, workload) in Panels::new(workloads.len(), format).split(&below).iter().zip(&workloads) {
            let rate = |allocator: &str, cpus: u32| {
                let is_it = |one: &&StressReport| {
                    (one.workload.as_str(), one.allocator.as_str(), one.cpus) == (*workload, allocator, cpus)
                };
                stress.iter().find(is_it).map(StressReport::rate)
            };
            let all = allocators.iter().flat_map(|one| counts.iter().map(|cpus| rate(one, *cpus)));
            let most = all.flatten().fold(1.0, f64::max);
            let name = |at: f64| {
                let whole = (at - at.round()).abs() < 0.01 && at > -0.5;
                counts.get(at.round() as usize).filter(|_| whole).map_or_else(String::new, u32::to_string)
            };
            let x = Axis {
                range: -0.25..counts.len() as f64 - 0.75,
                name: "CPUs",
                label: &name,
                ticks: counts.len(),
            };
            let y = Axis { range: 0.0..most * 1.1, name: "per second", label: &counted, ticks: 5 };
            let mut chart = frame(area, workload, x, y)?;
            for (place, allocator) in allocators.iter().enumerate() {
                let points: Vec<_> = counts
                    .iter()
                    .enumerate()
                    .filter_map(|(at, cpus)| Some((at as f64, rate(allocator, *cpus)?)))
                    .collect();
                chart.draw_series(LineSeries::new(points.iter().copied(), series(place).stroke_width(2)))?;
                markers(&mut chart, place, &points)?;
            }
        }
        Ok(())
    })
}

/// Draws the latency of the calls under test, a line for each allocator, heap or policy. Returns `None` if there are no histograms.
pub(crate) fn latency(report: &Report) -> Result<Option<Picture>, PictureError> {
    let stress = &report.stress;
    let (workloads, allocators) = (workloads(stress), allocators(stress));
    let buckets = || stress.iter().flat_map(|result| &result.histogram);
    let (Some(least), Some(most)) =
        (buckets().map(|(top, _)| *top).min(), buckets().map(|(top, _)| *top).max())
    else {
        return Ok(None);
    };
    let log = |value: u64| (value.max(1) as f64).log10();
    let highest = log(buckets().map(|(_, count)| *count).max().unwrap_or(1)) + 0.3;
    let names: Vec<_> = allocators.iter().enumerate().map(|(place, name)| (series(place), *name)).collect();
    let most_cpus = stress.iter().map(|result| result.cpus).max().unwrap_or(1);
    let unit = report.latency_unit();
    let mut legend = format!(
        "How many calls took how long, on {}: allocations, allocations with their frees where the panel \
         says so, or what a workload of the scheduler times. Both scales are logarithmic; each power of two is split into eight.",
        cpus(most_cpus)
    );
    let is_alone = |workload: &str| {
        allocators.iter().filter(|allocator| widest(stress, workload, allocator).is_some()).count() == 1
    };
    if workloads.iter().all(|workload| is_alone(workload)) {
        legend.push_str(" Vertical lines: p50, p99 and p99.9.");
    }
    let height = |format: super::Format| {
        Panels::new(workloads.len(), format).height() + key_height(format.width() - 20, &names) + KEY_GAP
    };
    draw("latency", "Latency of the calls under test", legend, height, |area, format| {
        let used = key(&area.margin(0, 0, 10, 10), (0, 14), &names)?;
        let (_, below) = area.split_vertically(used + KEY_GAP as i32);
        for (area, workload) in Panels::new(workloads.len(), format).split(&below).iter().zip(&workloads) {
            let range = log(least) - 0.15..log(most) + 0.15;
            let x = Axis { range, name: unit, label: &power, ticks: 10 };
            let y = Axis { range: GROUND..highest, name: "samples", label: &power, ticks: 6 };
            let is_of_pairs = |result: &StressReport| result.timed.as_deref() == Some("pair");
            let with_frees = stress.iter().any(|result| result.workload == **workload && is_of_pairs(result));
            let title = format!("{workload}{}", if with_frees { " (with frees)" } else { "" });
            let mut chart = frame(area, &title, x, y)?;
            for (place, allocator) in allocators.iter().enumerate() {
                let Some(result) = widest(stress, workload, allocator) else { continue };
                let line = outline(&result.histogram);
                let filled = series(place).mix(0.2).filled();
                chart.draw_series([Polygon::new(line.clone(), filled)])?;
                chart.draw_series(LineSeries::new(line, series(place).stroke_width(1)))?;
                if is_alone(workload) {
                    quantiles(&mut chart, &result.cycles, &log, highest)?;
                }
            }
        }
        Ok(())
    })
}

/// A line for each quantile, with its name at its upper end. Names that would touch are on lines of their own.
fn quantiles(chart: &mut Chart<'_, '_>, cycles: &Cycles, log: &dyn Fn(u64) -> f64, highest: f64) -> Drawn {
    let all = [("p50", cycles.p50), ("p99", cycles.p99), ("p99.9", cycles.p999)];
    let mut free_from = [i32::MIN; 3];
    for (name, value) in all {
        let ends = [(log(value), GROUND), (log(value), highest - 0.1)];
        chart.draw_series([PathElement::new(ends, INK)])?;
        let (x, _) = chart.backend_coord(&(log(value), highest));
        let width = 6 * name.len() as i32;
        let row = free_from.iter().position(|free| *free <= x).unwrap_or(free_from.len() - 1);
        free_from[row] = x + width + 8;
        // At the right edge there is room to the left alone.
        let to_the_left = x + width + 3 > chart.plotting_area().get_pixel_range().0.end;
        let (aside, side) = if to_the_left { (-3, HPos::Right) } else { (3, HPos::Left) };
        let style = letters(10.0).color(&FAINT).pos(Pos::new(side, VPos::Center));
        let at = (aside, 6 + 11 * row as i32);
        let name = EmptyElement::at((log(value), highest)) + Text::new(name, at, style);
        chart.draw_series([name])?;
    }
    Ok(())
}

/// A histogram as a line of steps, in logarithms; where no bucket is, it lies on the ground.
fn outline(buckets: &[(u64, u64)]) -> Vec<(f64, f64)> {
    // An eighth of a power of two.
    let step = 2f64.log10() / 8.0;
    let mut line: Vec<(f64, f64)> = Vec::new();
    for (top, count) in buckets {
        let (right, height) = ((*top as f64).max(1.0).log10(), (*count as f64).log10());
        let left = line.last().map_or(right - step, |last| last.0);
        if right - left > 2.0 * step {
            line.extend([(left, GROUND), (right - step, GROUND), (right - step, height), (right, height)]);
        } else {
            if line.is_empty() {
                line.push((left, GROUND));
            }
            line.extend([(left, height), (right, height)]);
        }
    }
    line.extend(line.last().map(|last| (last.0, GROUND)));
    line
}
