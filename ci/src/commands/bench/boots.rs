//! The cost of a boot in virtual time: boots of machines of given sizes, with counted instructions.
//!
//! Under `-icount shift=0` each instruction of any CPU takes a nanosecond of virtual time, and a halted machine advances to its
//! next timer event at once. All CPUs share one host thread in turns, so a boot repeats to the nanosecond. Each boot runs twice
//! to check that.

use std::path::Path;

use octopod::wire::{Bench, BootStage};

use crate::base::{Message, Observer, Silent, VerdictKind};
use crate::commands::launch::{Launch, LaunchKind, OutputConfig};
use crate::commands::launch_boot::launch_on;
use crate::kernel::{KernelConfig, KernelSource};
use crate::machine::accelerator::Host;
use crate::machine::qemu::COUNTED_CPU;
use crate::machine::{AccelChoice, MachineConfig};
use crate::report::Report;
use crate::run::CommandLine;

/// The unit of the figures.
const UNIT: &str = "ns";

/// One figure about booting.
struct BootBenchmark {
    /// Its name in reports and in `config/bench.toml`.
    name: &'static str,
    /// The machine: CPUs and memory.
    machine: (u32, &'static str),
    /// The value in the report, in nanoseconds.
    read: fn(&Report) -> Option<u64>,
    /// The machine that the figure is divided by; the figure is a ratio then.
    to: Option<(u32, &'static str)>,
}

const ALL: &[BootBenchmark] = &[
    BootBenchmark {
        name: "boot_entry_to_online_8",
        machine: (8, "128M"),
        read: entry_to_online_ns,
        to: None,
    },
    BootBenchmark {
        name: "boot_entry_to_online_64",
        machine: (64, "256M"),
        read: entry_to_online_ns,
        to: None,
    },
    BootBenchmark {
        name: "boot_256g_to_1g",
        machine: (2, "256G"),
        read: entry_to_work_ns,
        to: Some((2, "1G")),
    },
];

/// From rt0's first reading of the TSC to the last CPU online.
fn entry_to_online_ns(report: &Report) -> Option<u64> {
    Some(report.boot.as_ref()?.kernel.entry_to_online_ns)
}

/// From rt0's first reading of the TSC to the start of the work, the audit of the page tables included.
fn entry_to_work_ns(report: &Report) -> Option<u64> {
    let work = report.boot_stages.iter().find(|at| at.stage == BootStage::Work.name())?;
    Some(work.began_us * 1000)
}

/// The reason why there is no figure.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// A boot did not pass.
    #[error("{name}: the boot of {cpus} CPUs with {memory} did not pass: {reason}")]
    NotBooted {
        /// The benchmark.
        name: &'static str,
        /// CPUs of the machine.
        cpus: u32,
        /// Its memory.
        memory: &'static str,
        /// The boot's reason.
        reason: String,
    },
    /// Two boots of one machine took different times.
    #[error("{name}: {first} ns in one boot, {second} ns in another")]
    Unsteady {
        /// The benchmark.
        name: &'static str,
        /// Nanoseconds in the first boot.
        first: u64,
        /// Nanoseconds in the second.
        second: u64,
    },
}

/// Boots `kernel` on each machine, in the QEMU of `config`, and returns the figures. The runs' folders lie below `folder`.
///
/// # Errors
/// If a boot does not pass, or two boots of a machine differ.
pub(crate) fn measure(
    config: &MachineConfig,
    kernel: &Path,
    folder: &Path,
    observer: &mut dyn Observer,
) -> Result<Vec<Bench<String>>, Failure> {
    let mut figures = Vec::new();
    for (done, benchmark) in ALL.iter().enumerate() {
        let BootBenchmark { name, machine, to, .. } = *benchmark;
        observer.receive(Message::Count {
            what: "measuring boots",
            done: done as u64,
            of: ALL.len() as u64,
            now: name,
        });
        let figure = |machine| benchmark.steady(config, kernel, folder, machine);
        let total = figure(machine)?;
        let (unit, operations) = match to {
            Some(machine) => ("ratio", figure(machine)?),
            None => (UNIT, 1),
        };
        figures.push(Bench { name: name.to_owned(), unit: unit.to_owned(), total, operations });
    }
    Ok(figures)
}

impl BootBenchmark {
    /// The figure of two boots of one machine, which must agree.
    fn steady(
        &self,
        config: &MachineConfig,
        kernel: &Path,
        folder: &Path,
        of: (u32, &'static str),
    ) -> Result<u64, Failure> {
        let (cpus, memory) = of;
        let run = |number: u32| {
            let mut launch = counted_machine(LaunchKind::Boot, cpus, memory);
            launch.machine.qemu.clone_from(&config.qemu);
            launch.kernel.source = KernelSource::File(kernel.to_owned());
            launch.output.out = Some(folder.join(format!("{}-{cpus}-{memory}-{number}", self.name)));
            self.boot(&launch, of)
        };
        let (first, second) = (run(1)?, run(2)?);
        if first == second { Ok(first) } else { Err(Failure::Unsteady { name: self.name, first, second }) }
    }

    fn boot(&self, launch: &Launch, (cpus, memory): (u32, &'static str)) -> Result<u64, Failure> {
        let outcome = launch_on(launch, &Host::examine(), &mut Silent, &mut |_, _, _, _| {});
        let Report { verdict, reason, .. } = &outcome.report;
        match (self.read)(&outcome.report) {
            Some(figure) if *verdict == VerdictKind::Pass && figure > 0 => Ok(figure),
            _ => Err(Failure::NotBooted {
                name: self.name,
                cpus,
                memory,
                reason: reason.clone().unwrap_or_else(|| format!("{verdict:?} without the figure")),
            }),
        }
    }
}

/// A run with counted instructions, in sparse memory. KASLR is off: the TSC that it draws from without RDSEED would be the same, but an
/// address with more bits set costs more instructions.
pub(super) fn counted_machine(kind: LaunchKind, cpus: u32, memory: &str) -> Launch {
    let backend = format!("memory-backend-ram,id=ram,size={memory},reserve=off");
    let words = ["-object", &backend, "-M", "memory-backend=ram"];
    let parsed = "a number of CPUs and a size";
    let machine = MachineConfig {
        accel: AccelChoice::Tcg,
        smp: cpus.to_string().parse().expect(parsed),
        mem: memory.parse().expect(parsed),
        // Addresses of 42 bits: 1 TiB of RAM ends above 1 TiB.
        cpu: format!("{COUNTED_CPU},phys-bits=42").parse().ok(),
        counts_instructions: true,
        qemu_arguments: words.map(Into::into).to_vec(),
        ..MachineConfig::default()
    };
    let appended = vec!["kaslr=off".to_owned()];
    Launch {
        kind,
        machine,
        kernel: KernelConfig::default(),
        command_line: CommandLine { appended, ..CommandLine::for_work(kind.work()) },
        output: OutputConfig::default(),
        ..Launch::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_is_accepted() {
        for BootBenchmark { machine: of, to, .. } in ALL {
            for (cpus, memory) in [Some(*of), *to].into_iter().flatten() {
                counted_machine(LaunchKind::Boot, cpus, memory).check().unwrap();
            }
        }
    }
}
