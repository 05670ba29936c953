//! Records of the program itself: figures on the report's page, and facts in `report.json`.

use crate::console::{self, LineBuffer};
use crate::wire::{Figure, Record};

/// The longest name, unit or subject, in bytes. Longer ones are truncated.
pub const MAX_NAME_BYTES: usize = 60;

/// The longest text of a fact, in bytes.
pub const MAX_TEXT_BYTES: usize = 160;

type Name = LineBuffer<MAX_NAME_BYTES>;

/// Reports a figure: a row of the table after the run and of the report's page, and an entry of `figures` in `report.json`. A
/// figure of the same name replaces the earlier one.
///
/// ```ignore
/// report::figure("items made", 8_000, "items");
/// ```
///
/// **Context:** thread or interrupt; not NMI. Waits for room in the serial port's buffer.
pub fn figure(name: &str, value: u64, unit: &str) {
    mean(name, value, 1, unit);
}

/// As [`figure`], for a figure that is `total / count`, which the launcher computes without rounding. With a count of 0 there is no
/// figure.
///
/// ```ignore
/// report::mean("time for an item", elapsed_ns, items, "ns");
/// ```
///
/// **Context:** as for [`figure`].
pub fn mean(name: &str, total: u64, count: u64, unit: &str) {
    if count > 0 {
        let (name, unit) = (short(name), short(unit));
        console::send(&Record::Figure(Figure { name: name.as_str(), unit: unit.as_str(), total, count }));
    }
}

/// Reports a number for programs that read `report.json`: an entry of `facts`, whose subject is `program.SUBJECT`.
///
/// **Context:** as for [`figure`].
pub fn number(subject: &str, name: &str, value: u64) {
    let (subject, name) = (subject_of(subject), short(name));
    console::send(&Record::number(subject.as_str(), name.as_str(), value));
}

/// As [`number`], for a text.
///
/// **Context:** as for [`figure`].
pub fn text(subject: &str, name: &str, text: &str) {
    let (subject, name) = (subject_of(subject), short(name));
    let text = LineBuffer::<MAX_TEXT_BYTES>::format(format_args!("{text}"));
    console::send(&Record::text(subject.as_str(), name.as_str(), text.as_str()));
}

fn short(text: &str) -> Name {
    Name::format(format_args!("{text}"))
}

fn subject_of(subject: &str) -> Name {
    Name::format(format_args!("program.{subject}"))
}
