//! Groups of options that several commands share, and the types of their values.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use strum::{EnumMessage, VariantArray};

use crate::base::values::{Line, LogFilter, MachineType, MemSize, ModuleFile, Smp, Word};
use crate::commands::launch::OutputConfig;
use crate::kernel::{KernelConfig, KernelSource};
use crate::machine::{AccelChoice, BootProtocol, EmulatorKind, MachineConfig};
use crate::present::terminal::TerminalConfig;

/// Names of a lower layer as values of an option, each with its documentation.
macro_rules! value_enum {
    ($($name:ty),*) => {$(
        impl ValueEnum for $name {
            fn value_variants<'a>() -> &'a [$name] {
                <$name>::VARIANTS
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                let value = PossibleValue::new(self.name());
                Some(match self.get_documentation() {
                    Some(help) => value.help(help.trim_end_matches('.')),
                    None => value,
                })
            }
        }
    )*};
}

value_enum!(AccelChoice, BootProtocol, EmulatorKind);

/// The machine.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// CPUs, as QEMU's -smp: a number, or as in 6,sockets=2,cores=3,threads=1 or 2,maxcpus=4.
    #[arg(long, value_name = "N|QEMU-STRING", default_value_t)]
    pub smp: Smp,

    /// Memory, as in 128M or 2G.
    #[arg(long, value_name = "SIZE", default_value_t)]
    pub mem: MemSize,

    /// CPU model, as QEMU's -cpu [default: under tcg qemu64 with the newer features that TCG supports, under kvm host; under Bochs
    /// corei7_haswell_4770].
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<Line>,

    /// pc, q35 or microvm; QEMU's properties may follow, as in microvm,acpi=off.
    #[arg(long, value_name = "MACHINE", default_value_t)]
    pub machine: MachineType,

    /// The accelerator; auto means kvm if it is certain to use the hardware, else tcg.
    #[arg(long, value_enum, value_name = "ACCEL", default_value_t)]
    pub accel: AccelChoice,

    /// The boot protocol by which the kernel is entered [default: pvh; in Bochs multiboot2].
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    pub boot: Option<BootProtocol>,

    #[command(flatten)]
    pub(crate) qemu: QemuArgs,

    /// Arguments for QEMU, after all others.
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    pub qemu_arguments: Vec<OsString>,
}

/// The QEMU to use.
#[derive(Clone, Debug, Default, Args)]
pub struct QemuArgs {
    /// The QEMU to use [default: qemu-system-x86_64, installed if it is missing].
    #[arg(long, value_name = "PATH", env = "OCTOPOD_QEMU", hide_env_values = true)]
    pub qemu: Option<OsString>,

    /// Install a QEMU from the distribution's backports where it is missing or older than 9.0, or set OCTOPOD_NEWEST_QEMU=1; without
    /// it only a machine that needs it does: one of more than 255 CPUs, or of a CPU model with x2APIC, under TCG.
    #[arg(long)]
    pub newest_qemu: bool,
}

/// The Bochs to use.
#[derive(Clone, Debug, Default, Args)]
pub struct BochsArgs {
    /// The Bochs to use [default: bochs, installed by apt-get if it is chosen and missing].
    #[arg(long, value_name = "PATH", env = "OCTOPOD_BOCHS", hide_env_values = true)]
    pub bochs: Option<OsString>,
}

/// The emulator.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Machine")]
pub struct EmulatorArgs {
    /// The emulator. Bochs has one machine, takes a plain --smp and CPU models of its own, and boots ISO images.
    #[arg(long, value_enum, value_name = "EMULATOR", default_value_t)]
    pub emulator: EmulatorKind,

    #[command(flatten)]
    pub(crate) bochs: BochsArgs,
}

/// The kernel and its command line.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Kernel")]
pub struct KernelArgs {
    /// Listed CPUs that do not start are a warning, not a failure.
    #[arg(long)]
    pub allow_missing_cpus: bool,

    /// Log filter, as in smp=debug,info: a level for a module and its sub-modules, and one for all others.
    #[arg(long, value_name = "FILTER")]
    pub log: Option<LogFilter>,

    /// Trace the run: the events of each CPU over time, as trace.json in the run's folder, for ui.perfetto.dev or
    /// chrome://tracing.
    #[arg(long)]
    pub trace: bool,

    /// More parameters for the kernel's command line; may be given more than once.
    #[arg(long, value_name = "KERNEL COMMAND LINE", allow_hyphen_values = true)]
    pub append: Vec<Line>,

    /// Hand this file to the kernel, which finds it by octopod::modules(), under the file's name or NAME; may be given more than
    /// once.
    #[arg(long, value_name = "FILE[=NAME]")]
    pub module: Vec<ModuleFile>,

    /// Build without optimisation.
    #[arg(long)]
    pub debug: bool,

    /// Build with fault injection, and inject this fault.
    #[arg(long, value_name = "NAME")]
    pub inject: Option<Word>,

    /// Compress the kernel, and boot a loader that unpacks it.
    #[arg(long)]
    pub compressed: bool,

    /// Boot this ELF file instead of building one.
    #[arg(long, value_name = "ELF", conflicts_with_all = ["debug", "compressed"])]
    pub kernel: Option<PathBuf>,
}

/// An example instead of the kernel.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Kernel")]
pub struct ExampleArgs {
    /// Build and boot this example instead of the kernel.
    #[arg(long, value_name = "NAME", conflicts_with = "kernel")]
    pub example: Option<Word>,
}

/// The time limit.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Run")]
pub struct TimeArgs {
    /// Time limit of the whole run; of a run of tests, of each test [default: 60, plus --seconds, which begins again at each step:
    /// the bring-up, each CPU, the begin of the work, each workload, benchmark and test; more for ISO images and Bochs; no limit
    /// for gdb, nor for a shell at a terminal].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub timeout: Option<u64>,
}

/// The output of a run.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct OutputArgs {
    /// Write the report to this file too; - means standard output, which then has nothing else.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// The folder of the run's files [default: a new folder under target/octopod/runs].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) keep: KeepArgs,

    /// Write the pictures to this folder too.
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,
}

/// The number of run folders to keep.
#[derive(Clone, Debug, Args)]
pub struct KeepArgs {
    /// Keep the newest N run folders in target/octopod/runs, and remove older ones; the folder of a running run is always
    /// kept.
    #[arg(long, value_name = "N", default_value = "50")]
    pub keep: NonZeroUsize,
}

/// The output on the terminal.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Terminal")]
pub struct TerminalArgs {
    /// Print the verdict only.
    #[arg(long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Also print the output of the tools, QEMU's command line, and the records.
    #[arg(long)]
    pub verbose: bool,

    /// Install what is missing without a question; where standard input is no terminal, there is none.
    #[arg(long)]
    pub yes: bool,
}

/// Progress without a terminal.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Terminal")]
pub struct ProgressArgs {
    /// Without a terminal, report the progress at this interval.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    pub progress: u64,
}

impl MachineArgs {
    /// The machine, in this emulator.
    pub fn configure(&self, emulator: &EmulatorArgs, trace: bool) -> MachineConfig {
        MachineConfig {
            emulator: emulator.emulator,
            smp: self.smp.clone(),
            mem: self.mem.clone(),
            cpu: self.cpu.clone(),
            machine: self.machine.clone(),
            accel: self.accel,
            boot: self.boot.unwrap_or(emulator.emulator.default_boot_protocol()),
            qemu: self.qemu.qemu.clone(),
            bochs: emulator.bochs.bochs.clone(),
            counts_instructions: false,
            has_trace_port: trace,
            qemu_arguments: self.qemu_arguments.clone(),
        }
    }
}

impl KernelArgs {
    /// The kernel, without the parts that depend on its work.
    pub fn configure(&self, example: Option<&Word>) -> KernelConfig {
        let source = match (&self.kernel, example) {
            (Some(path), _) => KernelSource::File(path.clone()),
            (None, Some(name)) => KernelSource::Example(name.to_string()),
            (None, None) => KernelSource::Workspace,
        };
        KernelConfig {
            source,
            debug: self.debug,
            compressed: self.compressed,
            faults: self.inject.is_some(),
            ..KernelConfig::default()
        }
    }

    /// The parameters of these options.
    pub fn parameters(&self) -> Vec<String> {
        let mut parameters = Vec::new();
        parameters.extend(self.inject.as_ref().map(|fault| format!("inject={fault}")));
        parameters.extend(self.log.as_ref().map(|filter| format!("log={filter}")));
        parameters.extend(self.trace.then(|| "trace=on".to_owned()));
        parameters.extend(self.allow_missing_cpus.then(|| "allow_missing_cpus=on".to_owned()));
        parameters
    }
}

impl OutputArgs {
    /// The files to write.
    pub fn configure(&self) -> OutputConfig {
        OutputConfig {
            out: self.out.clone(),
            json: self.json.clone(),
            pictures: self.pictures.clone(),
            keep: self.keep.keep.get(),
        }
    }
}

impl TerminalArgs {
    /// The output on the terminal. Without a terminal, a progress line replaces the bar. If the report goes to standard output,
    /// everything else goes to standard error.
    pub fn configure(&self, progress: &ProgressArgs, json: Option<&PathBuf>) -> TerminalConfig {
        TerminalConfig {
            quiet: self.quiet,
            verbose: self.verbose,
            progress: Duration::from_secs(progress.progress),
            is_report_on_stdout: json.is_some_and(|path| path.as_os_str() == "-"),
        }
    }
}
