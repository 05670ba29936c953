//! A report as pictures: SVG, by the library `plotters`.
//!
//! Each picture is drawn twice, for wide pages and for phones, since a drawing that is scaled down has letters that nobody
//! can read. Colours are those of a light page; a style sheet exchanges them on a dark one.

use std::panic::catch_unwind;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::document::Report;

mod boot;
mod lanes;
mod lateness;
mod memory;
mod palette;
mod panels;
mod stages;
mod stress;

pub use lanes::Spread;
pub use palette::dark_rules;

use palette::{INK, PAPER};

/// For what width a picture is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A window on a desk.
    Wide,
    /// A phone held upright.
    Narrow,
}

impl Format {
    /// In pixels.
    fn width(self) -> u32 {
        match self {
            Format::Wide => 960,
            Format::Narrow => 380,
        }
    }
}

/// A picture in both formats.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its file's name, without the ending.
    pub name: &'static str,
    /// What can be seen on it.
    pub title: &'static str,
    /// How to read it.
    pub legend: String,
    wide: String,
    narrow: String,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw {name}: {problem}")]
pub struct PictureError {
    /// The picture.
    pub name: &'static str,
    /// What the library said.
    pub problem: String,
}

/// The library's own errors differ by what is drawn on; of all of them only the words matter.
type Drawn = Result<(), Box<dyn std::error::Error>>;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

impl Picture {
    /// As a file of its own, for wide pages, which follows the reader's choice between light and dark.
    pub fn file(&self) -> String {
        let style =
            format!("<style>\n@media (prefers-color-scheme: dark) {{\n{}}}\n</style>\n", dark_rules());
        match self.wide.split_once('\n') {
            Some((opening, rest)) => format!("{opening}\n{style}{rest}"),
            None => self.wide.clone(),
        }
    }

    /// As a part of a page. There an SVG needs no name space.
    pub fn part(&self, format: Format) -> String {
        let svg = match format {
            Format::Wide => &self.wide,
            Format::Narrow => &self.narrow,
        };
        svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", " role=\"img\"", 1)
    }
}

/// All pictures that there is something to show for. One that cannot be drawn is an error, whatever the library does then.
pub fn all(report: &Report) -> Result<Vec<Picture>, PictureError> {
    type Draw = fn(&Report) -> Result<Option<Picture>, PictureError>;
    let all: [(&str, Draw); 7] = [
        ("stages", stages::picture),
        ("boot", boot::picture),
        ("memory", memory::picture),
        ("operations", stress::operations),
        ("scaling", stress::scaling),
        ("latency", stress::latency),
        ("lateness", lateness::picture),
    ];
    let drawn = all.into_iter().map(|(name, draw)| {
        let panicked = |_| PictureError { name, problem: "the drawing panicked".to_owned() };
        catch_unwind(|| draw(report)).map_err(panicked)?
    });
    drawn.filter_map(Result::transpose).collect()
}

/// Draws a picture in both formats; `height` and `paint` are asked for each.
fn draw(
    name: &'static str,
    title: &'static str,
    legend: String,
    height: impl Fn(Format) -> u32,
    paint: impl Fn(&Area<'_>, Format) -> Drawn,
) -> Result<Option<Picture>, PictureError> {
    let one = |format: Format| {
        let mut svg = String::new();
        let drawn: Drawn = (|| {
            let area =
                SVGBackend::with_string(&mut svg, (format.width(), height(format))).into_drawing_area();
            area.fill(&PAPER)?;
            paint(&area, format)?;
            area.present()?;
            Ok(())
        })();
        drawn.map_err(|problem| PictureError { name, problem: problem.to_string() })?;
        Ok(svg)
    };
    Ok(Some(Picture { name, title, legend, wide: one(Format::Wide)?, narrow: one(Format::Narrow)? }))
}

/// Letters of so many pixels; the library takes a height that is larger by a constant.
fn letters(pixels: f64) -> TextStyle<'static> {
    ("sans-serif", pixels * 1.24).into_font().color(&INK)
}

/// Words at a place, in pixels.
fn words(area: &Area<'_>, text: &str, at: (i32, i32), style: TextStyle<'_>, side: HPos) -> Drawn {
    let text: String = crate::base::text::line(text).chars().take(80).collect();
    area.draw(&Text::new(text, at, style.pos(Pos::new(side, VPos::Center))))?;
    Ok(())
}

/// A colour and the name of what has it, in a row that is broken where it would be too long. Returns the height.
fn key(
    area: &Area<'_>,
    at: (i32, i32),
    names: &[(RGBColor, &str)],
) -> Result<i32, Box<dyn std::error::Error>> {
    let (mut x, mut y) = at;
    let width = area.dim_in_pixel().0 as i32;
    for (colour, name) in names {
        let needed = 24 + (name.chars().count() as f64 * 6.6) as i32;
        if x + needed > width && x > at.0 {
            (x, y) = (at.0, y + 18);
        }
        area.draw(&Rectangle::new([(x, y - 5), (x + 11, y + 6)], colour.filled()))?;
        words(area, name, (x + 16, y), letters(12.0), HPos::Left)?;
        x += needed + 8;
    }
    Ok(y + 18 - at.1)
}

/// How high [`key`] will be.
fn key_height(width: u32, names: &[(RGBColor, &str)]) -> u32 {
    let (mut x, mut rows) = (0, 1);
    for (_, name) in names {
        let needed = 24 + (name.chars().count() as f64 * 6.6) as u32;
        if x + needed > width && x > 0 {
            (x, rows) = (0, rows + 1);
        }
        x += needed + 8;
    }
    rows * 18
}

/// A time in the unit that suits it.
pub fn time(us: f64) -> String {
    match us {
        us if us < 1e3 => format!("{us:.0} µs"),
        us if us < 1e4 => format!("{:.2} ms", us / 1e3),
        us if us < 1e6 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// A count with at most three digits and the letter of its power of a thousand.
pub fn short(count: f64) -> String {
    let mut scaled = count;
    for suffix in ["", "k", "M", "G", "T", "P"] {
        if scaled < 999.5 {
            let digits = usize::from(scaled < 9.95 && scaled.fract() > 0.04);
            return format!("{scaled:.digits$}{suffix}");
        }
        scaled /= 1000.0;
    }
    format!("{count:.0e}")
}

/// A size in the binary unit that suits it.
pub fn bytes(count: u64) -> String {
    let mut scaled = count as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if scaled < 1023.5 {
            let digits = usize::from(scaled < 99.95 && scaled.fract() > 0.04);
            return format!("{scaled:.digits$} {unit}");
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.0} PiB")
}

#[cfg(test)]
mod tests;
