//! `soak`: long tests, each a command, for nights and before a release.
//!
//! `boots` and `stress` run the launcher itself, many times or for long; `cpu_limit` limits the processor time of some runs.
//! The other soaks run cargo: `models`, `properties` and `miri` run the library's tests for longer than `cargo test`, or by
//! other means; `mutants` tests the tests; `fuzz` tests the parsers of untrusted input. Each soak ends with one line that
//! reports its work. It ends at the first failure, with the folder of the run that failed.

mod boots;
mod cargo;
mod cpu_limit;
mod fuzz;
mod junit;
mod miri;
mod models;
mod mutants;
mod properties;
mod stress;
mod task;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

use crate::base::files::Plan;
use crate::base::shard::Shard;
use crate::base::{Error, Workspace, text};
use crate::commands::args::{KeepArgs, ProgressArgs, QemuArgs, TerminalArgs};
use crate::commands::inputs;
use crate::commands::soak::task::{Ended, Task, human};
use crate::machine::AccelChoice;
use crate::present::terminal::Console;
use crate::report::origin::OriginReport;
use crate::report::shards::ShardEnd;
use crate::run::folder;

/// The file of `--junit`, where that is a folder.
const JUNIT: &str = "junit.xml";

/// The soaks, in the order in which all run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumMessage, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Soak {
    /// Boots of 8 CPUs, and one in eleven of 64. Every second one has its QEMU limited to one core and, where control groups
    /// allow it, to 10 % of that.
    Boots,
    /// All workloads on eight CPUs in one run, until the count of operations is reached.
    Stress,
    /// The models in every interleaving. A model that would take days runs in every interleaving with few preemptions, as the
    /// model says.
    Loom,
    /// The whole frame allocator in storms on three CPUs, and the models, in random schedules.
    Shuttle,
    /// Random operations on the frame allocator and on the heap, against naive models and `buddy_system_allocator`. Failures are shrunk.
    Model,
    /// The tests of the frame allocator, of the heap and of the ACPI layouts in Miri, an interpreter that finds undefined behaviour.
    Miri,
    /// `cargo mutants` on the frame allocator: at least 90 % caught, and for each other the reason in `config/mutants.toml`. An
    /// interrupted soak continues with the next file.
    Mutants,
    /// The targets of `ci/fuzz/`: random bytes for the parsers of untrusted input.
    Fuzz,
}

impl Soak {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns its description.
    pub fn summary(self) -> &'static str {
        self.get_documentation().unwrap_or_default()
    }

    /// Returns the unit of `--count`, and the number without that option; `None` if it is not limited then.
    pub fn counts(self) -> (&'static str, Option<u64>) {
        match self {
            Soak::Boots => ("boots", Some(boots::BOOTS)),
            Soak::Stress => ("operations", Some(stress::OPERATIONS)),
            Soak::Loom => ("preemptions at most, for all models", None),
            Soak::Shuttle => ("schedules of the storms", Some(models::SCHEDULES)),
            Soak::Model => ("operations", Some(properties::OPERATIONS)),
            Soak::Miri => ("cases of each property test", Some(miri::CASES)),
            Soak::Mutants => ("mutants", None),
            Soak::Fuzz => ("inputs for each target", Some(fuzz::INPUTS)),
        }
    }

    /// Returns the soaks of these names; all soaks if there is no name.
    ///
    /// # Errors
    /// A name is unknown.
    pub fn named(names: &[String]) -> Result<Vec<Soak>, Error> {
        let all = Soak::VARIANTS;
        if names.is_empty() {
            return Ok(all.to_vec());
        }
        let find = |name: &String| {
            let found = all.iter().copied().find(|soak| soak.name() == name);
            found.ok_or_else(|| {
                let known: Vec<_> = all.iter().map(|soak| soak.name()).collect();
                Error::Usage(format!("there is no soak `{name}`; there are {}", known.join(", ")))
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

/// Options of `soak`.
#[derive(Clone, Debug, Args)]
pub struct SoakArgs {
    /// The soaks to run [default: all].
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// The amount, of what the soak counts: boots, operations (stress, model), preemptions (loom), schedules, cases (miri),
    /// mutants, inputs (fuzz) [default: as docs/testing.md says].
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,

    /// Only the K-th of N parts: of each soak that counts, that part of its number; of loom and mutants, whole soaks in turn.
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Shard>,

    /// Write the results as JUnit XML here.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Keep each soak's files in a folder of its name here [default: a folder of its own under target/octopod/runs].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// The accelerator.
    #[arg(long, value_enum, value_name = "ACCEL", default_value = "tcg")]
    pub accel: AccelChoice,

    #[command(flatten)]
    pub(crate) qemu: QemuArgs,
    #[command(flatten)]
    pub(crate) keep: KeepArgs,
    #[command(flatten)]
    pub(crate) terminal: TerminalArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

impl SoakArgs {
    /// Does what is asked for. Returns the exit status: that of the first soak that fails.
    pub fn execute(&self) -> u8 {
        let mut console = Console::new(&self.terminal.configure(&self.progress, None));
        self.run(&mut console).unwrap_or_else(|error| console.refuse(&error))
    }

    fn run(&self, console: &mut Console) -> Result<u8, Error> {
        let workspace = Workspace::find_checkout()?;
        self.files().check(Some(&workspace.root))?;
        let mut cases = Vec::new();
        let mut status = 0;
        for (soak, count) in self.parts()? {
            let began = Instant::now();
            let ended = self.one(soak, count, &workspace, console);
            cases.push(junit::case(soak.name(), &ended, began.elapsed()));
            let text = match ended {
                Ok(Ended::Passed(text)) => {
                    let time = human(began.elapsed());
                    console.verdict(true, &format!("soak {}: {text}, in {time}", soak.name()));
                    continue;
                }
                Ok(Ended::Failed(text, folder)) => {
                    console.say(&text::path(&folder));
                    text
                }
                Err(error) => {
                    status = console.refuse(&error);
                    break;
                }
            };
            console.verdict(false, &format!("soak {}: {text}", soak.name()));
            status = 1;
            break;
        }
        if let Some(path) = &self.junit {
            let octopod = OriginReport::begins(&workspace).octopod();
            let end = ShardEnd { command: "soak", shard: self.shard, status, octopod: &octopod };
            end.write(junit::suite(cases), path)?;
        }
        Ok(status)
    }

    /// The soaks of this shard, each with its count.
    fn parts(&self) -> Result<Vec<(Soak, Option<u64>)>, Error> {
        let shard = self.shard.unwrap_or(Shard::WHOLE);
        let asked = self.count.map(NonZeroU64::get);
        let mut undivided = 0;
        let mut parts = Vec::new();
        for soak in Soak::named(&self.names)? {
            match soak.counts().1 {
                Some(default) => {
                    let part = shard.part(asked.unwrap_or(default));
                    parts.extend((part > 0).then_some((soak, Some(part))));
                }
                None => {
                    parts.extend(shard.has(undivided).then_some((soak, asked)));
                    undivided += 1;
                }
            }
        }
        Ok(parts)
    }

    fn one(
        &self,
        soak: Soak,
        count: Option<u64>,
        workspace: &Workspace,
        console: &mut Console,
    ) -> Result<Ended, Error> {
        let named = self.out.as_ref().map(|folder| folder.join(soak.name()));
        let folder = folder::create(workspace, &format!("soak-{}", soak.name()), named.as_deref())?;
        folder::prune(workspace, self.keep.keep.get(), std::iter::empty());
        let task = Task { accel: self.accel, qemu: self.qemu.qemu.as_deref(), workspace, folder, count };
        soak.run(&task, console)
    }

    /// The files to read and write.
    fn files(&self) -> Plan {
        let mut files = Plan::default();
        inputs::programs(&mut files, self.qemu.qemu.as_deref(), None);
        self.junit.iter().for_each(|path| files.writes("--junit", path, JUNIT));
        let soaks = Soak::named(&self.names).unwrap_or_default();
        for (folder, soak) in self.out.iter().flat_map(|folder| soaks.iter().map(move |soak| (folder, soak)))
        {
            files.writes_into("--out", &folder.join(soak.name()), folder::files());
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        soak: SoakArgs,
    }

    #[test]
    fn the_shards_of_soaks_together_are_the_whole() {
        let parts = |words: &[&str]| {
            let words = [&["soak"], words].concat();
            <Alone as clap::Parser>::try_parse_from(words).unwrap().soak.parts().unwrap()
        };
        let whole = parts(&[]);
        assert_eq!(whole.len(), Soak::VARIANTS.len());
        let shards: Vec<_> =
            ["1/3", "2/3", "3/3"].iter().flat_map(|shard| parts(&["--shard", shard])).collect();
        for (soak, count) in whole {
            let of_it: Vec<_> =
                shards.iter().filter(|(other, _)| *other == soak).map(|(_, count)| *count).collect();
            match count {
                Some(count) => assert_eq!(of_it.iter().copied().flatten().sum::<u64>(), count, "{soak:?}"),
                None => assert_eq!(of_it, [None], "{soak:?}"),
            }
        }
        assert_eq!(parts(&["boots", "--count", "2", "--shard", "3/3"]), []);
        assert_eq!(parts(&["boots", "--count", "2", "--shard", "2/3"]), [(Soak::Boots, Some(1))]);
    }

    #[test]
    fn soaks_are_found_by_name_and_none_means_all() {
        let named =
            |names: &[&str]| Soak::named(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&[]).unwrap(), Soak::VARIANTS);
        assert_eq!(named(&["stress", "boots"]).unwrap(), [Soak::Stress, Soak::Boots]);
        let error = named(&["boots", "boot"]).unwrap_err();
        assert_eq!(error.verdict().status(), 2);
        assert!(error.to_string().contains("`boot`"), "{error}");
        for soak in Soak::VARIANTS {
            assert!(error.to_string().contains(soak.name()), "{error}");
        }
    }
}
