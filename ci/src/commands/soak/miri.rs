//! The tests of the frame allocator and of the heap, and of the structures that are laid over ACPI tables, under Miri. Miri is an interpreter
//! that detects undefined behaviour: invalid pointers, data races, invalid values. It is a hundred times slower or more, so the
//! tests do fewer rounds there.

use crate::base::Error;
use crate::commands::soak::cargo::Cargo;
use crate::commands::soak::task::{Ended, Task};
use crate::present::terminal::Console;
use crate::setup;

/// The allocator takes addresses from numbers, as a kernel must; the tests read their environment, and leak what a kernel
/// never frees.
const FLAGS: &str = "-Zmiri-permissive-provenance -Zmiri-disable-isolation -Zmiri-ignore-leaks";

/// The default of `--count`: cases of each property test.
pub(super) const CASES: u64 = 2;

/// Runs them once; not the tests of the accounting of memory before the allocator has it, which have no unsafe code.
pub(crate) fn run(task: &Task<'_>, console: &mut Console) -> Result<Ended, Error> {
    setup::rust::nightly(&["miri", "rust-src"], console)?;
    let words = [
        "miri",
        "test",
        "--package",
        "octopod",
        "--lib",
        "--",
        "memory::frames::",
        "memory::cache::",
        "memory::tests::",
        "heap::tests::",
        "heap::sites::",
        "acpi::layout::",
        "--skip",
        "memory::tests::accounting::",
    ];
    let mut cargo = Cargo::nightly(task, "miri", &words);
    cargo.command().env("MIRIFLAGS", FLAGS);
    cargo.command().env("PROPTEST_CASES", task.count.unwrap_or(CASES).to_string());
    cargo.test("building the tests for Miri", task, console, |tests| {
        format!(
            "{} tests of the frame allocator, of the heap and of table layouts, no undefined behaviour",
            tests.passed
        )
    })
}
