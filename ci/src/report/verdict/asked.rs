//! The request of a run, as far as the launcher knows it: the evidence that a pass needs.

use octopod::boot::command_line::Switch;
use octopod::config::MAX_CPUS;
use octopod::options::{Options as KernelOptions, Work};

use crate::machine::{BootProtocol, MachineConfig};
use crate::run::CommandLine;

/// The request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requested {
    /// CPUs that must come online; `None` where that is not known, or some may be missing.
    pub cpus: Option<u32>,
    /// True if CPUs that firmware lists may be missing.
    pub may_miss_cpus: bool,
    /// True if the user names the kernel's file, which may lack the work.
    pub is_named_kernel: bool,
    /// The work of the kernel after its boot.
    pub work: RequestedWork,
}

/// The work of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RequestedWork {
    /// Not known: a program of the user's own.
    #[default]
    Program,
    /// The typed commands.
    Shell,
    /// None, or the self-test.
    Boot,
    /// The bench, whose limits have to be met.
    Bench,
    /// Each workload on each allocator or heap, and on each of these numbers of CPUs; none of them leaves the choice to the kernel.
    Stress {
        /// Each workload, and the allocator or heap that it runs on.
        parts: Vec<(&'static str, &'static str)>,
        /// Numbers of CPUs.
        cpus: Vec<u32>,
    },
}

impl Requested {
    /// Returns the request of a run with this machine and command line. With `is_own_program`, the kernel runs a custom program.
    pub fn of(config: &MachineConfig, command_line: &CommandLine, is_own_program: bool) -> Requested {
        // A line that the kernel will refuse asks for nothing.
        let Some(kernel) = command_line.parsed() else { return Requested::default() };
        let may_miss_cpus = kernel.kernel.allow_missing_cpus == Switch::On;
        // Without ACPI tables the kernel knows of one CPU.
        let lists_cpus = config.boot != BootProtocol::UefiMultiboot1
            && !config.machine.properties().split(',').any(|property| property == "acpi=off")
            && !["-smp", "-M", "-machine", "-no-acpi", "-acpitable"]
                .into_iter()
                .any(|option| config.gives_qemu(option));
        let cpus = online_at_start(&config.smp.to_string())
            .map(|cpus| cpus.min(kernel.kernel.max_cpus.map_or(MAX_CPUS, |most| most.get())));
        Requested {
            cpus: cpus.filter(|_| lists_cpus && !may_miss_cpus),
            may_miss_cpus,
            is_named_kernel: false,
            work: if is_own_program { RequestedWork::Program } else { RequestedWork::of(&kernel) },
        }
    }
}

impl RequestedWork {
    fn of(kernel: &KernelOptions) -> RequestedWork {
        match kernel.work() {
            Work::Program | Work::Test => RequestedWork::Program,
            Work::Boot | Work::SelfTest => RequestedWork::Boot,
            Work::Bench => RequestedWork::Bench,
            Work::Shell => RequestedWork::Shell,
            Work::Stress => {
                RequestedWork::Stress { parts: parts(kernel), cpus: kernel.stress.cpus.iter().collect() }
            }
        }
    }
}

/// The parts of a stress.
fn parts(kernel: &KernelOptions) -> Vec<(&'static str, &'static str)> {
    let of = |subject| kernel.stress.workloads_of(subject).map(move |one| (one.name, subject.name()));
    kernel.stress.subjects().flat_map(of).collect()
}

/// The CPUs that a machine has at power-on, by QEMU's `-smp`: a number, or the product of the topology.
fn online_at_start(smp: &str) -> Option<u32> {
    let mut product = 1u32;
    for part in smp.split(',') {
        match part.split_once('=') {
            None => return part.parse().ok(),
            Some(("cpus", number)) => return number.parse().ok(),
            Some(("maxcpus", _)) => {}
            Some((_, number)) => product = product.checked_mul(number.parse().ok()?)?,
        }
    }
    Some(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(own: &str) -> CommandLine {
        CommandLine { own: vec![own.to_owned()], appended: Vec::new() }
    }

    fn cpus(config: &MachineConfig, parameters: &str) -> Option<u32> {
        Requested::of(config, &line(&format!("work=boot {parameters}")), false).cpus
    }

    #[test]
    fn cpus_are_those_of_the_machine_unless_a_limit_says_otherwise() {
        let with = |smp: &str| MachineConfig { smp: smp.parse().unwrap(), ..MachineConfig::default() };
        for (smp, expected) in [
            ("4", 4),
            ("2,maxcpus=4", 2),
            ("6,sockets=2,cores=3,threads=1", 6),
            ("cpus=3,maxcpus=4", 3),
            ("sockets=2,cores=3,maxcpus=8", 6),
        ] {
            assert_eq!(cpus(&with(smp), ""), Some(expected), "{smp}");
        }
        for (parameters, expected) in [
            ("max_cpus=3", Some(3)),
            ("reserve=0-0x100000", Some(4)),
            ("allow_missing_cpus=on", None),
            ("max_cpus=no", None),
            ("fro=1", Some(4)),
        ] {
            assert_eq!(cpus(&with("4"), parameters), expected, "{parameters}");
        }
        let boot = BootProtocol::UefiMultiboot1;
        let machine = "microvm,acpi=off".parse().unwrap();
        let qemu_arguments = ["-smp", "2"].map(Into::into).to_vec();
        assert_eq!(cpus(&MachineConfig { boot, ..with("4") }, ""), None);
        assert_eq!(cpus(&MachineConfig { machine, ..with("4") }, ""), None);
        assert_eq!(cpus(&MachineConfig { qemu_arguments, ..with("4") }, ""), None);
    }

    #[test]
    fn the_requested_work_is_that_of_the_command_line() {
        let work = |own: &str, is_own| Requested::of(&MachineConfig::default(), &line(own), is_own).work;
        assert_eq!(work("work=boot", false), RequestedWork::Boot);
        assert_eq!(work("work=boot work=bench", false), RequestedWork::Bench);
        assert_eq!(work("work=boot", true), RequestedWork::Program);
        let words =
            "work=stress stress.workloads=pairs,bulk stress.allocators=octopod,locked stress.cpus=1,4";
        let expected = RequestedWork::Stress {
            parts: vec![("pairs", "octopod"), ("bulk", "octopod"), ("pairs", "locked"), ("bulk", "locked")],
            cpus: vec![1, 4],
        };
        assert_eq!(work(words, false), expected);
        let words = "work=stress stress.workloads=pairs,box64 stress.heaps=talc,buddy";
        let parts = vec![("pairs", "octopod"), ("box64", "talc"), ("box64", "buddy")];
        assert_eq!(work(words, false), RequestedWork::Stress { parts, cpus: vec![] });
    }
}
