//! Boots of the same kernel, one after the other. One boot in eleven has 64 CPUs, and every second boot runs on a limited part
//! of the host.

use std::time::Duration;

use crate::base::{Error, Message, Observer, Silent, interrupt};
use crate::commands::runs::launch_with;
use crate::commands::soak::cpu_limit::CpuLimit;
use crate::commands::soak::task::{Ended, Task, human};
use crate::present::terminal::Console;
use crate::report::expect::Expect;
use crate::setup;

/// Of so many boots one is of [`MANY`] CPUs, the others of [`FEW`]. Odd, so that as many of either kind are held as not.
const EVERY: u64 = 11;
const FEW: u32 = 8;
const MANY: u32 = 64;

/// The default of `--count`: boots.
pub(super) const BOOTS: u64 = 1_100;

/// A held boot may take so long, in seconds: ten times the usual.
const HELD_LIMIT_S: &str = "600";

/// A kind of boot, and the results of its boots.
#[derive(Debug, Default)]
struct Tally {
    boots: u64,
    slowest: Duration,
}

/// The configuration of the boot of this number: its CPUs, and whether its CPU time is limited.
fn kind(number: u64) -> (u32, bool) {
    let cpus = if number % EVERY == EVERY - 1 { MANY } else { FEW };
    (cpus, number % 2 == 1)
}

/// Boots as often as the task asks for.
pub(crate) fn run(task: &Task<'_>, console: &mut Console) -> Result<Ended, Error> {
    let qemu = setup::qemu::provide(task.qemu, console)?;
    let limited = CpuLimit::new(&qemu.program, &task.folder)?;
    let mut built = task.launch(&["boot"])?;
    task.build(&mut built, console)?;
    let mut tallies: [Tally; 4] = Default::default();
    let count = task.count.unwrap_or(BOOTS);
    for number in 0..count {
        let (cpus, is_held) = kind(number);
        let share = if is_held { format!(", held to {}", limited.share()) } else { String::new() };
        let now = format!("{cpus} CPUs{share}");
        console.receive(Message::Count { what: "boots", done: number, of: count, now: &now });

        let smp = cpus.to_string();
        let mut arguments = vec!["boot", "--accel", task.accel.name(), "--smp", &smp];
        let program = limited.program.display().to_string();
        if is_held {
            arguments.extend(["--timeout", HELD_LIMIT_S, "--qemu", &program]);
        }
        let mut launch = task.launch(&arguments)?;
        launch.kernel.source.clone_from(&built.kernel.source);
        let outcome = launch_with(&launch, &mut Silent);
        if interrupt::requested() {
            return Err(Error::Interrupted);
        }
        let wrong = expected(cpus).check(&outcome);
        if !wrong.is_empty() {
            let what = format!("boot {} ({cpus} CPUs{share}): {}", number + 1, wrong.join("; "));
            return Ok(task.failed(&what, &outcome, &arguments.join(" ")));
        }
        let took = outcome.report.host.as_ref().map_or(0, |host| host.wall_ms);
        let tally = &mut tallies[2 * usize::from(cpus == MANY) + usize::from(is_held)];
        tally.boots += 1;
        tally.slowest = tally.slowest.max(Duration::from_millis(took));
    }
    Ok(Ended::Passed(summary(&tallies, &limited.share())))
}

/// The expected result of each boot.
fn expected(cpus: u32) -> Expect {
    Expect { cpus: Some(cpus), ..Expect::default() }
}

fn summary(tallies: &[Tally; 4], share: &str) -> String {
    let all: u64 = tallies.iter().map(|tally| tally.boots).sum();
    let kinds = [(FEW, ""), (FEW, share), (MANY, ""), (MANY, share)];
    let parts =
        tallies.iter().zip(kinds).filter(|(tally, _)| tally.boots > 0).map(|(tally, (cpus, share))| {
            let share = if share.is_empty() { String::new() } else { format!(" held to {share}") };
            format!("{} of {cpus} CPUs{share}, the slowest {}", tally.boots, human(tally.slowest))
        });
    format!("{all} boots, 0 failures ({})", parts.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eleven_hundred_boots_are_a_thousand_and_a_hundred_half_of_each_held() {
        let count = |wanted| (0..1_100).filter(|&number| kind(number) == wanted).count();
        assert_eq!([count((FEW, false)), count((FEW, true))], [500, 500]);
        assert_eq!([count((MANY, false)), count((MANY, true))], [50, 50]);
    }

    #[test]
    fn the_summary_has_the_counts_and_the_slowest_of_each_kind() {
        let tally = |boots, ms| Tally { boots, slowest: Duration::from_millis(ms) };
        let text = summary(&[tally(6, 1_500), tally(5, 9_000), tally(0, 0), tally(1, 150_000)], "one core");
        assert_eq!(
            text,
            "12 boots, 0 failures (6 of 8 CPUs, the slowest 1.5 s; 5 of 8 CPUs held to one core, the slowest 9.0 s; \
             1 of 64 CPUs held to one core, the slowest 2 min 30 s)"
        );
    }
}
