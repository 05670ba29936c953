//! The tests of the frame allocator, and of the structures laid over ACPI tables, under Miri, an interpreter that sees
//! undefined behaviour: a wrong pointer, a data race, a value that is none. It is a hundred times slower or more, so the
//! tests do less of the same there.

use crate::base::{Error, Message, Observer};
use crate::commands::soak::cargo::{Cargo, Tests};
use crate::commands::soak::task::{Ended, Task};
use crate::present::terminal::Console;
use crate::setup;

/// The allocator takes addresses from numbers, as a kernel must; the tests read their environment, and leak what a kernel
/// never frees.
const FLAGS: &str = "-Zmiri-permissive-provenance -Zmiri-disable-isolation -Zmiri-ignore-leaks";

/// Cases of each property test, unless `--count` says otherwise.
const CASES: u64 = 2;

/// Runs them once; not the books, which are of where memory goes before the allocator has it, and have no unsafe code.
pub fn run(task: &Task<'_>, console: &mut Console) -> Result<Ended, Error> {
    setup::rust::nightly(&["miri", "rust-src"], console)?;
    console.receive(Message::Step("building the tests for Miri"));
    let words = [
        "miri",
        "test",
        "--package",
        "octopod",
        "--lib",
        "--",
        "memory::frames::",
        "acpi::layout::",
        "--skip",
        "books",
    ];
    let mut cargo = Cargo::nightly(task, "miri", &words);
    cargo.command().env("MIRIFLAGS", FLAGS);
    cargo.command().env("PROPTEST_CASES", task.count.unwrap_or(CASES).to_string());
    let mut tests = Tests::default();
    let ran = cargo.run(|line| {
        tests.read(line);
        if let Some(test) = line.strip_prefix("test ").and_then(|rest| rest.split(" ... ").next()) {
            console.receive(Message::Step(&format!("under Miri, done: {test}")));
        }
        console.receive(Message::Tool(line));
    })?;
    tests.ended(ran, task, |tests| {
        format!("{} tests of the frame allocator and of table layouts, no undefined behaviour", tests.passed)
    })
}
