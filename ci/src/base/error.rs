//! Everything that keeps the launcher from booting a kernel, with what it takes to say what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::VerdictKind;

/// Why there was no run, or why one was broken off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// Something else is in the way.
    #[error("{0}")]
    Failed(String),
    /// A file is not what it is taken for.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
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
    /// KVM was asked for by name and cannot work.
    #[error("--accel kvm cannot work here: {reason}; use --accel tcg, or auto")]
    KvmUnusable {
        /// What stands against it.
        reason: String,
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
    /// Cargo ended well but named no executable.
    #[error("cargo built the kernel but named no executable for {target}")]
    NoExecutable {
        /// The cargo target that was asked for.
        target: String,
    },
    /// The kernel's file is not one.
    #[error("{} is not a kernel that can be booted: {reason}", path.display())]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
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
    /// The verdict of a report for this error.
    pub fn verdict(&self) -> VerdictKind {
        match self {
            Error::Usage(_)
            | Error::KvmUnusable { .. }
            | Error::OutputIsInput { .. }
            | Error::OutputTwice { .. }
            | Error::NotAFile { .. } => VerdictKind::Usage,
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

    /// For `map_err`: which file is not what it is taken for.
    pub(crate) fn format<E: std::fmt::Display>(path: impl Into<PathBuf>) -> impl FnOnce(E) -> Error {
        let path = path.into();
        move |problem| Error::Format { path, problem: problem.to_string() }
    }

    /// For `map_err`: which output of which option could not be written.
    pub(crate) fn unwritable<P: Into<PathBuf>>(
        what: &str,
        path: P,
    ) -> impl FnOnce(io::Error) -> Error + use<P> {
        let (what, path) = (what.to_owned(), path.into());
        move |source| Error::Unwritable { what, path, source }
    }

    /// For `map_err`: what was to be done to which file.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { action, path, source }
    }
}
