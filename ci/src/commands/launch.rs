//! The configuration of one run.

use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use octopod::boot::module_archive::MAX_MODULES;
use octopod::wire::Nonce;
use strum::IntoStaticStr;

use crate::base::files::Plan;
use crate::base::values::ModuleFile;
use crate::base::{Error, Workspace};
use crate::commands::inputs;
use crate::kernel::{KernelConfig, KernelSource};
use crate::machine::limits::IMAGE_START;
use crate::machine::{MachineConfig, limits};
use crate::run::records::draw_nonce;
use crate::run::{CommandLine, RunConfig, folder, replay};

/// Time that a step of a run may take beyond the seconds that its user asked for, before the run is aborted: this limit begins
/// again at each step.
const GRACE: Duration = Duration::from_secs(60);

/// The longest time that `--timeout` can ask for.
pub const UNLIMITED: Duration = Duration::from_secs(604_800);

/// The command of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum LaunchKind {
    /// `boot`.
    #[default]
    Boot,
    /// `stress`.
    Stress,
    /// `stress --host`, which boots nothing.
    #[strum(serialize = "stress-host")]
    StressOnHost,
    /// `bench`.
    Bench,
    /// `run`: a program of the user's own.
    Run,
    /// `test`: tests of the user's own.
    Test,
    /// `shell`.
    Shell,
    /// `gdb`.
    Gdb,
}

impl LaunchKind {
    /// Its name, in those of run folders.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The kernel's `work=`.
    pub fn work(self) -> &'static str {
        match self {
            LaunchKind::Run => "program",
            LaunchKind::Gdb => LaunchKind::Boot.name(),
            LaunchKind::StressOnHost => LaunchKind::Stress.name(),
            other => other.name(),
        }
    }
}

/// The output of a run and its paths.
#[derive(Clone, Debug)]
pub struct OutputConfig {
    /// The run's folder; `None` for one of its own.
    pub out: Option<PathBuf>,
    /// Another file for the report; `-` is the standard output.
    pub json: Option<PathBuf>,
    /// Another folder for the pictures.
    pub pictures: Option<PathBuf>,
    /// The number of run folders that are kept.
    pub keep: usize,
}

impl Default for OutputConfig {
    fn default() -> OutputConfig {
        OutputConfig { out: None, json: None, pictures: None, keep: 50 }
    }
}

/// The configuration of one run.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The command.
    pub kind: LaunchKind,
    /// The machine.
    pub machine: MachineConfig,
    /// The kernel.
    pub kernel: KernelConfig,
    /// Its command line.
    pub command_line: CommandLine,
    /// True if the workloads of a program's own run as well as those that the command line names.
    pub adds_workloads: bool,
    /// The numbers of CPUs that a stress is to run on; none for the kernel's choice.
    pub cpus: Vec<u32>,
    /// Of a file of benchmarks, what their names contain, or all without a filter; `None` for a kernel with all its benchmarks.
    pub bench_filters: Option<Vec<String>>,
    /// Files for the kernel.
    pub modules: Vec<ModuleFile>,
    /// A trace of allocations to replay.
    pub replay: Option<PathBuf>,
    /// Its time and its console.
    pub run: RunConfig,
    /// The output.
    pub output: OutputConfig,
    /// The words that it was made of, the command first; none if it was made otherwise.
    pub words: Vec<OsString>,
    /// True if the workspace is a project of the user's own.
    pub is_in_project: bool,
}

impl Default for Launch {
    /// A boot of the default machine.
    fn default() -> Launch {
        let machine = MachineConfig::default();
        let limit = time_limit(&machine, Duration::ZERO);
        Launch {
            kind: LaunchKind::Boot,
            machine,
            kernel: KernelConfig::default(),
            command_line: CommandLine::for_work("boot"),
            adds_workloads: false,
            cpus: Vec::new(),
            bench_filters: None,
            modules: Vec::new(),
            replay: None,
            run: RunConfig { limit, is_of_each_step: true, console: None },
            output: OutputConfig::default(),
            words: Vec::new(),
            is_in_project: false,
        }
    }
}

/// Returns the time limit of each step on a machine whose work takes this time.
pub fn time_limit(machine: &MachineConfig, work: Duration) -> Duration {
    machine.emulator.time_limit(GRACE + machine.boot.grace(), work)
}

impl Launch {
    /// Refuses what cannot work, as far as that is known before anything is installed, built or booted.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let boots = self.kind != LaunchKind::StressOnHost;
        if boots {
            self.machine.check(&self.command_line.to_string())?;
        }
        self.check_replay(boots)?;
        if boots {
            self.check_modules()?;
        }
        if self.kind != LaunchKind::Shell && self.kernel.shell {
            // It would wait for input that never comes.
            let command = self.kind.name();
            return Err(Error::Usage(format!("work=shell is an option of shell, not of {command}")));
        }
        // A kernel of the user's own may have more names; `boot` reads them from its file.
        if !matches!(self.kernel.source, KernelSource::File(_)) && !self.is_in_project {
            self.command_line.check()?;
        }
        if !boots {
            return Ok(());
        }
        let cpus = self.machine.smp.cpus();
        if let Some(&asked) = self.cpus.iter().find(|asked| **asked > cpus) {
            return Err(Error::Usage(format!("--cpus {asked} asks for more CPUs than the {cpus} of --smp")));
        }
        limits::check(&self.machine)
    }

    /// Refuses modules that the kernel could not tell apart, are too many, or do not fit into the memory.
    fn check_modules(&self) -> Result<(), Error> {
        let most = MAX_MODULES - usize::from(self.replay.is_some());
        if self.modules.len() > most {
            return Err(Error::Usage(format!("{} modules, and {most} are the most", self.modules.len())));
        }
        if self.modules.is_empty() {
            return Ok(());
        }
        let mut bytes = IMAGE_START;
        for (index, module) in self.modules.iter().enumerate() {
            let ModuleFile { path, name } = module;
            if self.modules[..index].iter().any(|other| other.name == *name) {
                return Err(Error::Usage(format!(
                    "two modules are named {name}: --module FILE=NAME renames one"
                )));
            }
            bytes += fs::metadata(path).map_err(Error::file("read", path))?.len();
        }
        limits::check_memory(self.machine.mem.bytes(), bytes, "a kernel with its modules")
    }

    fn check_replay(&self, boots: bool) -> Result<(), Error> {
        let Some(path) = &self.replay else {
            let replays = "stress.workloads=";
            let mut lists = self.command_line.own.iter().filter_map(|word| word.strip_prefix(replays));
            let is_missing = lists.any(|list| list.split(',').any(|name| name == "replay"));
            let missing = || Error::Usage("--workloads replay needs a trace: --replay FILE".to_owned());
            return if is_missing { Err(missing()) } else { Ok(()) };
        };
        if !boots {
            return replay::read(path).map(drop);
        }
        let MachineConfig { smp, mem, .. } = &self.machine;
        replay::check(path, smp, &self.cpus, mem.bytes())
    }

    /// The files to read and write.
    pub fn files(&self) -> Plan {
        let mut files = Plan::default();
        if let KernelSource::File(path) = &self.kernel.source {
            files.reads("--kernel", path);
        }
        self.replay.iter().for_each(|path| files.reads("--replay", path));
        self.modules.iter().for_each(|module| files.reads("--module", &module.path));
        inputs::programs(&mut files, self.machine.qemu.as_deref(), self.machine.bochs.as_deref());
        for path in self.machine.qemu_arguments.iter().flat_map(inputs::files_in) {
            files.reads("an argument for QEMU", &path);
        }
        self.output.json.iter().for_each(|path| files.writes("--json", path, folder::REPORT));
        if let Some(folder) = &self.output.pictures {
            files.writes_into("--pictures", folder, folder::PICTURES);
        }
        if let Some(folder) = &self.output.out {
            files.writes_into("--out", folder, folder::files());
        }
        files
    }

    /// Returns the seed of the workloads' random choices: as asked for, or drawn. If instructions are counted, two runs of
    /// one machine are the same.
    pub(super) fn seed(&self) -> Option<RunSeed> {
        if !matches!(self.kind, LaunchKind::Stress | LaunchKind::StressOnHost) {
            return None;
        }
        let asked = self.command_line.seed();
        let drawn = || if self.counts_instructions() { 1 } else { RandomState::new().hash_one(0) };
        Some(asked.map_or_else(
            || RunSeed { value: drawn(), is_drawn: true },
            |value| RunSeed { value, is_drawn: false },
        ))
    }

    /// The command that repeats it.
    pub(super) fn repeat(&self, seed: Option<RunSeed>, workspace: &Workspace) -> Option<String> {
        let (command, rest) = self.words.split_first()?;
        let mut words = vec![command.to_string_lossy().into_owned()];
        words.extend(seed.filter(|seed| seed.is_drawn).map(|seed| format!("--seed={:#x}", seed.value)));
        words.extend(rest.iter().map(|word| word.to_string_lossy().into_owned()));
        let words = shlex::try_join(words.iter().map(String::as_str)).ok()?;
        Some(format!("{} {words}", workspace.launcher()))
    }

    fn counts_instructions(&self) -> bool {
        self.machine.counts_instructions || self.machine.gives_qemu("-icount")
    }

    /// The nonce of its records. Where instructions are counted, two runs of one machine are the same to the last of them,
    /// so their nonces are.
    pub(super) fn nonce(&self) -> Nonce {
        Nonce::new(u64::MAX).filter(|_| self.counts_instructions()).unwrap_or_else(draw_nonce)
    }
}

/// A seed of random choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSeed {
    /// The seed.
    pub value: u64,
    /// True if the launcher has drawn it.
    pub is_drawn: bool,
}
