//! The command line: one set of [`Options`] for people and for programs, and what follows from it.

mod help;
mod mode;
mod plan;

use std::ffi::OsString;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use octopod::boot::command_line::{MAX_CPU_COUNTS, Workload};

use crate::base::error::Error;
use crate::base::values::{Line, LogFilter, Machine, MemSize, Seconds, Seed, Smp, Word};
use crate::commands::matrix::MatrixOptions;
use crate::kernel::build::Kernel;
use crate::machine::bochs;
use crate::machine::emulator;
use crate::machine::limits;
use crate::machine::media::Door;
use crate::report::cost_limits as bench;
use crate::run::console as shell;
use crate::run::replay;

use help::AFTER_HELP;
pub use mode::{AccelChoice, Mode};

/// Time that a run may take beyond the seconds that its user asked for, before it is given up.
const GRACE: Duration = Duration::from_secs(60);

/// What each part of a comparison may take: its time if nobody gives one, and on a slow host much more to begin and to end.
const GRACE_OF_A_PART: Duration = Duration::from_secs(2);

/// The longest time that `--timeout` can ask for.
const UNLIMITED: Duration = Duration::from_secs(604_800);

/// octopod: builds the kernel, boots it in QEMU or Bochs, and returns its verdict.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "octopod",
    version,
    about,
    after_help = AFTER_HELP,
    override_usage = "cargo run -- [COMMAND] [OPTIONS] [-- QEMU ARGUMENTS]",
    max_term_width = 110
)]
pub struct Options {
    /// What to do.
    #[arg(value_enum, value_name = "COMMAND", default_value = "stress")]
    pub mode: Mode,

    /// Where it is booted. Bochs has one machine, takes a plain --smp and models of its own, and boots from discs.
    #[arg(long, value_enum, value_name = "EMULATOR", default_value = "qemu", help_heading = "Machine")]
    pub emulator: emulator::Kind,

    /// CPUs, as QEMU's -smp: a number, or as in 6,sockets=2,cores=3,threads=1 or 2,maxcpus=4.
    #[arg(
        long,
        value_name = "N|QEMU-STRING",
        default_value = "8",
        default_value_if("mode", "bench", "2"),
        help_heading = "Machine"
    )]
    pub smp: Smp,

    /// Memory, as in 128M or 2G.
    #[arg(long, value_name = "SIZE", default_value = "128M", help_heading = "Machine")]
    pub mem: MemSize,

    /// CPU model, as QEMU's -cpu [default: under tcg qemu64 with what TCG has of newer features, under kvm host; under Bochs
    /// corei7_haswell_4770].
    #[arg(long, value_name = "MODEL", help_heading = "Machine")]
    pub cpu: Option<Line>,

    /// pc, q35 or microvm; properties of QEMU's may follow, as in microvm,acpi=off.
    #[arg(long, value_name = "MACHINE", default_value = "q35", help_heading = "Machine")]
    pub machine: Machine,

    /// What runs the guest's code; auto means kvm only where it is sure to be hardware's. The matrix and soaks have tcg by
    /// default.
    #[arg(
        long,
        value_enum,
        value_name = "ACCEL",
        default_value = "auto",
        default_value_ifs([("mode", "matrix", "tcg"), ("mode", "bench", "tcg"), ("mode", "soak", "tcg")]),
        help_heading = "Machine"
    )]
    pub accel: AccelChoice,

    /// The door by which the kernel is entered.
    #[arg(
        long,
        value_enum,
        value_name = "DOOR",
        default_value = "pvh",
        default_value_if("emulator", "bochs", "multiboot2"),
        help_heading = "Machine"
    )]
    pub boot: Door,

    /// How long all workloads together run, with up to three decimals [default: the kernel's own].
    #[arg(long, value_name = "S", help_heading = "Stress")]
    pub seconds: Option<Seconds>,

    /// Which workloads, separated by commas [default: all].
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = "Stress")]
    pub workloads: Vec<Word>,

    /// Which allocators, separated by commas: octopod, magazine, locked [default: octopod].
    #[arg(long = "allocator", value_name = "A,B", value_delimiter = ',', help_heading = "Stress")]
    pub allocators: Vec<Word>,

    /// On how many CPUs, one number after the other [default: all; for several allocators 1, 2, 4 and so on].
    #[arg(long, value_name = "N,M", value_delimiter = ',', help_heading = "Stress")]
    pub cpus: Vec<u32>,

    /// Run the workloads as threads of this host, with --mem of its memory, and boot nothing.
    #[arg(long, conflicts_with_all = ["append", "trace", "debug", "fault", "compressed", "kernel"], help_heading = "Stress")]
    pub host: bool,

    /// Where the random choices start from, decimal or as 0x1f [default: the kernel draws one].
    #[arg(long, value_name = "N", help_heading = "Stress")]
    pub seed: Option<Seed>,

    /// Replay this trace of allocations and frees, instead of the other workloads unless --workloads names some.
    #[arg(long, value_name = "FILE", help_heading = "Stress")]
    pub replay: Option<PathBuf>,

    /// Listed CPUs that do not start are a warning, not a failure.
    #[arg(long, help_heading = "Kernel")]
    pub allow_missing_cpus: bool,

    /// Which lines of the log are shown, as in smp=debug,info: a level for a module and all below it, and one for the rest.
    #[arg(long, value_name = "FILTER", help_heading = "Kernel")]
    pub log: Option<LogFilter>,

    /// Trace the run: what each CPU did when, as trace.json in the run's folder, for ui.perfetto.dev or chrome://tracing.
    #[arg(long, help_heading = "Kernel")]
    pub trace: bool,

    /// More words for the kernel's command line; may be given more than once.
    #[arg(long, value_name = "KERNEL COMMAND LINE", allow_hyphen_values = true, help_heading = "Kernel")]
    pub append: Vec<Line>,

    /// Build without optimisation.
    #[arg(long, help_heading = "Kernel")]
    pub debug: bool,

    /// Build with deliberate faults, and commit this one.
    #[arg(long, value_name = "NAME", help_heading = "Kernel")]
    pub fault: Option<Word>,

    /// Compress the kernel, and boot a loader that unpacks it.
    #[arg(long, help_heading = "Kernel")]
    pub compressed: bool,

    /// Build and boot this example instead of the kernel.
    #[arg(long, value_name = "NAME", required_if_eq("mode", "run"), help_heading = "Kernel")]
    pub example: Option<Word>,

    /// Boot this ELF file instead of building one.
    #[arg(long, value_name = "ELF", conflicts_with_all = ["debug", "compressed", "example"], help_heading = "Kernel")]
    pub kernel: Option<PathBuf>,

    /// Give the run up after so long [default: 60, and what --seconds says; more for discs and Bochs; no limit for gdb, nor
    /// for a shell at a terminal].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800), help_heading = "Run")]
    pub timeout: Option<u64>,

    /// Write the report here as well; - means standard output, which then holds nothing else.
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub json: Option<PathBuf>,

    /// Keep the run's files here [default: a folder of its own under target/octopod/runs].
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: Option<PathBuf>,

    /// Keep the newest N folders of runs in target/octopod/runs, and remove older ones; that of a run which has not ended is
    /// always kept.
    #[arg(long, value_name = "N", default_value = "50", help_heading = "Run")]
    pub keep: NonZeroUsize,

    /// Leave the pictures in this folder as well, for a page of one's own.
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub pictures: Option<PathBuf>,

    /// Print the verdict only.
    #[arg(long, conflicts_with = "verbose", help_heading = "Run")]
    pub quiet: bool,

    /// Print also what the tools say, QEMU's command line, and the records.
    #[arg(long, help_heading = "Run")]
    pub verbose: bool,

    /// Where no terminal shows a bar: say each so many seconds how far it is.
    #[arg(long, value_name = "SECONDS", default_value = "30", help_heading = "Run")]
    pub progress: u64,

    /// The QEMU to use [default: qemu-system-x86_64, installed if it is missing].
    #[arg(
        long = "qemu",
        value_name = "PATH",
        env = "OCTOPOD_QEMU",
        hide_env_values = true,
        help_heading = "Run"
    )]
    pub qemu_program: Option<OsString>,

    /// The Bochs to use [default: bochs, installed by apt-get if it is asked for and missing].
    #[arg(
        long = "bochs",
        value_name = "PATH",
        env = "OCTOPOD_BOCHS",
        hide_env_values = true,
        help_heading = "Run"
    )]
    pub bochs_program: Option<OsString>,

    /// Type this line on the console instead of reading standard input; may be given more than once.
    #[arg(long = "type", value_name = "LINE", help_heading = "Shell")]
    pub typed: Vec<Line>,

    /// How many, of what the soak counts: boots, operations (stress, model), preemptions (loom), schedules, cases (miri),
    /// mutants, inputs (fuzz) [default: as in the README, "Long tiers"].
    #[arg(long, value_name = "N", help_heading = "Soak")]
    pub count: Option<NonZeroU64>,

    /// What only the matrix knows.
    #[command(flatten)]
    pub matrix: MatrixOptions,

    /// For programs: boot this kernel, which has been built before, instead of building one.
    #[arg(skip)]
    pub built: Option<Kernel>,

    /// Arguments for QEMU, behind all others.
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    pub qemu_arguments: Vec<OsString>,
}

impl Default for Options {
    /// What `cargo run` alone means.
    fn default() -> Options {
        Options::parse_from(["octopod"])
    }
}

impl Options {
    /// Refuses what is wrong only together.
    pub fn check(&self) -> Result<(), Error> {
        self.matrix.check(self)?;
        bochs::check(self)?;
        self.boot.check(self)?;
        bench::check(self)?;
        replay::check(self)?;
        shell::check(self)?;
        let stress_options = [
            ("--seconds", self.seconds.is_some()),
            ("--workloads", !self.workloads.is_empty()),
            ("--allocator", !self.allocators.is_empty()),
            ("--cpus", !self.cpus.is_empty()),
            ("--host", self.host),
            ("--replay", self.replay.is_some()),
            ("--seed", self.seed.is_some()),
        ];
        if self.example.is_some() && !matches!(self.mode, Mode::Run | Mode::Gdb) {
            let mode = self.mode.name();
            return Err(Error::OptionOfAnotherMode { option: "--example", applies_to: "run", mode });
        }
        if let Some((option, _)) =
            stress_options.into_iter().find(|(_, given)| *given && self.mode != Mode::Stress)
        {
            return Err(Error::OptionOfAnotherMode { option, applies_to: "stress", mode: self.mode.name() });
        }
        if self.mode.boots() { limits::check(self) } else { Ok(()) }
    }

    /// The kernel's command line. What the user appends comes last, where it wins.
    pub fn kernel_command_line(&self) -> String {
        let mut words = vec![format!("work={}", self.mode.work())];
        words.extend(self.seconds.as_ref().map(|seconds| format!("stress.seconds={seconds}")));
        let mut names: Vec<String> = self.workloads.iter().map(Word::to_string).collect();
        let replay = Workload::Replay.name();
        if self.replay.is_some() && !names.iter().any(|name| name == replay) {
            names.push(replay.to_owned());
        }
        if !names.is_empty() {
            words.push(format!("stress.workloads={}", names.join(",")));
        }
        if !self.allocators.is_empty() {
            let names: Vec<String> = self.allocators.iter().map(Word::to_string).collect();
            words.push(format!("stress.allocators={}", names.join(",")));
        }
        if !self.cpus.is_empty() {
            let numbers: Vec<String> = self.cpus.iter().map(u32::to_string).collect();
            words.push(format!("stress.cpus={}", numbers.join(",")));
        }
        words.extend(self.seed.as_ref().map(|seed| format!("stress.seed={seed}")));
        words.extend(self.fault.as_ref().map(|fault| format!("fault={fault}")));
        words.extend(self.log.as_ref().map(|filter| format!("log={filter}")));
        if self.trace {
            words.push("trace=on".to_owned());
        }
        if self.allow_missing_cpus {
            words.push("allow_missing_cpus=on".to_owned());
        }
        words.extend(self.append.iter().map(Line::to_string));
        words.join(" ")
    }

    /// How many parts a comparison has, at most: a workload on an allocator with so many CPUs. 0 if nothing is compared.
    fn compared_parts(&self) -> u32 {
        let allocators = self.allocators.len().max(1);
        let counts = match self.cpus.len() {
            0 if allocators > 1 => MAX_CPU_COUNTS,
            given => given.max(1),
        };
        let workloads = if self.workloads.is_empty() { Workload::ALL.len() } else { self.workloads.len() };
        if allocators * counts > 1 { (allocators * counts * workloads) as u32 } else { 0 }
    }

    /// How long the machine may run.
    pub fn time_limit(&self) -> Duration {
        if self.mode == Mode::Gdb || self.mode == Mode::Shell && shell::is_interactive(self) {
            // Who debugs or types takes the time that it takes.
            return self.timeout.map_or(UNLIMITED, Duration::from_secs);
        }
        let seconds = self.seconds.as_ref().map(Seconds::time).unwrap_or_default();
        let work = seconds + GRACE_OF_A_PART * self.compared_parts();
        let usual = self.emulator.time_limit(GRACE + self.boot.grace(), work);
        self.timeout.map_or(usual, Duration::from_secs)
    }
}

#[cfg(test)]
mod tests;
