//! The glyphs of printable ASCII as bitmaps, copied once from a library's font, which is slow to draw from.

use embedded_graphics::geometry::Point;
use embedded_graphics::image::GetPixel;
use embedded_graphics::mono_font::ascii::FONT_8X13;
use embedded_graphics::pixelcolor::BinaryColor;

/// The width of a glyph in pixels.
pub const WIDTH: usize = 8;

/// The height of a glyph in pixels.
pub const HEIGHT: usize = 13;

// A row of a glyph is one byte.
const _: () = assert!(FONT_8X13.character_size.width == 8 && FONT_8X13.character_size.height == 13);

/// A glyph: a byte for each row. The highest bit is the leftmost pixel.
pub type Glyph = [u8; HEIGHT];

const FIRST: u8 = b' ';
const LAST: u8 = b'~';

/// The glyphs.
#[derive(Clone, Debug)]
pub struct Font([Glyph; (LAST - FIRST + 1) as usize]);

impl Font {
    /// Creates a font whose glyphs are all blank.
    pub const fn blank() -> Font {
        Font([[0; HEIGHT]; (LAST - FIRST + 1) as usize])
    }

    /// Copies the glyphs from the library's font.
    pub fn read(&mut self) {
        for (glyph, character) in self.0.iter_mut().zip(FIRST..) {
            *glyph = read_glyph(character);
        }
    }

    /// The glyph of a character; that of a question mark if the character is not printable ASCII.
    pub fn glyph(&self, character: u8) -> &Glyph {
        let known = if (FIRST..=LAST).contains(&character) { character } else { b'?' };
        &self.0[usize::from(known - FIRST)]
    }
}

/// Copies a glyph from the library's image, which holds the glyphs in rows.
fn read_glyph(character: u8) -> Glyph {
    let image = &FONT_8X13.image;
    let in_a_row = {
        use embedded_graphics::geometry::OriginDimensions;
        image.size().width as usize / WIDTH
    };
    let index = FONT_8X13.glyph_mapping.index(char::from(character));
    let (left, top) = (index % in_a_row * WIDTH, index / in_a_row * HEIGHT);
    core::array::from_fn(|row| {
        (0..WIDTH).fold(0, |bits, column| {
            let point = Point::new((left + column) as i32, (top + row) as i32);
            bits << 1 | u8::from(image.pixel(point) == Some(BinaryColor::On))
        })
    })
}
