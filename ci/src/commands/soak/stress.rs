//! All workloads on eight CPUs, in one run with a given number of operations.
//!
//! The kernel's workloads run for a time, so a short run first measures how long the actual run has to be.

use crate::base::{Error, Message, Observer, interrupt};
use crate::commands::runs::launch_with;
use crate::commands::soak::task::{Ended, Task};
use crate::present::terminal::Console;
use crate::report::Outcome;
use crate::report::expect::Expect;

/// The default of `--count`: operations.
pub(super) const OPERATIONS: u64 = 1_000_000_000;

/// Seconds of the run that measures.
const TRIAL_S: u64 = 20;

/// The time is for the count and so much more, in percent: the host may be busier later.
const SPARE_PERCENT: u64 = 15;

/// The longest time of a run, in seconds.
const MAX_S: u64 = 86_400;

/// Runs of which none reaches the count, before the host is called too slow.
const ATTEMPTS: usize = 3;

/// Runs until one run has done as many operations as the task asks for.
pub(crate) fn run(task: &Task<'_>, console: &mut Console) -> Result<Ended, Error> {
    let mut built = task.launch(&["stress"])?;
    task.build(&mut built, console)?;
    let count = task.count.unwrap_or(OPERATIONS);
    let mut seconds = TRIAL_S;
    let mut done = 0;
    for _ in 0..=ATTEMPTS {
        console.receive(Message::Step(&format!("stress for {seconds} s")));
        let time = seconds.to_string();
        let arguments = ["stress", "--accel", task.accel.name(), "--smp", "8", "--seconds", &time];
        let mut launch = task.launch(&arguments)?;
        launch.kernel.source.clone_from(&built.kernel.source);
        let outcome = launch_with(&launch, console);
        if interrupt::requested() {
            return Err(Error::Interrupted);
        }
        let wrong = expected().check(&outcome);
        if !wrong.is_empty() {
            return Ok(task.failed(&wrong.join("; "), &outcome, &arguments.join(" ")));
        }
        done = operations(&outcome);
        if done >= count {
            let workloads = outcome.report.stress.len();
            return Ok(Ended::Passed(format!(
                "{done} operations of {workloads} workloads on 8 CPUs in one run, nothing lost, nothing allocated twice"
            )));
        }
        seconds = time_for(count, done, seconds);
    }
    let text = format!("only {done} of {} operations in the last of {} runs", count, ATTEMPTS + 1);
    Ok(Ended::Failed(text, task.folder.path.clone()))
}

fn operations(outcome: &Outcome) -> u64 {
    outcome.report.stress.iter().map(|stress| stress.operations).sum()
}

/// Returns the seconds that `count` operations take, if `done` took this number of seconds.
fn time_for(count: u64, done: u64, seconds: u64) -> u64 {
    let exact = u128::from(count) * u128::from(seconds) / u128::from(done.max(1));
    let spare = exact * u128::from(100 + SPARE_PERCENT) / 100 + 1;
    u64::try_from(spare).unwrap_or(MAX_S).min(MAX_S)
}

fn expected() -> Expect {
    Expect { cpus: Some(8), ..Expect::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_in_proportion_with_some_to_spare() {
        assert_eq!(time_for(1_000_000_000, 80_000_000, 20), 288);
        assert_eq!(time_for(1_000, 0, 20), 23_001);
        assert_eq!(time_for(u64::MAX, 1, 20), MAX_S);
    }
}
