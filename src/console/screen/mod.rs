//! What is on the screen: characters in rows, the newest at the bottom. Pure; where they are shown is a [`Surface`]'s
//! affair.
//!
//! The text is kept here and never read back: a display's memory is slow to read. Scrolling draws only the cells whose
//! character changes.

pub mod font;
pub(crate) mod pixels;

#[cfg(target_os = "none")]
mod live;
#[cfg(target_os = "none")]
mod vga;

#[cfg(test)]
mod tests;

#[cfg(target_os = "none")]
pub(crate) use live::{LiveScreen, SCREEN, Shown, open_pixels, open_text};

/// The most columns that are used; what a wider screen has is left dark.
pub const MAX_COLUMNS: usize = 240;

/// The most rows.
pub const MAX_ROWS: usize = 84;

/// The columns of VGA's text mode, and of text that was written before there is a screen.
pub const TEXT_COLUMNS: usize = 80;

/// Its rows.
pub const TEXT_ROWS: usize = 25;

/// A cell that nothing was written to.
const BLANK: u8 = 0;

/// Where single characters are shown.
pub trait Surface {
    /// Shows a printable ASCII character in a cell, which is one of the screen's.
    fn put(&mut self, column: usize, row: usize, character: u8);
}

/// The text. An empty one is all zero, and takes no room in the image.
pub struct Text {
    /// Characters; [`BLANK`] where nothing was written.
    cells: [[u8; MAX_COLUMNS]; MAX_ROWS],
    /// Columns and rows beyond those of VGA's text mode.
    more_columns: usize,
    more_rows: usize,
    column: usize,
    row: usize,
}

impl Default for Text {
    fn default() -> Text {
        Text::new()
    }
}

impl Text {
    /// An empty one, as large as VGA's text mode.
    pub const fn new() -> Text {
        Text { cells: [[BLANK; MAX_COLUMNS]; MAX_ROWS], more_columns: 0, more_rows: 0, column: 0, row: 0 }
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.columns(), self.rows())
    }

    /// Makes it larger, up to [`MAX_COLUMNS`] and [`MAX_ROWS`]: what is there stays where it is. It never gets smaller.
    pub fn grow(&mut self, columns: usize, rows: usize) {
        self.more_columns = columns.clamp(self.columns(), MAX_COLUMNS) - TEXT_COLUMNS;
        self.more_rows = rows.clamp(self.rows(), MAX_ROWS) - TEXT_ROWS;
    }

    fn columns(&self) -> usize {
        TEXT_COLUMNS + self.more_columns
    }

    fn rows(&self) -> usize {
        TEXT_ROWS + self.more_rows
    }

    /// Shows all of it, for a surface that shows something else.
    pub fn show(&self, surface: &mut impl Surface) {
        for row in 0..self.rows() {
            for column in 0..self.columns() {
                surface.put(column, row, shown(self.cells[row][column]));
            }
        }
    }

    /// The characters of a row, with the blanks at its end.
    pub fn row(&self, row: usize) -> impl Iterator<Item = u8> {
        self.cells[row][..self.columns()].iter().copied().map(shown)
    }

    /// Writes text behind what is there. What is not printable ASCII is shown as a question mark.
    pub fn write(&mut self, text: &str, surface: &mut impl Surface) {
        for character in text.chars() {
            match character {
                '\n' => self.end_row(),
                '\r' => self.column = 0,
                ' '..='~' => self.put(character as u8, surface),
                _ => self.put(b'?', surface),
            }
        }
    }

    /// The next row is begun only by the next character: a line's end must not cost the bottom row.
    fn end_row(&mut self) {
        self.column = 0;
        self.row += 1;
    }

    fn put(&mut self, character: u8, surface: &mut impl Surface) {
        if self.column == self.columns() {
            self.end_row();
        }
        while self.row >= self.rows() {
            self.scroll(surface);
        }
        self.set(self.column, self.row, character, surface);
        self.column += 1;
    }

    fn scroll(&mut self, surface: &mut impl Surface) {
        for row in 0..self.rows() {
            for column in 0..self.columns() {
                let below = if row + 1 < self.rows() { self.cells[row + 1][column] } else { BLANK };
                self.set(column, row, below, surface);
            }
        }
        self.row -= 1;
    }

    fn set(&mut self, column: usize, row: usize, character: u8, surface: &mut impl Surface) {
        let cell = &mut self.cells[row][column];
        if shown(*cell) != shown(character) {
            surface.put(column, row, shown(character));
        }
        *cell = character;
    }
}

/// What a cell shows.
fn shown(cell: u8) -> u8 {
    if cell == BLANK { b' ' } else { cell }
}
