//! One run, from its configuration to its outcome.

use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::time::Duration;

use octopod::boot::module_archive::MAX_MODULES;
use octopod::wire::{NONCE_PARAMETER, Nonce};
use strum::IntoStaticStr;

use crate::base::files::{Plan, RunFolder, Scratch, input};
use crate::base::values::ModuleFile;
use crate::base::{Error, Message, Observer, Workspace, WorkspaceKind, interrupt, text};
use crate::commands::inputs;
use crate::kernel::{Kernel, KernelConfig, KernelSource, Symbols, build, image, registry};
use crate::machine::accelerator::Host;
use crate::machine::emulator::{Emulator, MAX_SOCKET_BYTES, QMP};
use crate::machine::limits::IMAGE_START;
use crate::machine::media::{self, Loaded};
use crate::machine::{BootProtocol, EmulatorKind, MachineConfig, limits};
use crate::present::trace;
use crate::report::document::{HostReport, KernelReport};
use crate::report::event_names::EventNames;
use crate::report::origin::{self, OriginReport};
use crate::report::trace::TraceReport;
use crate::report::verdict::{RunEvidence, judge};
use crate::report::{Judgement, Outcome, Report, Requested, symbolize};
use crate::run::command_line::SEED_PARAMETER;
use crate::run::console::Names;
use crate::run::records::draw_nonce;
use crate::run::session::{self, Booted, Run};
use crate::run::{CommandLine, RunConfig, Seen, debugger, folder, replay};
use crate::setup::{self, cargo_lines};

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
    /// The numbers of CPUs that a stress is to run on; none for the kernel's choice.
    pub cpus: Vec<u32>,
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
            cpus: Vec::new(),
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
    fn seed(&self) -> Option<RunSeed> {
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
    fn repeat(&self, seed: Option<RunSeed>, workspace: &Workspace) -> Option<String> {
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
    fn nonce(&self) -> Nonce {
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

/// The progress of a run, for what is done at its end in any case.
pub struct Begun {
    /// The checkout.
    pub workspace: Workspace,
    /// The files to read and write.
    pub files: Plan,
    /// The run's folder, once it has one.
    pub folder: Option<RunFolder>,
    /// The seed of the workloads' random choices, if there are any.
    pub seed: Option<RunSeed>,
    /// The emulator's command line, once there is one.
    pub emulator_command: Option<String>,
}

/// Changes the report of a run that has booted its kernel, before it is written.
pub type Finish<'a> = &'a mut dyn FnMut(&mut Report, &Kernel, &RunFolder, &mut dyn Observer);

/// Boots what is asked for.
pub fn launch_on(launch: &Launch, host: &Host, observer: &mut dyn Observer, finish: Finish<'_>) -> Outcome {
    with_report(launch, observer, |begun, observer| boot(launch, host, begun, observer, finish))
}

/// Runs `body`, and writes a report of its outcome. The report also describes an error of `body`.
pub fn with_report(
    launch: &Launch,
    observer: &mut dyn Observer,
    body: impl FnOnce(&mut Begun, &mut dyn Observer) -> Result<Outcome, Error>,
) -> Outcome {
    let failed = |error: Error| {
        // A compiler's words may be coloured.
        let reason = text::lines(&error.to_string()).trim_end().to_owned();
        let judgement = Judgement { kind: error.verdict(), reason: Some(reason) };
        let line = launch.command_line.to_string();
        let report = Report::assemble(judgement, line, None, None, &Seen::default(), Vec::new());
        Outcome { error: Some(error), ..Outcome::without_a_run(report) }
    };
    let files = launch.files();
    let checked = Workspace::find_or_here().and_then(|found| files.check(Some(&found.root)).map(|()| found));
    let workspace = match checked {
        Ok(workspace) => workspace,
        // An output may be an input: nothing is written.
        Err(error) => return failed(error),
    };
    let (origin, seed) = (OriginReport::begins(&workspace), launch.seed());
    let mut begun = Begun { workspace, files, folder: None, seed, emulator_command: None };
    let is_in_project = begun.workspace.project().is_some();
    let checked = Launch { is_in_project, ..launch.clone() }.check();
    let mut outcome = checked.and_then(|()| body(&mut begun, observer)).unwrap_or_else(failed);
    outcome.report.origin = OriginReport {
        repeat: launch.repeat(seed, &begun.workspace),
        seed: seed.map(|seed| format!("{:#x}", seed.value)),
        emulator_command: begun.emulator_command.take(),
        ..origin
    };
    let in_folder = begun.folder.as_ref().map(|folder| ("the run's folder", folder.file(folder::REPORT)));
    let asked_for = launch.output.json.clone().filter(|path| path.as_os_str() != "-");
    for (what, path) in in_folder.into_iter().chain(asked_for.map(|path| ("--json", path))) {
        if let Err(error) = outcome.report.write(&path).map_err(Error::unwritable(what, path)) {
            outcome.lacks(error);
        }
    }
    let run_dir = begun.folder.as_ref().map(|folder| folder.path.clone());
    Outcome { run_dir, in_use: begun.folder, ..outcome }
}

fn boot(
    launch: &Launch,
    host: &Host,
    begun: &mut Begun,
    observer: &mut dyn Observer,
    finish: Finish<'_>,
) -> Result<Outcome, Error> {
    let Begun { workspace, files, .. } = &begun;
    let is_unnamed =
        launch.kind == LaunchKind::Run && matches!(launch.kernel.source, KernelSource::Workspace);
    if is_unnamed && workspace.kind == WorkspaceKind::Checkout {
        return Err(Error::Usage("run what? --example NAME, or an ELF file".to_owned()));
    }
    build::check(&launch.kernel, workspace)?;
    // A kernel that cargo has built is there, and the launcher is its runner.
    if let (KernelSource::Workspace, Some(project)) = (&launch.kernel.source, workspace.project()) {
        for line in cargo_lines::missing(&project.folder) {
            let text = format!("{}: write into .cargo/config.toml: {}", line.consequence(), line.text());
            observer.receive(Message::Note(&text));
        }
    }
    let mut emulator = setup::emulator::provide(&launch.machine, host, observer)?;
    if matches!(launch.kernel.source, KernelSource::Workspace | KernelSource::Example(_)) {
        setup::target::provide(observer)?;
    }
    if launch.kind == LaunchKind::Gdb {
        setup::gdb::provide(observer)?;
    }
    let tools = setup::media::provide(launch.machine.boot, emulator.qemu_program(), observer)?;
    let kernel = build::provide(&launch.kernel, workspace, observer)?;
    if kernel.is_users {
        let elf = input::read(&kernel.symbols, build::MOST_BYTES)?;
        if launch.kernel.is_from_cargo && !image::has_entry(&elf) {
            return Err(Error::NotAKernel {
                path: kernel.symbols.clone(),
                reason: image::NO_ENTRY.to_owned(),
            });
        }
        registry::learn(&elf).map_err(|error| error.of_file(&kernel.symbols))?;
        launch.command_line.check()?;
    }
    limits::check_image(kernel.image_end, launch.machine.mem.bytes())?;
    if interrupt::requested() {
        return Err(Error::Interrupted);
    }
    let folder = run_folder(launch, workspace, files, observer)?;
    begun.folder = Some(folder.clone());
    let (folder, workspace) = (&folder, &begun.workspace);
    let kernel = adopted(kernel, folder)?;
    let scratch = match launch.machine.emulator {
        EmulatorKind::Qemu => Some(Scratch::new(QMP, MAX_SOCKET_BYTES)?),
        EmulatorKind::Bochs => None,
    };
    let nonce = launch.nonce();
    // First, so that no parameter of the user's can hide it; one of the same name counts instead.
    let seed = begun.seed.filter(|seed| seed.is_drawn);
    let seed = seed.map(|seed| format!("{SEED_PARAMETER}={:#x} ", seed.value)).unwrap_or_default();
    let command_line = format!("{NONCE_PARAMETER}={nonce} {seed}{}", launch.command_line);
    // First: the kernel replays the first module.
    let trace = launch.replay.as_deref().map(|path| replay::place(path, folder)).transpose()?;
    let trace = trace.map(|path| ModuleFile { path, name: replay::NAME.to_owned() });
    let modules: Vec<ModuleFile> = trace.into_iter().chain(launch.modules.iter().cloned()).collect();
    let (protocol, scratch) = (launch.machine.boot, scratch.as_ref());
    let loaded = Loaded { kernel: &kernel.path, command_line: &command_line, modules: &modules };
    let medium = media::prepare(protocol, loaded, &tools, folder, scratch, observer)?;
    let run = loop {
        let mut machine = emulator.set_up(&launch.machine, &medium, folder, scratch)?;
        announce(launch, &emulator, &kernel, &machine.script, observer);
        begun.emulator_command = Some(origin::command_of(&machine.script, &folder.path));
        if let Some(scratch) = scratch.filter(|_| launch.kind == LaunchKind::Gdb) {
            machine.arguments.extend(debugger::arguments(scratch).into_iter().flatten());
            let is_at_link_address =
                matches!(protocol, BootProtocol::Pvh | BootProtocol::Multiboot1) && !launch.kernel.compressed;
            let symbols = &kernel.symbols;
            let script = debugger::write_script(symbols, scratch, folder, is_at_link_address)?;
            let line = debugger::line(&script);
            observer.receive(Message::Note(&format!("waiting for gdb; in another terminal: {line}")));
        }
        let booted = Booted { nonce, names: Names::of(&kernel.symbols, &workspace.root) };
        let run = session::run(&launch.run, &machine, folder, booted, observer)?;
        let failed = Some(&run).filter(|run| run.may_have_failed_by_kvm());
        let Some(reason) = failed.and_then(|run| emulator.fall_back_to_tcg(&run.complaint)) else {
            break run;
        };
        // The next run listens at a new socket.
        machine.socket(QMP).map(std::fs::remove_file);
        observer.receive(Message::Note(&reason));
    };
    outcome(launch, &emulator, &kernel, run, begun, observer, finish)
}

/// Judges a run, and makes its report.
fn outcome(
    launch: &Launch,
    emulator: &Emulator,
    kernel: &Kernel,
    run: Run,
    begun: &Begun,
    observer: &mut dyn Observer,
    finish: Finish<'_>,
) -> Result<Outcome, Error> {
    let symbols = Symbols::read(&kernel.symbols, &begun.workspace.root);
    let slide = run.seen.boot.as_ref().map_or(0, |boot| boot.slide);
    let mut lines = run.serial.iter().map(String::as_str).filter(|line| !line.trim().is_empty());
    let (first_line, last_line) = (lines.clone().next(), lines.next_back());
    let is_own_program =
        matches!(launch.kind, LaunchKind::Run | LaunchKind::Test) || launch.kernel.example().is_some();
    let asked = Requested {
        is_named_kernel: matches!(launch.kernel.source, KernelSource::File(_)),
        ..Requested::of(&launch.machine, &launch.command_line, is_own_program)
    };
    let backtrace = symbolize::backtrace(&run.seen, &symbols);
    let judgement = judge(&RunEvidence {
        emulator: launch.machine.emulator,
        backtrace: &backtrace,
        end: &run.end,
        shutdown: run.shutdown.as_ref(),
        seen: &run.seen,
        first_line,
        last_line,
        complaint: &run.complaint,
        asked: &asked,
    });
    let kernel_report = KernelReport {
        variant: kernel.variant.clone(),
        image_bytes: kernel.image_bytes,
        compressed_bytes: kernel.compressed_bytes,
    };
    let mut report = Report::assemble(
        judgement,
        launch.command_line.to_string(),
        Some(host_report(&launch.machine, emulator, &run)),
        Some(kernel_report),
        &run.seen,
        backtrace,
    );
    symbolize::add_backtraces(&mut report, &run.seen, &symbols);
    let vectors = run.seen.interrupts.iter().map(|table| (table.vector, table.name.clone()));
    let known_slide = run.seen.panic.as_ref().map_or(slide, |panic| panic.slide);
    let has_events = launch.machine.has_trace_port || run.seen.panic.is_some();
    let elf = has_events.then(|| std::fs::read(&kernel.symbols).ok()).flatten();
    let events = elf.and_then(|elf| registry::events(&elf).ok()).unwrap_or_default();
    let words = EventNames::new(&symbols, known_slide, vectors).with_program(events);
    symbolize::add_events(&mut report, &run.seen, &words);
    let mut lacking = None;
    if let Some(folder) = &begun.folder {
        if launch.machine.has_trace_port {
            match trace::convert(folder, &words) {
                Ok(came) => {
                    report.trace = Some(came);
                    let (file, TraceReport { cpus, events, lost }) = (folder.file(folder::TRACE), came);
                    observer.receive(Message::Note(&format!(
                        "{events} trace events of {cpus} CPUs, {lost} lost; open in ui.perfetto.dev: {}",
                        file.display()
                    )));
                }
                Err(error) => lacking = Some(Error::NotMade { what: "--trace", error: Box::new(error) }),
            }
        }
        finish(&mut report, kernel, folder, observer);
    }
    let mut outcome = Outcome {
        serial: run.serial,
        complaint: run.complaint,
        cpus_at: match &run.registers {
            Some(text) => symbolize::cpus_at(text, &symbols, slide),
            None => Vec::new(),
        },
        registers: run.registers,
        ..Outcome::without_a_run(report)
    };
    if let Some(error) = lacking {
        outcome.lacks(error);
    }
    Ok(outcome)
}

/// The folder of a run; and as many older ones are removed as are too many.
///
/// # Errors
/// Another run has it, or it cannot be made.
pub fn run_folder(
    launch: &Launch,
    workspace: &Workspace,
    files: &Plan,
    observer: &mut dyn Observer,
) -> Result<RunFolder, Error> {
    let folder = folder::create(workspace, launch.kind.name(), launch.output.out.as_deref())?;
    if launch.output.out.is_none() {
        let keep = launch.output.keep;
        match folder::prune(workspace, keep, files.inputs()) {
            0 => {}
            count => observer.receive(Message::Note(&format!(
                "removed {count} older run folders: the newest {keep} are kept (--keep N)"
            ))),
        }
    }
    Ok(folder)
}

/// The same kernel in the run's own files.
fn adopted(kernel: Kernel, folder: &RunFolder) -> Result<Kernel, Error> {
    let path = folder.adopt(&kernel.path, "octopod-kernel", kernel.is_users)?;
    let symbols = match kernel.symbols == kernel.path {
        true => path.clone(),
        false => folder.adopt(&kernel.symbols, "octopod-symbols", kernel.is_users)?,
    };
    Ok(kernel.moved_to(path, symbols, None))
}

fn announce(
    launch: &Launch,
    emulator: &Emulator,
    kernel: &Kernel,
    script: &[u8],
    observer: &mut dyn Observer,
) {
    let kib = |bytes: u64| bytes.div_ceil(1024);
    let compressed = kernel.compressed_bytes.map(|bytes| format!(", {} KiB compressed", kib(bytes)));
    let config = &launch.machine;
    let line = format!(
        "{} {}, {}, {} with -smp {} and {}; kernel `{}`, {} KiB{}",
        config.emulator.title(),
        emulator.version(),
        emulator.accel(),
        emulator.machine(config),
        config.smp,
        config.mem,
        kernel.variant,
        kib(kernel.image_bytes),
        compressed.unwrap_or_default(),
    );
    observer.receive(Message::Note(&line));
    observer.receive(Message::Tool(&format!("{}: {}", emulator.accel(), emulator.accel_reason())));
    observer.receive(Message::Tool(&String::from_utf8_lossy(script)));
    observer.receive(Message::Step("booting"));
}

fn host_report(config: &MachineConfig, emulator: &Emulator, run: &Run) -> HostReport {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    HostReport {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        boot_protocol: config.boot.name().to_owned(),
        emulator: config.emulator.name().to_owned(),
        emulator_version: emulator.version(),
        qemu_version: (config.emulator == EmulatorKind::Qemu).then(|| emulator.version()),
        accel: emulator.accel().to_owned(),
        machine: emulator.machine(config),
        cpu: emulator.cpu(config),
        smp: config.smp.to_string(),
        memory_bytes: config.mem.bytes(),
        qemu_start_to_online_ms: run.start_to_online.map(millis),
        wall_ms: millis(run.wall),
    }
}
