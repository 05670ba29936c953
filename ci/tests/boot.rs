//! Boots the kernel in QEMU: a test for each row of the fast tier of `config/machines.toml`, under TCG. The `matrix` command's
//! code runs and judges the rows.
//!
//! `cargo test --test boot NAME` runs the rows whose name contains NAME; `OCTOPOD_TIER=full` runs all tiers.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use octopod_ci::base::{Error, Silent, Workspace};
use octopod_ci::commands::matrix::result::Ended;
use octopod_ci::commands::matrix::rows::{self, Tier};
use octopod_ci::commands::matrix::runner::{Job, Runner};
use octopod_ci::commands::matrix::selection::Selection;
use octopod_ci::machine::AccelChoice;

/// A failed test shows so many of the kernel's lines.
const SERIAL_LINES: usize = 1000;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials(&arguments) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn trials(arguments: &Arguments) -> Result<Vec<Trial>, Error> {
    let workspace = Workspace::find().unwrap();
    let full = std::env::var("OCTOPOD_TIER").is_ok_and(|tier| tier == "full");
    let tier = if full { Tier::Full } else { Tier::Fast };
    let wanted = Selection { tier: Some(tier), ..Selection::default() };
    let rows = wanted.asked_for(rows::read(&workspace.root.join(rows::FILE))?);
    let qemu = std::env::var_os("OCTOPOD_QEMU");
    let folder = workspace.own().join("tests");
    let runner = Runner::new(qemu.as_deref(), AccelChoice::Tcg, folder, &mut Silent)?;
    let mut jobs = runner.jobs(rows)?;

    // Tools and kernels of the selected rows are provided before the rows compete for the processor.
    let is_wanted = |job: &&mut Job| {
        let is_named = arguments.filter.as_ref().is_none_or(|filter| job.row.name.contains(filter));
        is_named && !arguments.list
    };
    runner.prepare(jobs.iter_mut().filter(is_wanted), &mut Silent)?;
    Ok(jobs.into_iter().map(|job| Trial::ignorable_test(job.row.name.clone(), move || boot(&job))).collect())
}

fn boot(job: &Job) -> Result<Completion, Failed> {
    let result = job.run(&mut Silent);
    match result.ended {
        Ended::Passed => Ok(Completion::Completed),
        Ended::Skipped(skip) => Ok(Completion::Ignored { reason: Some(skip.to_string()) }),
        Ended::Failed(_) | Ended::NotStarted(_) => Err(result.details(SERIAL_LINES).join("\n").into()),
    }
}
