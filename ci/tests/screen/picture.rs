//! A picture of a screen in the format that QEMU writes: a binary portable pixmap.

use octopod::console::screen::font::{Font, Glyph, HEIGHT, WIDTH};

pub(crate) struct Picture {
    pub width: usize,
    pub height: usize,
    pixels: Vec<u32>,
}

impl Picture {
    /// Reads `P6`, width, height, 255, each followed by one white space, and three bytes for each pixel.
    pub(crate) fn parse(bytes: &[u8]) -> Picture {
        let mut rest = bytes;
        let mut word = || {
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap();
            let word = std::str::from_utf8(&rest[..end]).unwrap();
            rest = &rest[end + 1..];
            word
        };
        assert_eq!(word(), "P6");
        let [width, height, most] = [word(), word(), word()].map(|word| word.parse().unwrap());
        assert_eq!((most, rest.len()), (255, width * height * 3));
        let pixels = rest.chunks(3).map(|rgb| u32::from_be_bytes([0, rgb[0], rgb[1], rgb[2]]));
        Picture { width, height, pixels: pixels.collect() }
    }

    /// A part of it, from the left top.
    pub(crate) fn tile(&self, left: usize, top: usize, width: usize, height: usize) -> Vec<u32> {
        (top..top + height)
            .flat_map(|line| self.pixels[line * self.width + left..][..width].to_vec())
            .collect()
    }

    /// How many characters of the kernel's font fit.
    pub(crate) fn cells(&self) -> (usize, usize) {
        (self.width / WIDTH, self.height / HEIGHT)
    }

    /// The text in it, drawn in the kernel's font, one colour on black. Every pixel counts.
    pub(crate) fn read(&self) -> Vec<String> {
        let mut font = Font::blank();
        font.read();
        let colours: std::collections::BTreeSet<u32> = self.pixels.iter().copied().collect();
        assert!(colours.len() == 2 && colours.contains(&0), "{colours:x?}");
        let (columns, rows) = self.cells();
        for line in rows * HEIGHT..self.height {
            assert!(
                self.tile(0, line, self.width, 1).iter().all(|pixel| *pixel == 0),
                "something below the text"
            );
        }
        let cell = |column: usize, row: usize| {
            let mut glyph: Glyph = [0; HEIGHT];
            for (at, pixel) in self.tile(column * WIDTH, row * HEIGHT, WIDTH, HEIGHT).iter().enumerate() {
                glyph[at / WIDTH] |= u8::from(*pixel != 0) << (WIDTH - 1 - at % WIDTH);
            }
            let found = (b' '..=b'~').find(|character| *font.glyph(*character) == glyph);
            char::from(found.unwrap_or_else(|| panic!("no glyph in row {row}, column {column}: {glyph:x?}")))
        };
        let row = |row| (0..columns).map(|column| cell(column, row)).collect::<String>();
        (0..rows).map(|number| row(number).trim_end().to_owned()).collect()
    }
}
