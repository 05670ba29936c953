//! `bench`: counts the instructions of operations, and compares the counts with the limits in `config/bench.toml`. It runs
//! under TCG, on one CPU; a second CPU answers calls.

mod boots;
mod sizes;

use clap::Args;

use crate::base::{Error, Observer, VerdictKind, Workspace};
use crate::commands::args::EmulatorArgs;
use crate::commands::launch::{Launch, LaunchKind};
use crate::commands::launch_args::LaunchArgs;
use crate::commands::launch_boot;
use crate::commands::launch_report::with_report;
use crate::machine::accelerator::Host;
use crate::machine::{AccelChoice, MachineConfig};
use crate::report::Outcome;
use crate::report::cost_limits::Limits;

/// Options of `bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    pub(crate) common: LaunchArgs,
}

impl BenchArgs {
    /// The run that is asked for.
    pub fn configure(&self) -> Launch {
        let mut launch = self.common.configure(LaunchKind::Bench, &EmulatorArgs::default());
        launch.machine.counts_instructions = true;
        launch
    }
}

/// Runs the benches in the kernel, then measures whole boots, and compares both with the limits.
pub fn launch_on(launch: &Launch, host: &Host, observer: &mut dyn Observer) -> Outcome {
    let read = || {
        check(&launch.machine)?;
        let workspace = Workspace::find()?;
        Ok((Limits::of(&workspace)?, workspace.project().is_none()))
    };
    // The kernel of a project may have other benches, and boots otherwise.
    let (limits, is_octopod) = match read() {
        Ok(limits) => limits,
        Err(error) => return with_report(launch, observer, |_, _| Err(error)),
    };
    launch_boot::launch_on(launch, host, observer, &mut |report, kernel, folder, observer| {
        if report.verdict == VerdictKind::Pass && is_octopod {
            let machine = &launch.machine;
            let measured = sizes::measure(machine, &kernel.path, &folder.path, observer).and_then(|sized| {
                Ok((sized, boots::measure(machine, &kernel.path, &folder.path, observer)?))
            });
            match measured {
                Ok((sized, boots)) => {
                    report.bench.extend(sized);
                    report.add_bench(&boots);
                }
                Err(failure) => report.fail(failure.to_string()),
            }
        }
        limits.apply_to(report);
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
