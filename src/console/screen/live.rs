//! The machine's screen: the log on VGA's text mode or on a framebuffer.

use core::ptr::NonNull;

use super::Text;
use super::font::Font;
use super::pixels::{Memory, PixelLayout, Pixels, write_pixel};
use super::vga::TextMode;
use crate::sync::SpinLockIrq;

/// The screen. This lock is only taken under the console's, so that lines have the same order on the screen and the serial
/// port.
pub(crate) static SCREEN: SpinLockIrq<LiveScreen> = SpinLockIrq::new(LiveScreen::new());
crate::name_lock!(SCREEN);

/// How many glyphs a section draws, with 104 pixels each.
const SECTION_GLYPHS: usize = 16;

/// The text and its display: text mode, a framebuffer, or none yet. Initially all zero.
pub(crate) struct LiveScreen {
    text: Text,
    font: Font,
    cells: Option<TextMode>,
    pixels: Option<(PixelLayout, PixelMemory)>,
}

/// The memory of a framebuffer.
struct PixelMemory(NonNull<u8>);

// SAFETY: the memory is mapped on all CPUs, and the holder of the value, under the lock `SCREEN`, is the only writer.
unsafe impl Send for PixelMemory {}

impl Memory for PixelMemory {
    #[inline(always)]
    fn set(&mut self, byte: usize, pixel_bytes: usize, value: u32) {
        // SAFETY: the sum must stay within the mapping: `Pixels::put` and `open_pixels` pass offsets within the layout, all of
        // which is mapped (# Safety of `open_pixels`).
        let pixel = unsafe { self.0.add(byte) };
        // SAFETY: the pixel lies within the mapping, as its offset does. The holder of `SCREEN` is the only writer.
        unsafe { write_pixel(pixel, pixel_bytes, value) }
    }
}

/// The display that shows the log in addition to the serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DisplayMode {
    /// VGA's text mode.
    Text,
    /// A framebuffer.
    Pixels {
        /// Columns of characters.
        columns: usize,
        /// Rows of characters.
        rows: usize,
    },
}

impl LiveScreen {
    const fn new() -> LiveScreen {
        LiveScreen { text: Text::new(), font: Font::blank(), cells: None, pixels: None }
    }

    /// Appends text without drawing it. Before a display is opened, as much text is kept as it would show.
    pub(crate) fn write(&mut self, text: &str) {
        self.text.write(text);
    }

    /// Draws a section of the changed cells: a row in text mode, [`SECTION_GLYPHS`] characters on a framebuffer. Returns
    /// `false` when none is left.
    pub(crate) fn draw_section(&mut self) -> bool {
        if let Some(cells) = &mut self.cells {
            self.text.draw_section(cells, usize::MAX)
        } else if let Some((layout, memory)) = &mut self.pixels {
            let mut pixels = Pixels { layout: *layout, font: &self.font, memory };
            self.text.draw_section(&mut pixels, SECTION_GLYPHS)
        } else {
            false
        }
    }

    /// Draws all changed cells.
    pub(crate) fn draw(&mut self) {
        while self.draw_section() {}
    }

    /// Shows the text so far in VGA's text mode, and all further text.
    pub(crate) fn open_text(&mut self, mut mode: TextMode) {
        self.text.show(&mut mode);
        self.cells = Some(mode);
    }

    /// Shows the text so far on a framebuffer, and all further text, unless a display is open, or the layout is invalid or too
    /// small. Returns the display.
    ///
    /// # Safety
    /// The pointer is a mapping of [`PixelLayout::bytes`] bytes of display memory that is never unmapped, and no other code
    /// writes there.
    pub(crate) unsafe fn open_pixels(
        &mut self,
        found: Option<(PixelLayout, NonNull<u8>)>,
    ) -> Option<DisplayMode> {
        if let (None, Some((layout, memory))) = (self.mode(), found.filter(|(layout, _)| fits(layout))) {
            let LiveScreen { text, font, pixels, .. } = self;
            let (columns, rows) = layout.cells();
            font.read();
            text.grow(columns, rows);
            let mut memory = PixelMemory(memory);
            for at in (0..layout.bytes()).step_by(size_of::<u32>()) {
                memory.set(at, (layout.bytes() - at).min(size_of::<u32>()), 0);
            }
            text.show(&mut Pixels { layout, font, memory: &mut memory });
            *pixels = Some((layout, memory));
        }
        self.mode()
    }

    fn mode(&self) -> Option<DisplayMode> {
        let (columns, rows) = self.text.size();
        let pixels = self.pixels.as_ref().map(|_| DisplayMode::Pixels { columns, rows });
        self.cells.as_ref().map(|_| DisplayMode::Text).or(pixels)
    }
}

/// Whether the layout is valid and has room for the text so far.
fn fits(layout: &PixelLayout) -> bool {
    let (columns, rows) = layout.cells();
    layout.is_sound() && columns >= super::TEXT_COLUMNS && rows >= super::TEXT_ROWS
}
