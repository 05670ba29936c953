//! The library's models: under loom, which tries every interleaving of small models, and under shuttle, which tries random
//! interleavings of larger ones. Each crate replaces the atomics of the modelled code, so the library is built once for each.

use crate::base::{Error, Message, Observer};
use crate::commands::soak::cargo::Cargo;
use crate::commands::soak::task::{Ended, Task};
use crate::present::terminal::Console;

/// The modules of the models, as part of their tests' names.
const MODELS: &str = "models::";

/// Models that shuttle alone runs, and which share its schedules.
const STORMS: &str = "models::storms::";

/// The first step.
const BUILDING: &str = "building the models";

/// The default of `--count`: random schedules.
pub(super) const SCHEDULES: u64 = 1_000_000;

/// Every interleaving; the count is the bound for preemptions, in place of each model's own.
pub(crate) fn loom(task: &Task<'_>, console: &mut Console) -> Result<Ended, Error> {
    let mut cargo = tests(task, "loom", &[MODELS, "--nocapture"]);
    if let Some(bound) = task.count {
        cargo.command().env("LOOM_MAX_PREEMPTIONS", bound.to_string());
    }
    cargo.test(BUILDING, task, console, |tests| {
        format!("{} interleavings of {} models", tests.sum("interleavings"), tests.passed)
    })
}

/// Random schedules: so many of the storms, and a tenth as many of each small model as of each storm.
pub(crate) fn shuttle(task: &Task<'_>, console: &mut Console) -> Result<Ended, Error> {
    let mut storms = 0;
    console.receive(Message::Step(BUILDING));
    let listed = tests(task, "shuttle", &[STORMS, "--list"]).run(|line| {
        storms += u64::from(line.contains(STORMS) && line.ends_with(": test"));
    })?;
    if storms == 0 {
        return Err(listed.failed());
    }
    let of_each = task.count.unwrap_or(SCHEDULES).div_ceil(storms);
    let mut cargo = tests(task, "shuttle", &[MODELS, "--nocapture"]);
    cargo.command().env("SHUTTLE_SCHEDULES", of_each.to_string());
    cargo.test(BUILDING, task, console, |tests| {
        let (all, small) = (tests.sum("schedules"), tests.passed - storms);
        let of_storms = of_each * storms;
        format!("{of_storms} schedules of {storms} storms, {} of {small} small models", all - of_storms)
    })
}

/// The library's tests, built for this crate.
fn tests(task: &Task<'_>, crate_name: &str, arguments: &[&str]) -> Cargo {
    let words = ["test", "--package", "octopod", "--lib", "--profile", "bench", "--"];
    let mut cargo = Cargo::new(task, crate_name, &[&words, arguments].concat());
    cargo.command().env("RUSTFLAGS", format!("--cfg {crate_name}"));
    cargo
}
