//! Boots the kernel in QEMU: a test for each row of the fast tier of `config/machines.toml`, under TCG. The `matrix` command's
//! code runs and judges the rows.
//!
//! `cargo test --test boot NAME` runs the rows whose name contains NAME; `OCTOPOD_TIER=full` runs all tiers.
//!
//! A kernel build keeps one CPU busy. The rows of the first kernel run while the next kernel is built.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::thread;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use octopod_ci::base::{Error, Silent, Workspace};
use octopod_ci::commands::matrix::result::Ended;
use octopod_ci::commands::matrix::rows::{self, Tier};
use octopod_ci::commands::matrix::runner::{Job, Runner};
use octopod_ci::commands::matrix::selection::Selection;
use octopod_ci::machine::AccelChoice;

/// A failed test shows so many of the kernel's lines.
const SERIAL_LINES: usize = 1000;

/// A job whose kernel may still be built, or the reason why there is none.
type Ready = OnceLock<Result<Job, String>>;

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
    let rows = wanted.asked_for(rows::read(&workspace.root.join(rows::FILE), None)?);
    let qemu = std::env::var_os("OCTOPOD_QEMU");
    let folder = workspace.own().join("tests");
    let runner = Runner::new(qemu.as_deref(), AccelChoice::Tcg, folder, &mut Silent)?;
    let mut groups: Vec<Vec<Job>> = Vec::new();
    for job in runner.jobs(rows)? {
        match groups.iter_mut().find(|group| group[0].kernel_variant() == job.kernel_variant()) {
            Some(group) => group.push(job),
            None => groups.push(vec![job]),
        }
    }
    // Other tests built the kernel of the first row before. Then the groups that run longest: they give the most time to build.
    if let Some(others) = groups.get_mut(1..) {
        others.sort_by_key(|group| std::cmp::Reverse(group.len()));
    }

    let mut trials = Vec::new();
    let mut pending = Vec::new();
    for job in groups.into_iter().flatten() {
        let ready = Arc::new(Ready::new());
        let trial = Arc::clone(&ready);
        trials.push(Trial::ignorable_test(job.row.name.clone(), move || boot(&trial)));
        pending.push((job, ready));
    }
    // A row that is not selected needs no kernel.
    let is_wanted = |job: &Job| {
        let is_named = arguments.filter.as_ref().is_none_or(|filter| job.row.name.contains(filter));
        is_named && !arguments.list
    };
    pending.retain(|(job, _)| is_wanted(job));
    thread::spawn(move || provide(&runner, pending));
    Ok(trials)
}

/// Provides the tools and the kernel of each job, and hands the job to its trial.
fn provide(runner: &Runner, pending: Vec<(Job, Arc<Ready>)>) {
    let mut pending = pending.into_iter().peekable();
    while let Some((job, ready)) = pending.next() {
        let variant = job.kernel_variant();
        let (mut jobs, mut readies) = (vec![job], vec![ready]);
        while let Some((job, ready)) = pending.next_if(|(job, _)| job.kernel_variant() == variant) {
            jobs.push(job);
            readies.push(ready);
        }
        let prepare = || runner.prepare(&mut jobs, &mut Silent).map_err(|error| error.to_string());
        // A panic here must not leave a trial waiting.
        let prepared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(prepare))
            .unwrap_or_else(|_| Err("the preparation of the row panicked".to_owned()));
        for (job, ready) in jobs.into_iter().zip(readies) {
            let is_first = ready.set(prepared.clone().map(|()| job)).is_ok();
            assert!(is_first, "a job is prepared twice");
        }
    }
}

fn boot(ready: &Ready) -> Result<Completion, Failed> {
    let job = ready.wait().as_ref()?;
    let result = job.run(&mut Silent);
    match result.ended {
        Ended::Passed => Ok(Completion::Completed),
        Ended::Skipped(skip) => Ok(Completion::Ignored { reason: Some(skip.to_string()) }),
        Ended::Failed(_) | Ended::NotStarted(_) => Err(result.details(SERIAL_LINES).join("\n").into()),
    }
}
