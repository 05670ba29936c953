//! The layout of tables on the terminal: at most 80 columns, no lines, numbers right-aligned.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets};

/// The width of a table.
pub(crate) const COLUMNS: u16 = 80;

/// A table with these heads.
pub(crate) fn table(heads: impl Into<Row>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS)
        .set_header(heads);
    table
}

/// Sets the columns: so many of names, each at most so wide, then numbers; so much space behind each.
pub(crate) fn align(table: &mut Table, names: usize, width: u16, space: u16) {
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, space));
        if at < names {
            column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(width)));
        } else {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

/// Its lines, without spaces at their ends.
pub(crate) fn lines(table: &Table) -> Vec<String> {
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}
