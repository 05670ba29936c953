//! Benchmarks that need a machine of their own: with much memory, which is sparse, or with other numbers of CPUs.

use std::path::Path;
use std::time::Duration;

use super::boots::{Failure, counted_machine};
use crate::base::{Message, Observer, Silent, VerdictKind};
use crate::commands::launch::{Launch, LaunchKind, time_limit};
use crate::commands::launch_boot::launch_on;
use crate::kernel::KernelSource;
use crate::machine::MachineConfig;
use crate::machine::accelerator::Host;
use crate::report::Report;
use crate::report::bench::BenchReport;

/// A machine, and the benchmarks that it runs.
struct SizedBench {
    /// CPUs and memory.
    machine: (u32, &'static str),
    /// The names in the kernel, and in reports and `config/bench.toml`.
    names: &'static [(&'static str, &'static str)],
}

const ALL: &[SizedBench] = &[
    SizedBench { machine: (1, "1G"), names: &[("frame_alloc_mixed_90", "frame_alloc_mixed_90")] },
    SizedBench {
        machine: (1, "16G"),
        names: &[
            ("frame_pair_order18", "frame_pair_order18"),
            ("frame_free_random_order6", "frame_free_random_order6_16g"),
            ("frame_free_random_order9", ORDER9_16G),
        ],
    },
    SizedBench {
        machine: (8, "256M"),
        names: &[
            ("vmap_sync_8cpu", "vmap_sync_8cpu"),
            ("vmap_flush_ipis", "vmap_flush_ipis"),
            ("vmap_flush_ipis_all", "vmap_flush_ipis_all"),
        ],
    },
    SizedBench {
        machine: (1, "128M"),
        names: &[("work_defer_run", "work_defer_run"), ("task_wake_poll", "task_wake_poll")],
    },
    SizedBench { machine: (1, "256M"), names: &[("box64_1", "box64_1")] },
    SizedBench { machine: (8, "256M"), names: &[("box64_8", "box64_8")] },
    SizedBench { machine: (1, "1T"), names: &[("frame_free_random_order9", ORDER9_1T)] },
];

const ORDER9_16G: &str = "frame_free_random_order9_16g";
const ORDER9_1T: &str = "frame_free_random_order9_1t";

/// The longest time that the benchmarks of a machine take on a busy host.
const WORK: Duration = Duration::from_secs(600);

/// Ratios of a cost to the same on a smaller machine.
const RATIOS: [(&str, [&str; 2]); 2] =
    [("frame_free_random_1t_to_16g", [ORDER9_1T, ORDER9_16G]), ("box64_8_to_1", ["box64_8", "box64_1"])];

/// Runs the benchmarks of `kernel`, in the QEMU of `config`, and returns the figures: of machines that have one of which `is_wanted`
/// holds, by its name in the kernel. The runs' folders lie below `folder`.
///
/// # Errors
/// If a run does not pass.
pub(crate) fn measure(
    config: &MachineConfig,
    kernel: &Path,
    folder: &Path,
    is_wanted: &dyn Fn(&str) -> bool,
    observer: &mut dyn Observer,
) -> Result<Vec<BenchReport>, Failure> {
    let mut figures = Vec::new();
    let wanted: Vec<_> =
        ALL.iter().filter(|bench| bench.names.iter().any(|(in_kernel, _)| is_wanted(in_kernel))).collect();
    for (done, bench) in wanted.iter().enumerate() {
        let (_, memory) = bench.machine;
        observer.receive(Message::Count {
            what: "measuring on other machines",
            done: done as u64,
            of: wanted.len() as u64,
            now: memory,
        });
        let mut launch = bench.launch();
        launch.machine.qemu.clone_from(&config.qemu);
        launch.kernel.source = KernelSource::File(kernel.to_owned());
        launch.output.out = Some(folder.join(bench.folder()));
        figures.extend(bench.figures(&launch)?);
    }
    let value =
        |name: &str| figures.iter().find(|figure: &&BenchReport| figure.name == name).map(|it| it.value);
    let ratio =
        |(name, [of, to]): (_, [&str; 2])| Some(BenchReport::new(name, "ratio", value(of)? / value(to)?));
    let ratios: Vec<_> = RATIOS.into_iter().filter_map(ratio).collect();
    figures.extend(ratios);
    Ok(figures)
}

impl SizedBench {
    /// The folder of its run. Several may have machines of one size, but no figure is measured twice.
    fn folder(&self) -> String {
        format!("bench-{}", self.names[0].1)
    }

    fn launch(&self) -> Launch {
        let (cpus, memory) = self.machine;
        let names: Vec<&str> = self.names.iter().map(|(in_kernel, _)| *in_kernel).collect();
        let mut launch = counted_machine(LaunchKind::Bench, cpus, memory);
        launch.run.limit = time_limit(&launch.machine, WORK);
        launch.command_line.own.push(format!("bench.only={}", names.join(",")));
        launch
    }

    fn figures(&self, launch: &Launch) -> Result<Vec<BenchReport>, Failure> {
        let (cpus, memory) = self.machine;
        let outcome = launch_on(launch, &Host::examine(), &mut Silent, &mut |_, _, _, _| {});
        let Report { verdict, reason, bench, .. } = &outcome.report;
        let named = |&(in_kernel, name): &(&str, &str)| {
            let figure = bench.iter().find(|figure| figure.name == in_kernel)?;
            Some(BenchReport { name: name.to_owned(), ..figure.clone() })
        };
        let figures: Option<Vec<BenchReport>> = self.names.iter().map(named).collect();
        figures.filter(|_| *verdict == VerdictKind::Pass).ok_or_else(|| Failure::NotBooted {
            name: self.names[0].1,
            cpus,
            memory,
            reason: reason.clone().unwrap_or_else(|| format!("{verdict:?} without the figure")),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_runs_share_a_folder() {
        let folders: BTreeSet<_> = ALL.iter().map(SizedBench::folder).collect();
        assert_eq!(folders.len(), ALL.len(), "{folders:?}");
    }

    #[test]
    fn every_machine_is_accepted_and_every_name_is_known() {
        for bench in ALL {
            let launch = bench.launch();
            launch.check().unwrap();
            let options = launch.command_line.parsed().unwrap();
            assert_eq!(options.bench.only.len(), bench.names.len());
        }
    }
}
