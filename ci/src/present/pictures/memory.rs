//! Physical memory: its regions, and the amount of each kind.

use std::collections::BTreeMap;

use octopod::wire::MemoryRegion;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use crate::base::numbers::bytes;
use crate::present::pictures::canvas::{Area, Drawn, Format, Picture, PictureError, draw, letters, words};
use crate::present::pictures::palette::{FAINT, GRID, IDLE, INK, PAPER, series};
use crate::report::Report;

/// The height of a kind's line.
const LINE: i32 = 22;

/// The strip's lower edge.
const STRIP_END: i32 = 66;

/// Regions of one owner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kind {
    /// The number of the regions.
    pub regions: u64,
    /// The size of all regions together.
    pub bytes: u64,
    place: usize,
}

/// Regions by their owner.
pub(crate) fn kinds(regions: &[MemoryRegion<String>]) -> BTreeMap<&str, Kind> {
    let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
    for region in regions {
        let place = kinds.len();
        let kind = kinds.entry(&region.owner).or_insert(Kind { place, ..Kind::default() });
        kind.regions += 1;
        kind.bytes = kind.bytes.saturating_add(region.end.saturating_sub(region.start));
    }
    kinds
}

fn colour(owner: &str, kind: &Kind) -> RGBColor {
    // The greatest part of the strip should be the quietest.
    if owner == "reserved by firmware" { FAINT } else { series(kind.place) }
}

/// Returns the width at which a piece of memory is drawn: a page and a terabyte are both to be seen.
fn weight(length: u64) -> f64 {
    ((length.max(1) as f64).log2() - 9.0).max(1.0)
}

/// Regions in their order, and holes between them.
fn pieces(regions: &[MemoryRegion<String>]) -> Vec<(u64, u64, Option<&str>)> {
    let mut pieces = Vec::new();
    let mut end = 0;
    for region in regions {
        if region.start > end {
            pieces.push((end, region.start, None));
        }
        pieces.push((region.start, region.end, Some(region.owner.as_str())));
        end = region.end.max(end);
    }
    pieces
}

/// The picture; none where the memory map is not known.
pub(crate) fn picture(report: &Report) -> Result<Option<Picture>, PictureError> {
    let Some(memory) = report.memory.as_ref().filter(|memory| !memory.regions.is_empty()) else {
        return Ok(None);
    };
    let kinds = kinds(&memory.regions);
    let pieces = pieces(&memory.regions);
    let legend =
        "Above: all of the map in the order of addresses, each piece as wide as the logarithm of its size; \
                  pale pieces are holes. Below: how much each owner has, on a logarithmic scale."
            .to_owned();
    let height = STRIP_END + 30 + kinds.len() as i32 * LINE + 44;
    draw(
        "memory",
        "Physical memory by owner",
        legend,
        |_| height as u32,
        |area, format| {
            strip(area, &pieces, &kinds)?;
            by_owner(area, format, &kinds)
        },
    )
}

fn strip(area: &Area<'_>, pieces: &[(u64, u64, Option<&str>)], kinds: &BTreeMap<&str, Kind>) -> Drawn {
    let width = f64::from(area.dim_in_pixel().0) - 32.0;
    let total: f64 = pieces.iter().map(|(start, end, _)| weight(end.saturating_sub(*start))).sum();
    let (mut x, mut free_from) = (16.0, 0);
    for (start, end, owner) in pieces {
        let next = x + weight(end.saturating_sub(*start)) / total * width;
        let corners = [(x as i32, 30), (next as i32, STRIP_END)];
        match owner.and_then(|owner| kinds.get(owner).map(|kind| colour(owner, kind))) {
            Some(colour) => {
                area.draw(&Rectangle::new(corners, colour.filled()))?;
                area.draw(&Rectangle::new(corners, PAPER))?;
            }
            None => area.draw(&Rectangle::new(corners, GRID.filled()))?,
        }
        // An address where there is room for it.
        let text = format!("{start:#x}");
        let room = text.len() as i32 * 7 + 8;
        if x as i32 >= free_from && x as i32 + room < width as i32 + 16 {
            area.draw(&PathElement::new([(x as i32, 24), (x as i32, 30)], FAINT))?;
            words(area, &text, (x as i32, 15), letters(11.0).color(&FAINT), HPos::Left)?;
            free_from = x as i32 + room;
        }
        x = next;
    }
    Ok(())
}

fn by_owner(area: &Area<'_>, format: Format, kinds: &BTreeMap<&str, Kind>) -> Drawn {
    let names = if format == Format::Wide { 190 } else { 158 };
    let width = area.dim_in_pixel().0 as i32 - names - if format == Format::Wide { 190 } else { 84 };
    let top = STRIP_END + 30;
    let bottom = top + kinds.len() as i32 * LINE;
    let most = kinds.values().map(|kind| kind.bytes).max().unwrap_or(1);
    let scale = ((most as f64).log2() - 9.0).max(1.0);
    let x = |bytes: u64| {
        names + ((((bytes.max(1) as f64).log2() - 9.0).max(0.0) / scale) * f64::from(width)) as i32
    };
    let steps: &[u32] = if format == Format::Wide { &[12, 20, 30, 40] } else { &[12, 30] };
    for power in steps.iter().filter(|power| 1 << **power <= most) {
        let x = x(1 << power);
        area.draw(&PathElement::new([(x, top - 4), (x, bottom + 4)], GRID))?;
        words(area, &bytes(1 << power), (x, bottom + 14), letters(11.0).color(&FAINT), HPos::Center)?;
    }
    words(area, "size", (names + width / 2, bottom + 32), letters(11.0).color(&FAINT), HPos::Center)?;
    let mut rows: Vec<_> = kinds.iter().collect();
    rows.sort_by_key(|(_, kind)| kind.place);
    for (place, (owner, kind)) in rows.into_iter().enumerate() {
        let y = top + place as i32 * LINE;
        let middle = y + LINE / 2;
        words(area, owner, (names - 8, middle), letters(12.0), HPos::Right)?;
        let bar =
            Rectangle::new([(names, y + 4), (x(kind.bytes), y + LINE - 4)], colour(owner, kind).filled());
        area.draw(&bar)?;
        let many = if kind.regions == 1 { String::new() } else { format!(" in {} regions", kind.regions) };
        let many = if format == Format::Wide { many } else { String::new() };
        let size = format!("{}{many}", bytes(kind.bytes));
        words(area, &size, (x(kind.bytes) + 6, middle), letters(11.0).color(&INK), HPos::Left)?;
    }
    let frame = PathElement::new([(names, top - 4), (names, bottom + 4)], IDLE);
    area.draw(&frame)?;
    Ok(())
}
