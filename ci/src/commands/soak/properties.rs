//! The library's property tests of the frame allocator and of the heap, with a given number of random operations.

use crate::base::Error;
use crate::commands::soak::cargo::Cargo;
use crate::commands::soak::task::{Ended, Task};
use crate::present::terminal::Console;

/// The default of `--count`: operations.
pub(super) const OPERATIONS: u64 = 10_000_000;

/// Runs until each test has done its share.
pub(crate) fn run(task: &Task<'_>, console: &mut Console) -> Result<Ended, Error> {
    let words = ["test", "--package", "octopod", "--lib", "--profile", "bench", "--"];
    let mut cargo = Cargo::new(
        task,
        "model",
        &[&words[..], &["memory::tests::model::", "heap::tests::model::", "--nocapture"]].concat(),
    );
    let operations = task.count.unwrap_or(OPERATIONS).to_string();
    cargo.command().env("FRAMES_MODEL_OPERATIONS", &operations).env("HEAP_MODEL_OPERATIONS", &operations);
    let step = "random operations against the naive models and the oracle";
    cargo.test(step, task, console, |tests| {
        let (operations, cases) = (tests.sum("operations"), tests.sum("cases"));
        format!(
            "{operations} random operations in {cases} cases agree with the naive models and with the oracle"
        )
    })
}
