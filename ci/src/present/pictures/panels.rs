//! Panels: small pictures of one kind, one for each workload, each with its own scale.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::base::numbers::short;
use crate::present::pictures::canvas::{Area, Format, letters};
use crate::present::pictures::palette::{FAINT, GRID};

/// A panel's height, in pixels.
pub(crate) const HEIGHT: u32 = 210;

/// The panels of one picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels {
    count: usize,
    columns: usize,
}

impl Panels {
    /// So many of them.
    pub(crate) fn new(count: usize, format: Format) -> Panels {
        let columns = match format {
            Format::Wide => count.clamp(1, 3),
            Format::Narrow => 1,
        };
        Panels { count, columns }
    }

    /// All rows together.
    pub(crate) fn height(self) -> u32 {
        self.count.div_ceil(self.columns) as u32 * HEIGHT
    }

    /// Their places.
    pub(crate) fn split<'a>(self, area: &Area<'a>) -> Vec<DrawingArea<SVGBackend<'a>, Shift>> {
        area.split_evenly((self.count.div_ceil(self.columns), self.columns))
    }
}

/// An axis of a panel.
pub(crate) struct Axis<'a> {
    /// From where to where.
    pub range: std::ops::Range<f64>,
    /// The quantity, with its unit.
    pub name: &'a str,
    /// The label of a tick.
    pub label: &'a dyn Fn(f64) -> String,
    /// About how many ticks.
    pub ticks: usize,
}

/// A panel with its axes, ready to be drawn into.
pub(crate) type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws a panel's frame. Logarithmic axes are linear in the logarithm.
pub(crate) fn frame<'a, 'b>(
    area: &'a Area<'b>,
    title: &str,
    x: Axis<'_>,
    y: Axis<'_>,
) -> Result<Chart<'a, 'b>, Box<dyn std::error::Error>> {
    let title: String = crate::base::text::line(title).chars().take(40).collect();
    let mut chart = ChartBuilder::on(area)
        .caption(title, letters(13.0))
        .margin_right(14)
        .margin_left(6)
        .margin_bottom(8)
        .x_label_area_size(38)
        .y_label_area_size(52)
        .build_cartesian_2d(x.range, y.range)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(FAINT)
        .x_labels(x.ticks)
        .y_labels(y.ticks)
        .x_label_formatter(&|value| (x.label)(*value))
        .y_label_formatter(&|value| (y.label)(*value))
        .x_desc(x.name)
        .y_desc(y.name)
        .label_style(letters(11.0).color(&FAINT))
        .axis_desc_style(letters(11.0).color(&FAINT))
        .draw()?;
    Ok(chart)
}

/// A tick of an axis that counts things.
pub(crate) fn counted(value: f64) -> String {
    short(value.max(0.0))
}

/// A tick of an axis that is linear in the logarithm to the base of ten: only whole powers have a name.
pub(crate) fn power(value: f64) -> String {
    if (value - value.round()).abs() < 0.01 && value > -0.5 {
        short(10f64.powf(value.round()))
    } else {
        String::new()
    }
}
