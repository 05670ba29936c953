//! What a run was asked to do, as far as the launcher knows: what a pass has to show.

use octopod::boot::command_line::{BuiltIn, Options as KernelOptions, Switch, Work};
use octopod::config::MAX_CPUS;

use crate::commands::cli::{Mode, Options};
use crate::machine::media::Door;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// CPUs that must come online; `None` where that is not known, or some may be missing.
    pub cpus: Option<u32>,
    /// Whether CPUs that firmware lists may be missing.
    pub may_miss_cpus: bool,
    /// What the kernel does when it is up.
    pub work: AskedWork,
}

/// The work of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AskedWork {
    /// Not known: a program of the user's own.
    #[default]
    Program,
    /// What is typed.
    Shell,
    /// None, or the self-test.
    Boot,
    /// The bench, whose limits have to be met.
    Bench,
    /// Each workload on each allocator, and on each of these numbers of CPUs; none of them leaves the choice to the kernel.
    Stress {
        /// Workloads.
        workloads: Vec<&'static str>,
        /// Allocators.
        allocators: Vec<&'static str>,
        /// Numbers of CPUs.
        cpus: Vec<u32>,
    },
}

impl Asked {
    /// What `options` ask for.
    pub fn of(options: &Options) -> Asked {
        let line = options.kernel_command_line();
        // A line that the kernel will refuse asks for nothing.
        let Ok(kernel) = KernelOptions::parse(line.as_bytes(), BuiltIn::ALL) else { return Asked::default() };
        let may_miss_cpus = kernel.allow_missing_cpus == Switch::On;
        let given = |option: &str| options.qemu_arguments.iter().any(|argument| argument == option);
        // Without ACPI tables the kernel knows of one CPU.
        let lists_cpus = options.boot != Door::UefiMultiboot1
            && !options.machine.properties().split(',').any(|property| property == "acpi=off")
            && !["-smp", "-M", "-machine", "-no-acpi", "-acpitable"].into_iter().any(given);
        let cpus = online_at_start(&options.smp.to_string())
            .map(|cpus| cpus.min(kernel.max_cpus.unwrap_or(MAX_CPUS)));
        Asked {
            cpus: cpus.filter(|_| lists_cpus && !may_miss_cpus),
            may_miss_cpus,
            work: AskedWork::of(options, &kernel),
        }
    }
}

impl AskedWork {
    fn of(options: &Options, kernel: &KernelOptions) -> AskedWork {
        if matches!(options.mode, Mode::Run) || options.example.is_some() {
            return AskedWork::Program;
        }
        match kernel.work {
            Work::Boot | Work::SelfTest => AskedWork::Boot,
            Work::Bench => AskedWork::Bench,
            Work::Shell => AskedWork::Shell,
            Work::Stress => AskedWork::Stress {
                workloads: kernel.stress_workloads.as_slice().iter().map(|one| one.name()).collect(),
                allocators: kernel.stress_allocators.as_slice().iter().map(|one| one.name()).collect(),
                cpus: kernel.stress_cpus.into_iter().filter(|count| *count > 0).collect(),
            },
        }
    }
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
    use clap::Parser;

    use super::*;

    fn asked(arguments: &[&str]) -> Asked {
        Asked::of(&Options::try_parse_from([&["octopod"], arguments].concat()).unwrap())
    }

    #[test]
    fn cpus_are_those_of_the_machine_unless_a_limit_says_otherwise() {
        for (arguments, cpus) in [
            (&["boot", "--smp", "4"][..], Some(4)),
            (&["boot", "--smp", "2,maxcpus=4"], Some(2)),
            (&["boot", "--smp", "6,sockets=2,cores=3,threads=1"], Some(6)),
            (&["boot", "--smp", "cpus=3,maxcpus=4"], Some(3)),
            (&["boot", "--smp", "sockets=2,cores=3,maxcpus=8"], Some(6)),
            (&["boot", "--smp", "4", "--append", "max_cpus=3"], Some(3)),
            (&["boot", "--smp", "4", "--append", "reserve=0-0x100000"], Some(4)),
            (&["boot", "--smp", "4", "--allow-missing-cpus"], None),
            (&["boot", "--smp", "4", "--boot", "uefi-multiboot1"], None),
            (&["boot", "--smp", "4", "--machine", "microvm,acpi=off"], None),
            (&["boot", "--smp", "4", "--", "-smp", "2"], None),
            (&["boot", "--smp", "4", "--append", "fro=1"], None),
        ] {
            assert_eq!(asked(arguments).cpus, cpus, "{arguments:?}");
        }
    }

    #[test]
    fn the_work_is_what_the_kernel_is_told() {
        assert_eq!(asked(&["boot"]).work, AskedWork::Boot);
        assert_eq!(asked(&["boot", "--append", "work=bench"]).work, AskedWork::Bench);
        assert_eq!(asked(&["run", "--example", "hello"]).work, AskedWork::Program);
        let words = ["stress", "--workloads", "pairs,bulk", "--allocator", "octopod,locked", "--cpus", "1,4"];
        let expected = AskedWork::Stress {
            workloads: vec!["pairs", "bulk"],
            allocators: vec!["octopod", "locked"],
            cpus: vec![1, 4],
        };
        assert_eq!(asked(&words).work, expected);
    }
}
