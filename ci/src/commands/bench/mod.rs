//! `bench`: counts the instructions of operations, and compares the counts with the limits in `config/bench.toml`. It runs
//! under TCG, on one CPU; a second CPU answers calls.

mod boots;
mod sizes;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use clap::Args;
use octopod::bench::BenchName;
use octopod::boot::command_line::Named;

use crate::base::files::input;
use crate::base::{Error, Observer, VerdictKind, Workspace};
use crate::commands::args::EmulatorArgs;
use crate::commands::launch::{Launch, LaunchKind};
use crate::commands::launch_args::LaunchArgs;
use crate::commands::launch_boot;
use crate::commands::launch_report::with_report;
use crate::kernel::registry::{self, NameList};
use crate::kernel::{KernelSource, build};
use crate::machine::accelerator::Host;
use crate::machine::{AccelChoice, MachineConfig};
use crate::report::cost_limits::Limits;
use crate::report::{Judgement, Outcome, Report};
use crate::run::Seen;

/// Options of `bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// An ELF file of benchmarks, as `cargo bench` builds it: its own benchmarks run, and their limits count; others do not.
    #[arg(value_name = "ELF", conflicts_with_all = ["kernel", "debug", "compressed", "inject"])]
    pub elf: Option<PathBuf>,

    /// Of such a file, only the benchmarks whose names contain one of these. By its whole name, one of octopod's own runs, too.
    #[arg(value_name = "FILTER")]
    pub filters: Vec<String>,

    #[command(flatten)]
    pub(crate) common: LaunchArgs,
}

impl BenchArgs {
    /// The run that is asked for.
    pub fn configure(&self) -> Launch {
        let mut launch = self.common.configure(LaunchKind::Bench, &EmulatorArgs::default());
        launch.machine.counts_instructions = true;
        if let Some(elf) = &self.elf {
            launch.kernel.source = KernelSource::File(elf.clone());
            launch.bench_filters = Some(self.filters.clone());
        }
        launch
    }
}

/// Runs the benches in the kernel, then measures whole boots, and compares both with the limits.
pub fn launch_on(launch: &Launch, host: &Host, observer: &mut dyn Observer) -> Outcome {
    let read = || {
        check(&launch.machine)?;
        let workspace = Workspace::find()?;
        Ok((Limits::of(&workspace)?, workspace, of_file(launch)?))
    };
    let (limits, workspace, selected) = match read() {
        Ok(read) => read,
        Err(error) => return with_report(launch, observer, |_, _| Err(error)),
    };
    // The kernel of a project may have other benches, and boots otherwise.
    let is_octopod = workspace.project().is_none() && selected.is_none();
    let launch = match &selected {
        None => Cow::Borrowed(launch),
        Some(names) if names.is_empty() => return nothing(launch, observer),
        Some(names) => Cow::Owned(naming(launch, names)),
    };
    let narrowed = launch.command_line.benchmarks().filter(|_| selected.is_none());
    let has_files = workspace.project().is_some_and(|project| project.has_benches);
    launch_boot::launch_on(&launch, host, observer, &mut |report, kernel, folder, observer| {
        if report.verdict == VerdictKind::Pass && is_octopod {
            let machine = &launch.machine;
            let is_wanted =
                |name: &str| narrowed.as_ref().is_none_or(|names| names.iter().any(|one| one == name));
            let measured = sizes::measure(machine, &kernel.path, &folder.path, &is_wanted, observer)
                .and_then(|sized| {
                    let boots = match narrowed {
                        None => boots::measure(machine, &kernel.path, &folder.path, observer)?,
                        Some(_) => Vec::new(),
                    };
                    Ok((sized, boots))
                });
            match measured {
                Ok((sized, boots)) => {
                    // Those that need a machine of their own have run on this one as well, if they were named.
                    report.bench.retain(|figure| !sized.iter().any(|other| other.name == figure.name));
                    report.bench.extend(sized);
                    report.add_bench(&boots);
                }
                Err(failure) => report.fail(failure.to_string()),
            }
        }
        match &selected {
            Some(names) => limits.of_names(|name| names.iter().any(|known| known == name)).apply_to(report),
            // The kernel has measured each that is named, or refused the name. A limit of what is no benchmark is wrong in any case.
            None if narrowed.is_some() => {
                let measured: Vec<_> = report.bench.iter().map(|figure| figure.name.clone()).collect();
                let others = match has_files || is_octopod {
                    true => None,
                    false => registered_in(&kernel.path).ok(),
                };
                let is_known = |name: &str| match &others {
                    Some(own) => BenchName::from_name(name).is_some() || own.iter().any(|one| one == name),
                    None => true,
                };
                let counts = |name: &str| measured.iter().any(|one| one == name) || !is_known(name);
                limits.of_names(counts).apply_to(report);
            }
            None if has_files => {
                // Other limits are those of the project's files of benchmarks.
                limits.of_names(|name| BenchName::from_name(name).is_some()).apply_to(report);
            }
            None => limits.apply_to(report),
        }
    })
}

/// The names of the benchmarks that a kernel's file registers.
fn registered_in(path: &Path) -> Result<Vec<String>, Error> {
    let elf = input::read(path, build::MOST_BYTES)?;
    let names = registry::names(&elf, NameList::Benches).map_err(|error| error.of_file(path))?;
    Ok(names.into_iter().map(|entry| entry.name).collect())
}

/// The benchmarks of a file to run; `None` where the command line does not name one.
fn of_file(launch: &Launch) -> Result<Option<Vec<String>>, Error> {
    let (Some(filters), KernelSource::File(path)) = (&launch.bench_filters, &launch.kernel.source) else {
        return Ok(None);
    };
    Ok(Some(selected(&registered_in(path)?, filters)))
}

/// The names that contain one of the filters, and those of octopod's own that are one.
fn selected(registered: &[String], filters: &[String]) -> Vec<String> {
    let contains = |name: &&String| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let octopods = BenchName::all().iter().map(|own| own.name().to_owned());
    let mut names: Vec<String> = registered.iter().filter(contains).cloned().collect();
    names.extend(octopods.filter(|name| filters.contains(name)));
    names.sort();
    names.dedup();
    names
}

/// The same launch, whose kernel runs these benchmarks.
fn naming(launch: &Launch, names: &[String]) -> Launch {
    let mut launch = launch.clone();
    let list = names.join(",");
    let quote = if list.contains(' ') { "\"" } else { "" };
    launch.command_line.own.push(format!("bench.only={quote}{list}{quote}"));
    launch
}

/// The outcome where no benchmark is selected, as of one of several files: nothing is booted.
fn nothing(launch: &Launch, observer: &mut dyn Observer) -> Outcome {
    with_report(launch, observer, |_, _| {
        let judgement = Judgement { kind: VerdictKind::Pass, reason: None };
        let line = launch.command_line.to_string();
        let report = Report::assemble(judgement, line, None, None, &Seen::default(), Vec::new());
        Ok(Outcome::without_a_run(report))
    })
}

/// Refuses what would make the figures something else than counts.
fn check(config: &MachineConfig) -> Result<(), Error> {
    let not_countable = |option: &str, value: &str, reason: &str| {
        Err(Error::Usage(format!(
            "bench counts instructions under TCG on one CPU or two, so {option} cannot be {value}: {reason}"
        )))
    };
    if config.accel == AccelChoice::Kvm {
        return not_countable("--accel", "kvm", "only TCG counts instructions");
    }
    let smp = config.smp.to_string();
    if smp != "1" && smp != "2" {
        return not_countable("--smp", &smp, "a third CPU's instructions would be counted too");
    }
    match ["-accel", "-icount", "-smp"].into_iter().find(|option| config.gives_qemu(option)) {
        Some(option) => not_countable(option, "chosen again", "the figures would be others"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_selects_the_files_own_benchmarks_and_octopods_by_their_whole_names() {
        let registered = ["hash", "queue_push", "queue_pop"].map(str::to_owned);
        let of = |filters: &[&str]| {
            let filters: Vec<_> = filters.iter().map(|filter| (*filter).to_owned()).collect();
            selected(&registered, &filters).join(" ")
        };
        assert_eq!(of(&[]), "hash queue_pop queue_push");
        assert_eq!(of(&["queue"]), "queue_pop queue_push");
        assert_eq!(of(&["push", "has"]), "hash queue_push");
        assert_eq!(of(&["mutex_pair", "hash"]), "hash mutex_pair");
        assert_eq!(of(&["mutex"]), "");
        let launch = naming(&Launch::default(), &["a b".to_owned(), "c".to_owned()]);
        assert_eq!(launch.command_line.to_string(), "work=boot bench.only=\"a b,c\"");
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let refusal = |accel, smp: &str, qemu: &[&str]| {
            let qemu_arguments = qemu.iter().map(Into::into).collect();
            let smp = smp.parse().unwrap();
            let config = MachineConfig { accel, smp, qemu_arguments, ..MachineConfig::default() };
            check(&config).err().map(|error| error.to_string())
        };
        assert_eq!(refusal(AccelChoice::Tcg, "2", &[]), None);
        assert_eq!(refusal(AccelChoice::Tcg, "1", &["-d", "int"]), None);
        for (accel, smp, qemu, part) in [
            (AccelChoice::Kvm, "2", &[][..], "--accel cannot be kvm: only TCG"),
            (AccelChoice::Tcg, "3", &[], "--smp cannot be 3"),
            (AccelChoice::Tcg, "2", &["-icount", "shift=1"], "-icount cannot be chosen again"),
        ] {
            let refusal = refusal(accel, smp, qemu).unwrap_or_default();
            assert!(refusal.contains(part), "{refusal}");
        }
    }
}
