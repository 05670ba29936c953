//! Everything that keeps the launcher from booting a kernel, with what it takes to say what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::VerdictKind;

/// Why there was no run, or why one was broken off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter that only another command serves.
    #[error("{option} is an option of {applies_to}, not of {command}")]
    OptionOfAnotherCommand {
        /// The parameter.
        option: &'static str,
        /// The command that serves it.
        applies_to: &'static str,
        /// The command that was given.
        command: &'static str,
    },
    /// The bench counts instructions on a machine of its own.
    #[error("bench counts instructions under TCG on one CPU or two, so {option} cannot be {value}: {reason}")]
    NotCountable {
        /// The option.
        option: &'static str,
        /// What was asked for.
        value: String,
        /// Why not.
        reason: &'static str,
    },
    /// The limits cannot be read.
    #[error("{}: {problem}", path.display())]
    Limits {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: toml::de::Error,
    },
    /// A machine without the drive that a boot protocol needs.
    #[error("--boot {protocol} does not go with --machine {machine}, which has no disc drive")]
    NoDiscDrive {
        /// The boot protocol.
        protocol: &'static str,
        /// The machine.
        machine: &'static str,
    },
    /// The kernel would not get the command line that was meant.
    #[error("--boot {protocol} cannot pass {character} to the kernel: GRUB would put a backslash before it")]
    CharacterBeyondGrub {
        /// The boot protocol.
        protocol: &'static str,
        /// The character.
        character: char,
    },
    /// Bochs has no such thing.
    #[error("{option} does not go with --emulator bochs: {reason}")]
    NotOnBochs {
        /// The option.
        option: &'static str,
        /// Why not, or what does.
        reason: &'static str,
    },
    /// The kernel would refuse this.
    #[error("{message}")]
    KernelOption {
        /// What it would say.
        message: String,
    },
    /// A file to be replayed is no trace.
    #[error("{}, {problem}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        problem: octopod::stress::trace::TraceError,
    },
    /// There is nothing to be replayed.
    #[error("--workloads replay needs a trace: --replay FILE")]
    NoTrace,
    /// GRUB's ISO images hold nothing but the kernel.
    #[error(
        "--replay does not go with --boot {protocol}: take pvh or multiboot1, by which QEMU loads the trace beside the kernel"
    )]
    ReplayFromIso {
        /// The boot protocol.
        protocol: &'static str,
    },
    /// The trace is for more threads than it is to be replayed by.
    #[error("the trace is for {traced} CPUs, and is to be replayed by {threads} threads")]
    TraceForMore {
        /// CPUs in the trace.
        traced: usize,
        /// Threads.
        threads: usize,
    },
    /// The trace is for more CPUs than it is to be replayed on.
    #[error("the trace is for {traced} CPUs, and is to be replayed on {cpus}: --smp {traced} has enough")]
    TraceForMoreCpus {
        /// CPUs in the trace.
        traced: usize,
        /// CPUs of the machine, or the fewest of `--cpus`.
        cpus: usize,
    },
    /// The kernel takes no more.
    #[error("the kernel's command line has {bytes} bytes, and at most {most} are allowed")]
    CommandLineTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// The machine has no more.
    #[error("--machine {machine} has at most {most} CPUs, and --smp asks for {cpus}")]
    TooManyCpus {
        /// The machine.
        machine: &'static str,
        /// CPUs that are asked for.
        cpus: u32,
        /// The limit.
        most: u32,
    },
    /// The workloads are to run on more CPUs than the machine has.
    #[error("--cpus {asked} asks for more CPUs than the {cpus} of --smp")]
    TooFewCpus {
        /// What is asked for.
        asked: u32,
        /// CPUs of the machine.
        cpus: u32,
    },
    /// Nothing could be loaded.
    #[error("--mem of {} KiB is too little: {what} needs at least {}", bytes.div_ceil(1024), size(*needs))]
    TooLittleMemory {
        /// The machine's memory.
        bytes: u64,
        /// The limit.
        needs: u64,
        /// What needs it.
        what: String,
    },
    /// The run would replace a file that it reads.
    #[error("{output} would replace {}, which is what {input} names; nothing was started", path.display())]
    OutputIsInput {
        /// The option that names the output.
        output: String,
        /// The file.
        path: PathBuf,
        /// The option that names the input.
        input: String,
    },
    /// The run would replace a file that the kernel or the launcher is built from.
    #[error("{output} would replace {}, a source file of this checkout; nothing was started", path.display())]
    OutputIsSource {
        /// The option that names the output.
        output: String,
        /// The file.
        path: PathBuf,
    },
    /// Two outputs would be written to one file.
    #[error("{first} and {second} would both be written to {}", path.display())]
    OutputTwice {
        /// An option.
        first: String,
        /// The other.
        second: String,
        /// The file.
        path: PathBuf,
    },
    /// What was asked for cannot be written.
    #[error("{what}: cannot write {}: {source}", path.display())]
    Unwritable {
        /// The option that asks for it.
        what: String,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was asked for could not be made.
    #[error("{what}: {error}")]
    NotMade {
        /// The option that asks for it.
        what: &'static str,
        /// Why.
        error: Box<Error>,
    },
    /// A file that is to be read is none.
    #[error("cannot read {}: it is not a regular file, but {kind}", path.display())]
    NotAFile {
        /// Its path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A file that is to be read is larger than any of its kind.
    #[error("cannot read {}: it has {bytes} bytes, and at most {most} are read", path.display())]
    FileTooLarge {
        /// Its path.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// There is no such kernel among the examples.
    #[error("there is no example `{name}` in {}; there are {}", folder.display(), known.join(", "))]
    NoSuchExample {
        /// The name.
        name: String,
        /// Where it was looked for.
        folder: PathBuf,
        /// What there is.
        known: Vec<String>,
    },
    /// KVM was asked for by name and cannot work.
    #[error("--accel kvm cannot work here: {reason}; use --accel tcg, or auto")]
    KvmUnusable {
        /// What stands against it.
        reason: String,
    },
    /// No checkout of octopod is found.
    #[error(
        "no checkout of octopod at {} or above it: change to one, or name one by {variable}=DIR", here.display()
    )]
    NoCheckout {
        /// The current folder.
        here: PathBuf,
        /// The variable that names one.
        variable: &'static str,
    },
    /// The folder that the user names is no checkout of octopod.
    #[error("{}, which {variable} names, is no checkout of octopod", path.display())]
    NotACheckout {
        /// The folder.
        path: PathBuf,
        /// The variable that names it.
        variable: &'static str,
    },
    /// A tool is missing and may not, or could not, be installed.
    #[error("{what} is missing, and {obstacle}; to install it, type: {line}")]
    Missing {
        /// The tool.
        what: String,
        /// Why the launcher did not install it.
        obstacle: String,
        /// The command that does.
        line: String,
    },
    /// A tool is missing, and there is no command that is known to install it.
    #[error("{what} is missing: {advice}")]
    MissingByHand {
        /// The tool.
        what: String,
        /// What to do.
        advice: String,
    },
    /// `OCTOPOD_QEMU`, or the QEMU that was found, cannot be asked for its version.
    #[error("{} does not answer to --version as QEMU does: {answer}", program.display())]
    NotQemu {
        /// The program.
        program: PathBuf,
        /// What it did instead.
        answer: String,
    },
    /// The same of `OCTOPOD_BOCHS`.
    #[error("{} does not answer to --help as Bochs does: {answer}", program.display())]
    NotBochs {
        /// The program.
        program: PathBuf,
        /// What it did instead.
        answer: String,
    },
    /// A program could not be started, or did not end in time.
    #[error("{program}: {source}")]
    Program {
        /// Its name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program took longer than it may.
    #[error("{program} did not end within {} s", limit.as_secs())]
    ProgramTimeout {
        /// Its name.
        program: String,
        /// The time it had.
        limit: Duration,
    },
    /// A program that was asked for a few lines wrote without end.
    #[error("{program} wrote more than {bytes} bytes where a few lines were expected")]
    ProgramFloods {
        /// Its name.
        program: String,
        /// The limit.
        bytes: usize,
    },
    /// A program ended with a failure.
    #[error("{program} failed ({status}):\n{output}")]
    ProgramFailed {
        /// Its command line.
        program: String,
        /// How it ended.
        status: String,
        /// The last lines that it wrote.
        output: String,
    },
    /// The kernel does not build.
    #[error("the kernel does not build ({status}):\n{diagnostics}")]
    KernelBuild {
        /// How cargo ended.
        status: String,
        /// What the compiler said.
        diagnostics: String,
    },
    /// The kernel does not build, or not to what it must be, and settings of the user's reach its build.
    #[error("{error}\nthese settings reach the kernel's build: {}", settings.join("; "))]
    ForeignSettings {
        /// What is wrong.
        error: Box<Error>,
        /// The settings, each with where it is from.
        settings: Vec<String>,
    },
    /// A path that a tool cannot be given.
    #[error("{} cannot be used: {reason}", path.display())]
    UnusablePath {
        /// The path.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// Cargo ended well but named no executable.
    #[error("cargo built the kernel but named no executable for {target}")]
    NoExecutable {
        /// The cargo target that was asked for.
        target: String,
    },
    /// Another launcher has held the build lock for too long.
    #[error("another octopod has been building for {} s; wait for it or end it, then try again", waited.as_secs())]
    BuildLocked {
        /// How long this one waited.
        waited: Duration,
    },
    /// The kernel's file is not one.
    #[error("{} is not a kernel that can be booted: {reason}", path.display())]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The boot matrix cannot be read.
    #[error("{}: {problem}", path.display())]
    Matrix {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No row of the boot matrix is what was asked for.
    #[error("no row of {} is called like {}; there are {rows}", path.display(), names.join(" or "))]
    NoSuchRow {
        /// The file.
        path: PathBuf,
        /// The parts of names that were asked for.
        names: Vec<String>,
        /// How many rows there are.
        rows: usize,
    },
    /// No soak is called what was asked for.
    #[error("there is no soak `{name}`; there are {}", known.join(", "))]
    NoSuchSoak {
        /// The name.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// Another run has its files in the folder at the moment.
    #[error("another octopod is running in {}; --out DIR keeps the files of two apart", folder.display())]
    FolderBusy {
        /// The folder.
        folder: PathBuf,
    },
    /// The results of the matrix cannot be written as XML.
    #[error("cannot write the results as JUnit XML: {0}")]
    Junit(#[from] quick_junit::SerializeError),
    /// A report cannot be understood, or no page made of it.
    #[error("{}: {problem}", path.display())]
    Report {
        /// The report, or the folder of the page.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// There is no report of a run.
    #[error("no run at {}: name the folder of one, or its report.json", path.display())]
    NoReport {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Two runs can be compared, no more.
    #[error("report takes two runs at most, and there are {given}")]
    TooManyRuns {
        /// How many were named.
        given: usize,
    },
    /// A file or folder of the launcher's own could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `write`, ...
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel's trace cannot be read.
    #[error("{error}")]
    TraceStream {
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A machine type of QEMU's whose loader knows no PVH.
    #[error(
        "QEMU's machine type {machine} loads no PVH kernel, as those from 4.0 on do: take --boot multiboot1, or a newer type"
    )]
    MachineWithoutPvh {
        /// The machine type.
        machine: String,
    },
    /// The host has less memory than the stress is to have of it.
    #[error("--mem asks for {} MiB of this host's memory, and this host has {} MiB to give", asked >> 20, available >> 20)]
    HostMemory {
        /// Bytes that were asked for.
        asked: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// Work of the launcher's own took longer than it may.
    #[error("{what} took longer than {} s", limit.as_secs())]
    TimedOut {
        /// What it did.
        what: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// Ctrl-C, SIGTERM or SIGHUP.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The verdict that a report gives for this error.
    pub fn verdict(&self) -> VerdictKind {
        match self {
            Error::OptionOfAnotherCommand { .. }
            | Error::NoDiscDrive { .. }
            | Error::CharacterBeyondGrub { .. }
            | Error::NotOnBochs { .. }
            | Error::HostMemory { .. }
            | Error::MachineWithoutPvh { .. }
            | Error::NotCountable { .. }
            | Error::KvmUnusable { .. }
            | Error::KernelOption { .. }
            | Error::Trace { .. }
            | Error::NoTrace
            | Error::ReplayFromIso { .. }
            | Error::TraceForMore { .. }
            | Error::TraceForMoreCpus { .. }
            | Error::CommandLineTooLong { .. }
            | Error::TooManyCpus { .. }
            | Error::TooFewCpus { .. }
            | Error::TooLittleMemory { .. }
            | Error::OutputIsInput { .. }
            | Error::OutputIsSource { .. }
            | Error::OutputTwice { .. }
            | Error::NotAFile { .. }
            | Error::FileTooLarge { .. }
            | Error::NoSuchExample { .. }
            | Error::UnusablePath { .. }
            | Error::TooManyRuns { .. }
            | Error::NoSuchSoak { .. }
            | Error::NoSuchRow { .. } => VerdictKind::Usage,
            Error::TimedOut { .. } => VerdictKind::Timeout,
            Error::Interrupted => VerdictKind::Interrupted,
            _ => VerdictKind::Error,
        }
    }

    /// The same for a build that these settings reach. An interrupt stays one.
    pub(crate) fn with_settings(self, settings: &[String]) -> Error {
        match self {
            Error::KernelBuild { .. } | Error::NotAKernel { .. } | Error::NoExecutable { .. } => {
                Error::ForeignSettings { error: Box::new(self), settings: settings.to_vec() }
            }
            other => other,
        }
    }

    /// For `map_err`: what was to be done to which file.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { action, path, source }
    }
}

/// A size as people read it; none is rounded down.
fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes => format!("{} KiB", bytes.div_ceil(1024)),
    }
}
