//! Colours for light and for dark pages. Neighbouring colours also differ for viewers who do not distinguish red and green.

use std::fmt::Write;

use plotters::style::RGBColor;

/// A colour on a light page, and the one in its place on a dark page.
type Pair = (RGBColor, u32);

const fn rgb(hex: u32) -> RGBColor {
    RGBColor((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

/// The background.
pub(crate) const PAPER: RGBColor = rgb(0xfefefe);
/// Letters, and what must be seen first.
pub(crate) const INK: RGBColor = rgb(0x1b1f24);
/// Axes, and what may be seen last.
pub(crate) const FAINT: RGBColor = rgb(0x5f6872);
/// Lines behind the figures.
pub(crate) const GRID: RGBColor = rgb(0xe2e6ea);
/// Waiting, holes, what belongs to others.
pub(crate) const IDLE: RGBColor = rgb(0xb9c0c8);
/// A failure.
pub(crate) const WRONG: RGBColor = rgb(0xb3261e);

const ROLES: [Pair; 6] = [
    (PAPER, 0x14171b),
    (INK, 0xe8eaed),
    (FAINT, 0xa3adb8),
    (GRID, 0x2d333b),
    (IDLE, 0x59626d),
    (WRONG, 0xff8a80),
];

/// Things of a kind, in the order in which they are used.
const SERIES: [Pair; 8] = [
    (rgb(0x0072b2), 0x56b4e9),
    (rgb(0xd55e00), 0xf08a3c),
    (rgb(0x00856a), 0x2fc79a),
    (rgb(0xa8458f), 0xda8fca),
    (rgb(0xc79a1b), 0xe8c65a),
    (rgb(0x3a2f8f), 0x8f86e8),
    (rgb(0x3fa3c8), 0x8fdcf5),
    (rgb(0x8a2c4a), 0xd8708f),
];

/// The colour of the thing at `place` in a series.
pub(crate) fn series(place: usize) -> RGBColor {
    SERIES[place % SERIES.len()].0
}

/// CSS rules that exchange the colours for those of a dark page.
pub fn dark_rules() -> String {
    let mut rules = String::new();
    for (RGBColor(r, g, b), dark) in ROLES.iter().chain(&SERIES) {
        for what in ["fill", "stroke"] {
            let _ = writeln!(rules, "svg [{what}=\"#{r:02X}{g:02X}{b:02X}\"] {{ {what}: #{dark:06x} }}");
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance, as the Web Content Accessibility Guidelines define it.
    fn luminance(RGBColor(r, g, b): RGBColor) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    fn contrast(one: RGBColor, other: RGBColor) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn everything_stands_out_from_both_papers() {
        let dark_paper = rgb(ROLES[0].1);
        let both = |(light, dark): &Pair| [contrast(*light, PAPER), contrast(rgb(*dark), dark_paper)];
        for pair in [ROLES[1], ROLES[2], ROLES[5]] {
            assert!(both(&pair).iter().all(|found| *found >= 4.5), "letters: {pair:?}: {:?}", both(&pair));
        }
        for pair in &SERIES {
            assert!(both(pair).iter().all(|found| *found >= 2.4), "{pair:?}: {:?}", both(pair));
        }
    }

    #[test]
    fn no_two_colours_are_the_same() {
        let mut all: Vec<_> =
            ROLES.iter().chain(&SERIES).map(|(light, _)| (light.0, light.1, light.2)).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
