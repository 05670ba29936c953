//! The canvas of all pictures: their formats, text and keys.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::present::pictures::palette::{INK, PAPER, dark_rules};

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
    pub fn width(self) -> u32 {
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
    /// The description of the picture.
    pub title: &'static str,
    /// The explanation of the picture.
    pub legend: String,
    wide: String,
    narrow: String,
}

/// The reason why there is no picture.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw {name}: {problem}")]
pub struct PictureError {
    /// The picture.
    pub name: &'static str,
    /// The error of the library.
    pub problem: String,
}

/// The library's own errors differ by what is drawn on; of all of them only the words matter.
pub(crate) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// The area of a picture.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

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

    /// As it is for phones.
    #[cfg(test)]
    pub fn narrow(&self) -> &str {
        &self.narrow
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

/// Draws a picture in both formats; `height` and `paint` are asked for each.
pub(crate) fn draw(
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
pub(crate) fn letters(pixels: f64) -> TextStyle<'static> {
    ("sans-serif", pixels * 1.24).into_font().color(&INK)
}

/// Words at a place, in pixels.
pub(crate) fn words(area: &Area<'_>, text: &str, at: (i32, i32), style: TextStyle<'_>, side: HPos) -> Drawn {
    let text: String = crate::base::text::line(text).chars().take(80).collect();
    area.draw(&Text::new(text, at, style.pos(Pos::new(side, VPos::Center))))?;
    Ok(())
}

/// A colour and the name of what has it, in a row that is broken where it would be too long. Returns the height.
pub(crate) fn key(
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

/// Returns the height of [`key`].
pub(crate) fn key_height(width: u32, names: &[(RGBColor, &str)]) -> u32 {
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
