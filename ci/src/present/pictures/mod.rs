//! The pictures of a report: SVG, by the library `plotters`.
//!
//! Each picture is drawn twice, for wide pages and for phones, because text in a scaled drawing becomes too small. The colours
//! are those of a light page; a style sheet replaces them on a dark one.

use std::panic::catch_unwind;

use crate::report::Report;

mod boot;
mod canvas;
mod fragmentation;
mod lanes;
mod lateness;
mod memory;
mod palette;
mod panels;
mod stages;
mod stress;

pub use canvas::{Format, Picture, PictureError};
pub use lanes::Spread;
pub use palette::dark_rules;

/// Returns all pictures for which the report has data.
///
/// # Errors
/// A picture cannot be drawn, or the library panics.
pub fn all(report: &Report) -> Result<Vec<Picture>, PictureError> {
    type Draw = fn(&Report) -> Result<Option<Picture>, PictureError>;
    let all: [(&str, Draw); 8] = [
        ("stages", stages::picture),
        ("boot", boot::picture),
        ("memory", memory::picture),
        ("operations", stress::operations),
        ("scaling", stress::scaling),
        ("latency", stress::latency),
        ("fragmentation", fragmentation::picture),
        ("lateness", lateness::picture),
    ];
    let drawn = all.into_iter().map(|(name, draw)| {
        let panicked = |_| PictureError { name, problem: "the drawing panicked".to_owned() };
        catch_unwind(|| draw(report)).map_err(panicked)?
    });
    drawn.filter_map(Result::transpose).collect()
}

#[cfg(test)]
mod tests;
