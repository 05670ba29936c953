//! The text on the screen: rows of characters, the newest at the bottom. Pure; a [`Surface`] shows it.
//!
//! The text is kept in memory and never read back from the display, whose memory is slow to read. It is drawn later than it is
//! written, in sections, and only cells whose character has changed are drawn, so several lines scroll the surface once.

pub mod font;
pub(crate) mod pixels;

#[cfg(target_os = "none")]
mod live;
#[cfg(target_os = "none")]
pub(crate) mod vga;

#[cfg(test)]
mod tests;

#[cfg(target_os = "none")]
pub(crate) use live::{DisplayMode, LiveScreen, SCREEN};

/// The most columns in use. The rest of a wider screen stays dark.
pub const MAX_COLUMNS: usize = 240;

/// The most rows in use.
pub const MAX_ROWS: usize = 84;

/// The columns of VGA's text mode, and of text that is written before the screen is found.
pub const TEXT_COLUMNS: usize = 80;

/// The rows of VGA's text mode.
pub const TEXT_ROWS: usize = 25;

/// An empty cell.
const BLANK: u8 = 0;

/// A display of single characters.
pub trait Surface {
    /// Shows a printable ASCII character in a cell of the screen.
    fn put(&mut self, column: usize, row: usize, character: u8);
}

/// The text, and what the surface shows of it. The initial bytes are zero, so a static takes no space in the image.
///
/// Writing changes only the text, at constant cost for each character and line. [`draw_section`](Text::draw_section) updates
/// the surface.
pub struct Text {
    /// The characters; [`BLANK`] in empty cells. A ring of rows, so that scrolling moves none.
    cells: [[u8; MAX_COLUMNS]; MAX_ROWS],
    /// The top row's index in the ring.
    top: usize,
    /// The characters on the surface.
    drawn: [[u8; MAX_COLUMNS]; MAX_ROWS],
    /// Bit n: row n of the surface may differ from the text.
    dirty: u128,
    /// Columns and rows in addition to those of VGA's text mode.
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
    /// Creates an empty text of the size of VGA's text mode.
    pub const fn new() -> Text {
        Text {
            cells: [[BLANK; MAX_COLUMNS]; MAX_ROWS],
            top: 0,
            drawn: [[BLANK; MAX_COLUMNS]; MAX_ROWS],
            dirty: 0,
            more_columns: 0,
            more_rows: 0,
            column: 0,
            row: 0,
        }
    }

    /// The number of columns and rows.
    pub fn size(&self) -> (usize, usize) {
        (self.columns(), self.rows())
    }

    /// Enlarges the text, up to [`MAX_COLUMNS`] and [`MAX_ROWS`]. Existing characters keep their cells. It never shrinks.
    pub fn grow(&mut self, columns: usize, rows: usize) {
        let before = self.rows();
        self.more_columns = columns.clamp(self.columns(), MAX_COLUMNS) - TEXT_COLUMNS;
        self.more_rows = rows.clamp(self.rows(), MAX_ROWS) - TEXT_ROWS;
        // The new rows of the ring still hold rows that were scrolled out.
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

    /// Draws all cells, for a surface with unknown content.
    pub fn show(&mut self, surface: &mut impl Surface) {
        for row in 0..self.rows() {
            for column in 0..self.columns() {
                let character = shown(self.cells[self.index(row)][column]);
                surface.put(column, row, character);
                self.drawn[row][column] = character;
            }
        }
        self.dirty = 0;
    }

    /// The characters of a row, including trailing blanks.
    pub fn row(&self, row: usize) -> impl Iterator<Item = u8> {
        self.cells[self.index(row)][..self.columns()].iter().copied().map(shown)
    }

    /// Appends text. Characters other than printable ASCII become question marks.
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

    /// Draws up to `cells` changed cells of one row. Returns `false` when no changed cell is left.
    pub fn draw_section(&mut self, surface: &mut impl Surface, cells: usize) -> bool {
        let row = self.dirty.trailing_zeros() as usize;
        if row >= self.rows() {
            self.dirty = 0;
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
            // In this order: if the CPU is stopped in between, the cell is drawn again.
            surface.put(column, row, shown(*cell));
            *drawn = shown(*cell);
        }
        self.dirty &= self.dirty - 1;
        self.dirty != 0
    }

    /// Draws all changed cells.
    pub fn draw(&mut self, surface: &mut impl Surface) {
        while self.draw_section(surface, usize::MAX) {}
    }

    /// Ends the row. Only the next character begins a new row, so that the end of a line does not leave the bottom row empty.
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
        self.dirty |= 1 << row;
        self.column += 1;
    }

    fn scroll(&mut self) {
        self.top = self.index(1);
        let bottom = self.rows() - 1;
        *self.cells_of(bottom) = [BLANK; MAX_COLUMNS];
        self.dirty = (1 << self.rows()) - 1;
        self.row -= 1;
    }
}

/// The character that a cell shows.
fn shown(cell: u8) -> u8 {
    if cell == BLANK { b' ' } else { cell }
}
