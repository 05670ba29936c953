//! The comparison for a terminal of 80 columns.

use comfy_table::{CellAlignment, ColumnConstraint, Table, Width};

use crate::present::layout;
use crate::report::Report;
use crate::report::comparison::{Group, Row, differences, groups};

/// Longer names are cut.
const NAME: usize = 36;

/// Two runs side by side, line by line.
pub fn lines(old: &Report, new: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, old, new) in differences(old, new) {
        lines.push(cut(&format!("{name}: {old} → {new}"), layout::COLUMNS.into()));
    }
    for group in groups(old, new) {
        lines.extend(layout::lines(&table(&group)));
    }
    lines
}

/// A figure with as many digits as matter, in at most ten characters.
pub fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 1e8 => crate::base::numbers::short(value),
        Some(value) if value >= 1000.0 => indicatif::HumanCount(value as u64).to_string(),
        Some(value) => crate::base::numbers::plain(value),
    }
}

/// Returns the ratio of the new figure to the old one, in words.
pub fn ratio(row: &Row) -> String {
    match row.ratio() {
        None => "-".to_owned(),
        Some(ratio) if ratio >= 1000.0 => ">999".to_owned(),
        Some(ratio) => format!("{ratio:.2}"),
    }
}

fn cut(text: &str, width: usize) -> String {
    let text = crate::base::text::line(text);
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

fn table(group: &Group) -> Table {
    let mut table = layout::table([group.name, "old", "new", "ratio", ""]);
    for row in &group.rows {
        table.add_row([
            cut(&row.name, NAME),
            figure(row.old),
            figure(row.new),
            ratio(row),
            row.word().to_owned(),
        ]);
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        match at {
            0 => drop(column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(NAME as u16 + 1)))),
            4 => drop(column.set_constraint(ColumnConstraint::ContentWidth)),
            _ => {
                column.set_cell_alignment(CellAlignment::Right);
                column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(11)));
            }
        }
    }
    table
}
