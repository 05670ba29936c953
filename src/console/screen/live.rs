//! The machine's screen: what the log has said, where there is something to show it on.

use core::ptr::NonNull;

use super::Text;
use super::font::Font;
use super::pixels::{Layout, Memory, Pixels, write_pixel};
use super::vga::TextMode;
use crate::console::line::SERIAL;
use crate::console::logger::write_kept;
use crate::sync::SpinLockIrq;

/// The screen. Taken only by who holds the console: lines come in the same order here and there.
pub static SCREEN: SpinLockIrq<LiveScreen> = SpinLockIrq::new(LiveScreen::new());
crate::name_lock!(SCREEN);

/// How many glyphs are drawn at once: 104 pixels each.
const SECTION_GLYPHS: usize = 16;

/// What is shown, and where: on one of the two, or not yet. All zero at first.
pub struct LiveScreen {
    text: Text,
    font: Font,
    cells: Option<TextMode>,
    pixels: Option<(Layout, Frame)>,
}

/// A frame buffer.
struct Frame(NonNull<u8>);

// SAFETY: whoever holds it writes the pixels; it belongs to no CPU.
unsafe impl Send for Frame {}

impl Memory for Frame {
    #[inline(always)]
    fn set(&mut self, byte: usize, pixel_bytes: usize, value: u32) {
        // SAFETY: a pixel of the layout, all of which is mapped (# Safety of `open_pixels`), and the lock of `SCREEN` is held.
        unsafe { write_pixel(self.0.add(byte), pixel_bytes, value) }
    }
}

/// What the log is shown on beside the serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// VGA's text mode.
    Text,
    /// Pixels, with so many columns and rows of characters.
    Pixels {
        /// Columns.
        columns: usize,
        /// Rows.
        rows: usize,
    },
}

impl LiveScreen {
    const fn new() -> LiveScreen {
        LiveScreen { text: Text::new(), font: Font::blank(), cells: None, pixels: None }
    }

    /// Writes text behind what is there, without drawing it; without a screen it is kept, as much as a screen would show.
    pub fn write(&mut self, text: &str) {
        self.text.write(text);
    }

    /// Draws a section of what is not drawn yet: a row of a text screen, a few characters of one of pixels. False when nothing
    /// is left.
    pub fn draw_section(&mut self) -> bool {
        if let Some(cells) = &mut self.cells {
            self.text.draw_section(cells, usize::MAX)
        } else if let Some((layout, memory)) = &mut self.pixels {
            let mut pixels = Pixels { layout: *layout, font: &self.font, memory };
            self.text.draw_section(&mut pixels, SECTION_GLYPHS)
        } else {
            false
        }
    }

    /// Draws all that is not drawn yet.
    pub fn draw(&mut self) {
        while self.draw_section() {}
    }

    fn shown(&self) -> Option<Shown> {
        let (columns, rows) = self.text.size();
        let pixels = self.pixels.as_ref().map(|_| Shown::Pixels { columns, rows });
        self.cells.as_ref().map(|_| Shown::Text).or(pixels)
    }
}

/// Shows the log on VGA's text screen, if there is one, in that mode. What the screen showed before is gone.
///
/// # Safety
/// Once; `cells` leads to physical 0xb8000, mapped for good, and nobody else drives the display.
pub unsafe fn open_text(cells: NonNull<u16>) {
    // SAFETY: `cells` leads to the text screen's memory, and nothing else drives the display, guaranteed by the caller (see
    // # Safety).
    let Some(mut mode) = (unsafe { TextMode::find(cells) }) else { return };
    let serial = SERIAL.lock();
    let mut screen = SCREEN.lock();
    screen.text.show(&mut mode);
    screen.cells = Some(mode);
    drop(screen);
    drop(serial);
    write_kept();
}

/// Shows the log on a screen of pixels, unless it is shown already, or the layout makes no sense, or is too small. Returns
/// what it is shown on.
///
/// # Safety
/// `memory` leads to the display's memory, as much as the layout says, mapped for good; nobody else writes there.
pub unsafe fn open_pixels(found: Option<(Layout, NonNull<u8>)>) -> Option<Shown> {
    let serial = SERIAL.lock();
    let mut screen = SCREEN.lock();
    if let (None, Some((layout, memory))) = (screen.shown(), found.filter(|(layout, _)| fits(layout))) {
        let LiveScreen { text, font, pixels, .. } = &mut *screen;
        let (columns, rows) = layout.cells();
        font.read();
        text.grow(columns, rows);
        let mut memory = Frame(memory);
        for at in (0..layout.bytes()).step_by(size_of::<u32>()) {
            memory.set(at, (layout.bytes() - at).min(size_of::<u32>()), 0);
        }
        text.show(&mut Pixels { layout, font, memory: &mut memory });
        *pixels = Some((layout, memory));
    }
    let shown = screen.shown();
    drop(screen);
    drop(serial);
    write_kept();
    shown
}

/// Whether the text that was kept so far has room.
fn fits(layout: &Layout) -> bool {
    let (columns, rows) = layout.cells();
    layout.is_sound() && columns >= super::TEXT_COLUMNS && rows >= super::TEXT_ROWS
}
