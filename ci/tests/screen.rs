//! The screen shows what the serial line shows: the log, the panic report, and the reason for which the kernel refuses the
//! machine; on VGA's text screen and in pixels.
//!
//! The expected screen is computed from the lines of the serial port by the kernel's own code for text and glyphs. The actual
//! screen is read from QEMU, from the display's memory or a picture of the screen.

mod picture;
mod watched;

use std::collections::HashMap;

use octopod::console::screen::{TEXT_COLUMNS, TEXT_ROWS};
use watched::Watched;

#[test]
fn a_refusal_is_on_the_text_screen() {
    let arguments = ["boot", "--cpu", "qemu64,-nx", "--machine", "pc"];
    let machine = Watched::boot_until(&arguments, "the refusal", |guest| guest.seen.refused.is_some());
    assert_eq!(machine.text_screen()[0], "octopod: this processor lacks NX");
}

#[test]
fn the_log_is_on_the_text_screen() {
    // More lines than the screen has rows.
    let machine =
        Watched::boot(&["boot", "--smp", "4", "--append", "work=selftest selftest.parts=log,calls"]);
    let expected = machine.expected(None);
    assert_eq!(machine.text_screen(), expected);
    assert!(expected.iter().any(|row| row.ends_with("report: pass")), "{expected:#?}");

    // And that is what the display makes of it: a picture of each character, wherever it stands.
    let picture = machine.picture();
    let (width, height) = (picture.width / TEXT_COLUMNS, picture.height / TEXT_ROWS);
    let mut tiles: HashMap<char, Vec<u32>> = HashMap::new();
    for (row, text) in expected.iter().enumerate() {
        for (column, character) in format!("{text:TEXT_COLUMNS$}").chars().enumerate() {
            let tile = picture.tile(column * width, row * height, width, height);
            assert_eq!(
                tiles.entry(character).or_insert_with(|| tile.clone()),
                &tile,
                "{character:?} in row {row}"
            );
        }
    }
    assert!(tiles.len() > 30, "only {} characters: the test has gone blind", tiles.len());
    let mut different: Vec<_> = tiles.values().collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), tiles.len(), "two characters look alike");
}

#[test]
fn the_log_is_on_a_screen_of_pixels() {
    let machine = Watched::boot(&[
        "boot",
        "--boot",
        "uefi",
        "--smp",
        "2",
        "--append",
        "work=selftest selftest.parts=log",
    ]);
    let picture = machine.picture();
    let shown = picture.read();
    let expected = machine.expected(Some(picture.cells()));
    assert_eq!(shown, expected);
    assert!(expected.iter().any(|row| row.ends_with("report: pass")), "{expected:#?}");
}

#[test]
fn panic_report_is_on_the_text_screen() {
    let machine = panic_report_of(&["boot", "--smp", "4", "--inject", "panic_cpu3"]);
    check_panic_report(&machine.text_screen());
}

#[test]
fn panic_report_is_on_a_screen_of_pixels() {
    let machine = panic_report_of(&["boot", "--boot", "uefi", "--smp", "4", "--inject", "panic_cpu3"]);
    check_panic_report(&machine.picture().read());
}

/// A machine whose kernel has said all that it had to.
fn panic_report_of(arguments: &[&str]) -> Watched {
    let said = |line: &String| line.contains(END);
    Watched::boot_until(arguments, "the panic report", |guest| guest.lines.iter().any(said))
}

/// The last line of the panic report; the screen has it before the serial line does.
const END: &str = "octopod: end of the panic report";

/// A person sees who died of what, where each CPU was, and no numbers that only the launcher can read.
fn check_panic_report(rows: &[String]) {
    let starts = |start: &str| rows.iter().position(|row| row.starts_with(start));
    let message = "the injected fault panic_cpu3";
    let first = starts(&format!("octopod: cpu3 panicked: {message}"));
    assert!(first.is_some_and(|row| rows[row + 1].starts_with("  at src/faults/panics.rs:")), "{rows:#?}");
    for cpu in ["cpu 0: stopped, ", "cpu 1: stopped, ", "cpu 2: stopped, ", "cpu 3: panicked, "] {
        assert!(starts(cpu) > first, "{cpu}: {rows:#?}");
    }
    let last = rows.iter().rfind(|row| !row.is_empty()).unwrap();
    assert_eq!(*last, format!("{END} of cpu3: {message}"));
}

#[test]
fn where_there_is_no_screen_nothing_is_written() {
    let machine = Watched::boot(&["boot", "--smp", "2", "--machine", "microvm"]);
    let facts = &machine.guest.seen.facts;
    let console = facts.iter().find(|fact| fact.subject == "boot" && fact.name == "console");
    assert_eq!(console.expect("the fact").text.as_deref(), Some("serial"));
    assert!(machine.display_memory().iter().all(|byte| *byte == 0));
}
