//! The errors of the launcher, each with the data that its message and its remedy need.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::VerdictKind;

/// The reason why a run did not start, or was aborted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user requests something impossible.
    #[error("{0}")]
    Usage(String),
    /// Another failure.
    #[error("{0}")]
    Failed(String),
    /// The command needs a kernel's source, and the folder has none.
    #[error(
        "no kernel at {} or above it: no package there depends on octopod. Change to one that does, make one by `octopod new \
         NAME`, or name its folder by OCTOPOD_ROOT=DIR", folder.display()
    )]
    NoWorkspace {
        /// The folder where the search began.
        folder: PathBuf,
    },
    /// The command needs a checkout of octopod.
    #[error(
        "this command works on a checkout of octopod, which {} is not: change to one, or name its folder by OCTOPOD_ROOT=DIR",
        folder.display()
    )]
    NoCheckout {
        /// The workspace that was found.
        folder: PathBuf,
    },
    /// A file has an invalid format.
    #[error("{}: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The defect.
        problem: String,
    },
    /// The run would replace a file that it reads.
    #[error("{output} would replace {}, the file of {input}; nothing was started", path.display())]
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
    /// A requested file cannot be written.
    #[error("{what}: cannot write {}: {source}", path.display())]
    Unwritable {
        /// The option that requests it.
        what: String,
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A requested file could not be made.
    #[error("{what}: {error}")]
    NotMade {
        /// The option that requests it.
        what: &'static str,
        /// The reason.
        error: Box<Error>,
    },
    /// An input is not a regular file.
    #[error("cannot read {}: it is not a regular file, but {kind}", path.display())]
    NotAFile {
        /// Its path.
        path: PathBuf,
        /// Its description.
        kind: &'static str,
    },
    /// KVM was requested by name and cannot be used.
    #[error("--accel kvm cannot work here: {reason}; use --accel tcg, or auto")]
    KvmUnusable {
        /// The reason.
        reason: String,
    },
    /// A tool is missing, and its installation is not allowed or failed.
    #[error("{what} is missing, and {obstacle}; to install it, type: {line}")]
    Missing {
        /// The tool.
        what: String,
        /// The reason why the launcher did not install it.
        obstacle: String,
        /// The command that installs it.
        line: String,
    },
    /// A tool is missing, and no command to install it is known.
    #[error("{what} is missing: {advice}")]
    MissingByHand {
        /// The tool.
        what: String,
        /// The remedy.
        advice: String,
    },
    /// A program could not be started.
    #[error("cannot start {program}: {source}{}", advice(program, source))]
    Program {
        /// Its name or its command line.
        program: String,
        /// The error of the system.
        source: io::Error,
    },
    /// A program exceeded its time limit.
    #[error("{program} did not end within {} s", limit.as_secs())]
    ProgramTimeout {
        /// Its name.
        program: String,
        /// The limit.
        limit: Duration,
    },
    /// A program wrote more than its limit.
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
        /// Its end, in words.
        status: String,
        /// The last lines that it wrote.
        output: String,
    },
    /// The kernel does not build.
    #[error("the kernel does not build ({status}):\n{diagnostics}")]
    KernelBuild {
        /// The end of cargo, in words.
        status: String,
        /// The output of the compiler.
        diagnostics: String,
    },
    /// The program of a project does not build for the host.
    #[error(
        "the program does not build for this host ({status}); what is the kernel's alone needs #[cfg(target_os = \"none\")]:\n\
         {diagnostics}"
    )]
    HostBuild {
        /// The end of cargo, in words.
        status: String,
        /// The output of the compiler.
        diagnostics: String,
    },
    /// The kernel does not build, or builds to an invalid file, and settings of the user affect its build.
    #[error("{error}\nthese settings affect the kernel's build: {}", settings.join("; "))]
    ForeignSettings {
        /// The defect.
        error: Box<Error>,
        /// The settings, each with its source.
        settings: Vec<String>,
    },
    /// Cargo succeeded but named no executable.
    #[error("cargo built the kernel but named no executable for {target}")]
    NoExecutable {
        /// The requested cargo target.
        target: String,
    },
    /// The file is not a kernel.
    #[error("{} is not a kernel that can be booted: {reason}", path.display())]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// The defect.
        reason: String,
    },
    /// Another run uses the folder.
    #[error("another octopod is running in {}; --out DIR keeps the files of two apart", folder.display())]
    FolderBusy {
        /// The folder.
        folder: PathBuf,
    },
    /// The results of the matrix cannot be written as XML.
    #[error("cannot write the results as JUnit XML: {0}")]
    Junit(#[from] quick_junit::SerializeError),
    /// A file or folder of the launcher could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `write`, ...
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file could not be copied.
    #[error("cannot copy {} to {}: {source}", from.display(), to.display())]
    Copy {
        /// The file.
        from: PathBuf,
        /// The copy.
        to: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Work of the launcher exceeded its time limit.
    #[error("{what} took longer than {} s", limit.as_secs())]
    TimedOut {
        /// The work that took too long.
        what: &'static str,
        /// The limit.
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

    /// Adds the settings that affect the build to an error of the build. Other errors stay.
    pub(crate) fn with_settings(self, settings: &[String]) -> Error {
        match self {
            Error::KernelBuild { .. } | Error::NotAKernel { .. } | Error::NoExecutable { .. } => {
                Error::ForeignSettings { error: Box::new(self), settings: settings.to_vec() }
            }
            other => other,
        }
    }

    /// For `map_err`: names the file with the invalid format.
    pub(crate) fn format<E: std::fmt::Display>(path: impl Into<PathBuf>) -> impl FnOnce(E) -> Error {
        let path = path.into();
        move |problem| Error::Format { path, problem: problem.to_string() }
    }

    /// For `map_err`: names the option and the output that could not be written.
    pub(crate) fn unwritable<P: Into<PathBuf>>(
        what: &str,
        path: P,
    ) -> impl FnOnce(io::Error) -> Error + use<P> {
        let (what, path) = (what.to_owned(), path.into());
        move |source| Error::Unwritable { what, path, source }
    }

    /// For `map_err`: names the file and its copy.
    pub(crate) fn copy(from: &Path, to: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
        let (from, to) = (from.to_owned(), to.to_owned());
        move |source| Error::Copy { from, to, source }
    }

    /// For `map_err`: names the action and the file.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { action, path, source }
    }
}

/// The remedy for a program that cannot be started, if one is known: cargo and its like come with Rust.
fn advice(program: &str, error: &io::Error) -> &'static str {
    let name = program.split(' ').next().map(Path::new).and_then(Path::file_name);
    let is_of_rust = name.is_some_and(|name| name == "cargo" || name == "rustc" || name == "rustup");
    match error.kind() {
        io::ErrorKind::NotFound if is_of_rust => {
            "; install Rust from https://rustup.rs, or put its programs into PATH"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_cargo_is_named_with_the_remedy() {
        let text = |program: &str, kind: io::ErrorKind| {
            Error::Program { program: program.to_owned(), source: kind.into() }.to_string()
        };
        let missing = text("cargo metadata", io::ErrorKind::NotFound);
        assert!(
            missing.starts_with("cannot start cargo metadata: entity not found; install Rust"),
            "{missing}"
        );
        assert!(text("/a/rustc", io::ErrorKind::NotFound).contains("rustup.rs"));
        for other in [text("qemu", io::ErrorKind::NotFound), text("cargo", io::ErrorKind::PermissionDenied)] {
            assert!(!other.contains("rustup.rs"), "{other}");
        }
    }
}
