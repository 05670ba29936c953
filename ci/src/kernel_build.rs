//! Builds the kernel for its own target, one launcher at a time, and keeps each variant's file apart.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cargo_metadata::Message;
use object::{Object, ObjectSegment};

use crate::cli::Options;
use crate::error::Error;
use crate::interrupt::{self, Listener};
use crate::notice::{Notice, Observer};
use crate::process::{Happening, Stream, Streams, Supervised};
use crate::rundir::Workspace;

/// The target that the kernel is built for.
pub const TARGET: &str = "x86_64-unknown-none";
const BINARY: &str = "octopod-kernel";

/// A first build downloads and compiles everything, perhaps on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Cargo may use this long to end its compilers.
const BUILD_GRACE: Duration = Duration::from_secs(5);
/// No build takes longer than its limit, so a lock that is held for longer has lost its owner's attention.
const LOCK_LIMIT: Duration = Duration::from_secs(31 * 60);

/// What cargo and rustup tell their children about the package that runs. A build script that asks for one of these
/// would otherwise run again each time the launcher is started in another way.
const NOT_FOR_THE_BUILD: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
/// The same, by their full names; and flags that are meant for the host's programs: in the environment they would
/// replace those that the workspace sets for the kernel's target.
const NOT_FOR_THE_KERNEL: [&str; 7] = [
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "OUT_DIR",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
];

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The ELF file.
    pub path: PathBuf,
    /// What it was built as.
    pub variant: String,
    /// Bytes that the loader copies to memory.
    pub image_bytes: u64,
}

/// The cargo profile and features of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variant {
    profile: &'static str,
    faults: bool,
}

impl Variant {
    fn of(options: &Options) -> Variant {
        Variant { profile: if options.debug { "dev" } else { "kernel" }, faults: options.fault.is_some() }
    }

    fn name(self) -> String {
        format!("{}{}", self.profile, if self.faults { "-faults" } else { "" })
    }
}

/// Builds what `options` ask for, or takes the file that they name.
pub fn provide(
    options: &Options,
    workspace: &Workspace,
    observer: &mut dyn Observer,
) -> Result<Kernel, Error> {
    if let Some(path) = &options.kernel {
        let bytes = fs::read(path).map_err(Error::file("read", path))?;
        let image_bytes = image_bytes(&bytes)
            .map_err(|error| Error::NotAKernel { path: path.clone(), reason: error.to_string() })?;
        let path = std::path::absolute(path).map_err(Error::file("find", path))?;
        return Ok(Kernel { path, variant: "given".to_owned(), image_bytes });
    }
    let variant = Variant::of(options);
    let folder = workspace.own().join("kernels").join(variant.name());
    fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
    let _lock = lock(&workspace.own().join("build.lock"), observer)?;
    let built = build(variant, workspace, observer)?;
    let bytes = fs::read(&built).map_err(Error::file("read", &built))?;
    let image_bytes =
        image_bytes(&bytes).map_err(|error| Error::NotAKernel { path: built, reason: error.to_string() })?;
    let path = folder.join(BINARY);
    if !fs::read(&path).is_ok_and(|present| present == bytes) {
        replace(&path, &bytes).map_err(Error::file("write", &path))?;
    }
    Ok(Kernel { path, variant: variant.name(), image_bytes })
}

/// Puts `bytes` at `path` in one step: who has the old file open keeps it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

/// Takes the build lock; it ends with the file that is returned, or with this process.
fn lock(path: &Path, observer: &mut dyn Observer) -> Result<File, Error> {
    let file = File::create(path).map_err(Error::file("write", path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(source)) => {
            return Err(Error::File { action: "lock", path: path.to_owned(), source });
        }
    }
    observer.notice(Notice::Step("waiting for another octopod's build"));
    let (sender, answers) = mpsc::channel();
    let wake = sender.clone();
    let _listener = Listener::new(move || drop(wake.send(None)));
    // Given up, the thread stays behind until the lock is free; the process is about to end by then.
    thread::spawn(move || {
        let locked = file.lock().map(|()| file);
        let _ = sender.send(Some(locked));
    });
    let deadline = Instant::now() + LOCK_LIMIT;
    while !interrupt::requested() {
        match answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Some(locked)) => return locked.map_err(Error::file("lock", path)),
            Ok(None) => {}
            Err(_) => return Err(Error::BuildLocked { waited: LOCK_LIMIT }),
        }
    }
    Err(Error::Interrupted)
}

fn build(variant: Variant, workspace: &Workspace, observer: &mut dyn Observer) -> Result<PathBuf, Error> {
    observer.notice(Notice::Step("building the kernel"));
    let mut command = cargo(variant, workspace);
    let mut cargo = Supervised::spawn(&mut command, Streams::default())
        .map_err(|source| Error::Program { program: "cargo".to_owned(), source })?;
    let deadline = Instant::now() + BUILD_LIMIT;
    let (mut diagnostics, mut executable) = (String::new(), None);
    let status = loop {
        match cargo.next(deadline) {
            Happening::Line(Stream::Stdout, line) => {
                if let Ok(Message::CompilerArtifact(artifact)) = serde_json::from_str(&line)
                    && artifact.target.name == BINARY
                {
                    executable = artifact.executable.or(executable);
                }
            }
            Happening::Line(Stream::Stderr, line) => {
                observer.notice(Notice::Tool(&line));
                let plain = anstream::adapter::strip_str(&line).to_string();
                if let Some(unit) = plain.trim_start().strip_prefix("Compiling ") {
                    let unit = unit.split(" (").next().unwrap_or(unit);
                    observer.notice(Notice::Step(&format!("building the kernel: {unit}")));
                } else {
                    diagnostics.push_str(&line);
                    diagnostics.push('\n');
                }
            }
            Happening::Ended(status) => break status,
            Happening::Deadline => {
                cargo.end(BUILD_GRACE);
                return Err(Error::ProgramTimeout { program: "cargo build".to_owned(), limit: BUILD_LIMIT });
            }
            Happening::Interrupted => {
                cargo.end(BUILD_GRACE);
                return Err(Error::Interrupted);
            }
        }
    };
    if !status.success() {
        return Err(Error::KernelBuild { status: status.to_string(), diagnostics });
    }
    executable.map(Into::into).ok_or(Error::NoExecutable { target: BINARY })
}

fn cargo(variant: Variant, workspace: &Workspace) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&workspace.root).args(["build", "--package", "octopod", "--bin", BINARY]);
    command.args(["--target", TARGET, "--profile", variant.profile]);
    command.args(["--message-format", "json-render-diagnostics", "--color", "always"]);
    if variant.faults {
        command.args(["--features", "faults"]);
    }
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        // A relative one would mean another folder from the workspace's root.
        command.env("CARGO_TARGET_DIR", &workspace.target);
    }
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let unwanted = NOT_FOR_THE_BUILD.iter().any(|prefix| text.starts_with(prefix));
        if unwanted || NOT_FOR_THE_KERNEL.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    command
}

/// What a loader copies: the file's bytes in its loadable segments.
fn image_bytes(elf: &[u8]) -> Result<u64, object::Error> {
    Ok(object::File::parse(elf)?.segments().map(|segment| segment.file_range().1).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_do_not_share_a_file() {
        let name = |debug, fault: Option<&str>| {
            let fault = fault.map(|name| name.parse().unwrap());
            Variant::of(&Options { debug, fault, ..Options::default() }).name()
        };
        let names = [name(false, None), name(true, None), name(false, Some("x")), name(true, Some("x"))];
        assert_eq!(names, ["kernel", "dev", "kernel-faults", "dev-faults"]);
    }

    #[test]
    fn a_file_that_is_no_elf_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "not a kernel").unwrap();
        let options = Options { kernel: Some(path), ..Options::default() };
        let error = provide(&options, &Workspace::find(), &mut crate::notice::Silent).unwrap_err();
        assert!(error.to_string().contains("notes.txt is not a kernel that can be booted"), "{error}");
    }

    #[test]
    fn the_lock_is_exclusive_and_ends_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build.lock");
        let held = lock(&path, &mut crate::notice::Silent).unwrap();
        let (sender, taken) = mpsc::channel();
        let second = path.clone();
        let waiter = thread::spawn(move || {
            let _file = lock(&second, &mut crate::notice::Silent).unwrap();
            sender.send(()).unwrap();
        });
        assert!(taken.recv_timeout(Duration::from_millis(100)).is_err());
        drop(held);
        taken.recv_timeout(Duration::from_secs(20)).unwrap();
        waiter.join().unwrap();
    }
}
