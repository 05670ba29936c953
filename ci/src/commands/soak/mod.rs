//! `soak`: the long tiers, each a command, for nights and before a release.
//!
//! [`boots`] and [`stress`] are runs of the launcher's own, many of them or a long one; [`held`] takes the processor away
//! from some of them. The others are [cargo]'s: [`models`] and [`properties`] and [`miri`] run the library's tests
//! for longer, or by other means, than `cargo test` does; [`mutants`] tests the tests; [`fuzz`] what reads foreign bytes.
//! Each soak ends with one line that says what was done, and at the first failure with the folder of the run that failed.

pub mod boots;
pub mod cargo;
pub mod fuzz;
pub mod held;
pub mod miri;
pub mod models;
pub mod mutants;
pub mod properties;
pub mod stress;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::base::checkout::Workspace;
use crate::base::error::Error;
use crate::base::message::Observer;
use crate::commands::cli::Options;
use crate::present::terminal::Console;
use crate::report::outcome::Outcome;
use crate::run::folder as rundir;
use crate::run::folder::RunDir;

/// What can be soaked, in the order in which all are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Soak {
    /// Boots of 8 and 64 CPUs, half of them on a tenth of a core.
    Boots,
    /// All workloads on eight CPUs, in one run.
    Stress,
    /// Every interleaving of small models of what is lock-free.
    Loom,
    /// Random interleavings of larger models.
    Shuttle,
    /// Random operations on the frame allocator, against a naive model.
    Model,
    /// The frame allocator's tests in an interpreter that sees undefined behaviour.
    Miri,
    /// Changes to the frame allocator that its tests must see.
    Mutants,
    /// Random bytes for what reads other people's.
    Fuzz,
}

/// What a soak found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All is well; what was done.
    Passed(String),
    /// What went wrong, and where its files are.
    Failed(String, PathBuf),
}

impl Soak {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Soak::Boots => "boots",
            Soak::Stress => "stress",
            Soak::Loom => "loom",
            Soak::Shuttle => "shuttle",
            Soak::Model => "model",
            Soak::Miri => "miri",
            Soak::Mutants => "mutants",
            Soak::Fuzz => "fuzz",
        }
    }

    /// The soaks of these names; all, if there is none.
    pub fn named(names: &[String]) -> Result<Vec<Soak>, Error> {
        let all = Soak::value_variants();
        if names.is_empty() {
            return Ok(all.to_vec());
        }
        let find = |name: &String| {
            let found = all.iter().copied().find(|soak| soak.name() == name);
            found.ok_or_else(|| Error::NoSuchSoak {
                name: name.clone(),
                known: all.iter().map(|soak| soak.name()).collect(),
            })
        };
        names.iter().map(find).collect()
    }

    fn run(self, task: &Task<'_>, console: &mut Console) -> Result<Ended, Error> {
        match self {
            Soak::Boots => boots::run(task, console),
            Soak::Stress => stress::run(task, console),
            Soak::Loom => models::loom(task, console),
            Soak::Shuttle => models::shuttle(task, console),
            Soak::Model => properties::run(task, console),
            Soak::Miri => miri::run(task, console),
            Soak::Mutants => mutants::run(task, console),
            Soak::Fuzz => fuzz::run(task, console),
        }
    }
}

/// What a soak has to go by.
pub struct Task<'a> {
    /// The user's options.
    pub options: &'a Options,
    /// Where to build.
    pub workspace: &'a Workspace,
    /// Where its files go.
    pub folder: RunDir,
    /// How many of what it counts, if the user says.
    pub count: Option<u64>,
}

impl Task<'_> {
    /// The folder of the soak's runs, which each run takes over from the one before.
    fn run(&self) -> PathBuf {
        self.folder.file("run")
    }

    /// Options of a run with these arguments, in this soak's folder.
    fn options_of_run(&self, arguments: &[&str]) -> Options {
        let words = ["octopod"].iter().chain(arguments);
        let mut options = <Options as clap::Parser>::parse_from(words);
        options.accel = self.options.accel;
        if !arguments.contains(&"--qemu") {
            options.qemu_program.clone_from(&self.options.qemu_program);
        }
        options.out = Some(self.run());
        options
    }

    /// That a run went wrong, and how to have it again.
    fn failed(&self, what: &str, outcome: &Outcome, arguments: &str) -> Ended {
        let reason = outcome.report.reason.as_deref().unwrap_or("see its report");
        let text = format!("{what}: {}\nto repeat it: cargo run -- {arguments}", reason.trim());
        Ended::Failed(text, self.run())
    }
}

/// Does what `options` ask for, and returns the exit status: that of the first soak that fails.
pub fn command(options: &Options, console: &mut Console) -> Result<u8, Error> {
    options.check()?;
    let workspace = Workspace::find()?;
    options.plan(&workspace).check(Some(&workspace.root))?;
    for soak in Soak::named(&options.matrix.names)? {
        let named = options.out.as_ref().map(|folder| folder.join(soak.name()));
        let folder = RunDir::create(&workspace, &format!("soak-{}", soak.name()), named.as_deref())?;
        rundir::prune(&workspace, options.keep.get(), std::iter::empty());
        let count = options.count.map(NonZeroU64::get);
        let task = Task { options, workspace: &workspace, folder, count };
        let began = Instant::now();
        let ended = soak.run(&task, console)?;
        let time = human(began.elapsed());
        match ended {
            Ended::Passed(text) => console.verdict(true, &format!("soak {}: {text}, in {time}", soak.name())),
            Ended::Failed(text, folder) => {
                console.say(&shown(&folder));
                console.verdict(false, &format!("soak {}: {text}", soak.name()));
                return Ok(1);
            }
        }
    }
    Ok(0)
}

/// A path, shorter from here, where it is below.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// A time as people say it.
fn human(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Builds the kernel once, and has `options` boot that one, also when another has been built since.
fn build(options: &mut Options, task: &Task<'_>, observer: &mut dyn Observer) -> Result<(), Error> {
    crate::setup::target::provide(observer)?;
    let built = crate::kernel::build::provide(options, task.workspace, observer)?;
    let path = task.folder.adopt(&built.path, "octopod-kernel", built.is_users)?;
    let symbols = task.folder.adopt(&built.symbols, "octopod-symbols", built.is_users)?;
    options.built = Some(built.moved_to(path, symbols, None));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soaks_are_found_by_name_and_none_means_all() {
        let named =
            |names: &[&str]| Soak::named(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&[]).unwrap(), Soak::value_variants());
        assert_eq!(named(&["stress", "boots"]).unwrap(), [Soak::Stress, Soak::Boots]);
        let error = named(&["boots", "boot"]).unwrap_err();
        assert_eq!(error.verdict().status(), 2);
        assert!(error.to_string().contains("`boot`"), "{error}");
        for soak in Soak::value_variants() {
            assert!(error.to_string().contains(soak.name()), "{error}");
        }
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(human(Duration::from_millis(61_250)), "61.2 s");
        assert_eq!(human(Duration::from_secs(3_725)), "62 min 5 s");
    }
}
