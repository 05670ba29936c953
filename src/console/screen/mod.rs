//! What is on the screen: characters in rows, the newest at the bottom. Pure; where they are shown is a [`Surface`]'s
//! affair.
//!
//! The text is kept here and never read back: a display's memory is slow to read. It is drawn later than it is written, in
//! sections, and of it only the cells whose character has changed: several lines scroll the surface once.

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

/// The text, and what a surface shows of it. An empty one is all zero, and takes no room in the image.
///
/// Writing changes the text alone, and costs the same for each character and line whatever is on the screen. The surface
/// follows by [`draw_section`](Text::draw_section).
pub struct Text {
    /// Characters; [`BLANK`] where nothing was written. A ring of rows, so that scrolling moves none.
    cells: [[u8; MAX_COLUMNS]; MAX_ROWS],
    /// The top row's index in the ring.
    top: usize,
    /// What the surface shows.
    drawn: [[u8; MAX_COLUMNS]; MAX_ROWS],
    /// Bit n: row n may show something else than the text.
    behind: u128,
    /// Columns and rows beyond those of VGA's text mode.
    more_columns: usize,
    more_rows: usize,
    column: usize,
    row: usize,
}

const _: () = assert!(MAX_ROWS < u128::BITS as usize);

impl Default for Text {
    fn default() -> Text {
        Text::new()
    }
}

impl Text {
    /// An empty one, as large as VGA's text mode.
    pub const fn new() -> Text {
        Text {
            cells: [[BLANK; MAX_COLUMNS]; MAX_ROWS],
            top: 0,
            drawn: [[BLANK; MAX_COLUMNS]; MAX_ROWS],
            behind: 0,
            more_columns: 0,
            more_rows: 0,
            column: 0,
            row: 0,
        }
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.columns(), self.rows())
    }

    /// Makes it larger, up to [`MAX_COLUMNS`] and [`MAX_ROWS`]: what is there stays where it is. It never gets smaller.
    pub fn grow(&mut self, columns: usize, rows: usize) {
        let before = self.rows();
        self.more_columns = columns.clamp(self.columns(), MAX_COLUMNS) - TEXT_COLUMNS;
        self.more_rows = rows.clamp(self.rows(), MAX_ROWS) - TEXT_ROWS;
        // The ring still has rows there that were scrolled out.
        for row in before..self.rows() {
            *self.cells_of(row) = [BLANK; MAX_COLUMNS];
        }
    }

    fn columns(&self) -> usize {
        TEXT_COLUMNS + self.more_columns
    }

    fn rows(&self) -> usize {
        TEXT_ROWS + self.more_rows
    }

    fn index(&self, row: usize) -> usize {
        (self.top + row) % MAX_ROWS
    }

    fn cells_of(&mut self, row: usize) -> &mut [u8; MAX_COLUMNS] {
        &mut self.cells[self.index(row)]
    }

    /// Shows all of it, for a surface that shows something else.
    pub fn show(&mut self, surface: &mut impl Surface) {
        for row in 0..self.rows() {
            for column in 0..self.columns() {
                let character = shown(self.cells[self.index(row)][column]);
                surface.put(column, row, character);
                self.drawn[row][column] = character;
            }
        }
        self.behind = 0;
    }

    /// The characters of a row, with the blanks at its end.
    pub fn row(&self, row: usize) -> impl Iterator<Item = u8> {
        self.cells[self.index(row)][..self.columns()].iter().copied().map(shown)
    }

    /// Writes text behind what is there. What is not printable ASCII is shown as a question mark.
    pub fn write(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\n' => self.end_row(),
                '\r' => self.column = 0,
                ' '..='~' => self.put(character as u8),
                _ => self.put(b'?'),
            }
        }
    }

    /// Draws cells that show something else than the text, so many at most and of one row. False when there are no more.
    pub fn draw_section(&mut self, surface: &mut impl Surface, cells: usize) -> bool {
        let row = self.behind.trailing_zeros() as usize;
        if row >= self.rows() {
            self.behind = 0;
            return false;
        }
        let (index, columns) = (self.index(row), self.columns());
        let mut left = cells;
        let pairs = self.drawn[row][..columns].iter_mut().zip(&self.cells[index][..columns]);
        for (column, (drawn, cell)) in pairs.enumerate() {
            if shown(*drawn) == shown(*cell) {
                continue;
            }
            if left == 0 {
                return true;
            }
            left -= 1;
            // In this order: a CPU that is stopped in between leaves a cell that is drawn again.
            surface.put(column, row, shown(*cell));
            *drawn = shown(*cell);
        }
        self.behind &= self.behind - 1;
        self.behind != 0
    }

    /// Draws all of it.
    pub fn draw(&mut self, surface: &mut impl Surface) {
        while self.draw_section(surface, usize::MAX) {}
    }

    /// The next row is begun only by the next character: a line's end must not cost the bottom row.
    fn end_row(&mut self) {
        self.column = 0;
        self.row += 1;
    }

    fn put(&mut self, character: u8) {
        if self.column == self.columns() {
            self.end_row();
        }
        while self.row >= self.rows() {
            self.scroll();
        }
        let (column, row) = (self.column, self.row);
        self.cells_of(row)[column] = character;
        self.behind |= 1 << row;
        self.column += 1;
    }

    fn scroll(&mut self) {
        self.top = self.index(1);
        let bottom = self.rows() - 1;
        *self.cells_of(bottom) = [BLANK; MAX_COLUMNS];
        self.behind = (1 << self.rows()) - 1;
        self.row -= 1;
    }
}

/// What a cell shows.
fn shown(cell: u8) -> u8 {
    if cell == BLANK { b' ' } else { cell }
}
