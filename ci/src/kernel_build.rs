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
use octopod::boot::command_line::{BuiltIn, Options as KernelOptions, Work};

use crate::cli::Options;
use crate::error::Error;
use crate::interrupt::{self, Listener};
use crate::notice::{Notice, Observer};
use crate::pack;
use crate::process::{Happening, Stream, Streams, Supervised};
use crate::rundir::Workspace;
use crate::seal;
use crate::values::Word;

/// The target that the kernel is built for.
pub const TARGET: &str = "x86_64-unknown-none";

/// A package's program for the kernel's target.
struct Program<'a> {
    package: &'static str,
    /// What cargo calls programs of its kind: `bin` or `example`.
    kind: &'static str,
    name: &'a str,
}

const KERNEL: Program = Program { package: "octopod", kind: "bin", name: "octopod-kernel" };
const UNPACKER: Program = Program { package: "octopod-unpacker", kind: "bin", name: "octopod-unpacker" };
/// Names the compressed kernel to the unpacker's build script.
const PAYLOAD: &str = "OCTOPOD_PAYLOAD";

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
    /// The ELF file that is booted.
    pub path: PathBuf,
    /// The one that has the symbols.
    pub symbols: PathBuf,
    /// What it was built as.
    pub variant: String,
    /// Bytes that the loader copies to memory, or would if the kernel were not compressed.
    pub image_bytes: u64,
    /// Bytes that the loader copies of a compressed kernel, unpacker and all.
    pub compressed_bytes: Option<u64>,
}

/// The cargo profile and features of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variant<'a> {
    profile: &'static str,
    faults: bool,
    selftest: bool,
    compressed: bool,
    example: Option<&'a str>,
}

impl Variant<'_> {
    fn of(options: &Options) -> Variant<'_> {
        Variant {
            example: options.example.as_ref().map(Word::as_str),
            profile: if options.debug { "dev" } else { "kernel" },
            faults: options.fault.is_some(),
            selftest: asks_for_selftest(&options.kernel_command_line()),
            compressed: options.compressed,
        }
    }

    fn name(self) -> String {
        let parts = match self {
            Variant { faults: true, .. } => "-faults",
            Variant { selftest: true, .. } => "-selftest",
            _ => "",
        };
        let compressed = if self.compressed { "-compressed" } else { "" };
        let example = self.example.map(|name| format!("-{name}")).unwrap_or_default();
        format!("{}{parts}{compressed}{example}", self.profile)
    }

    /// What is built and then booted, or compressed.
    fn program(&self) -> Program<'_> {
        self.example.map_or(KERNEL, |name| Program { package: KERNEL.package, kind: "example", name })
    }
}

/// Whether that is what the kernel would be told to do. Its mistakes are the kernel's to tell.
fn asks_for_selftest(command_line: &str) -> bool {
    KernelOptions::parse(command_line.as_bytes(), BuiltIn::ALL)
        .is_ok_and(|options| options.work == Work::SelfTest)
}

/// The name of the kernel that `options` ask for. Options of the same variant boot the same file.
pub fn variant(options: &Options) -> String {
    Variant::of(options).name()
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
        let (symbols, variant) = (path.clone(), "given".to_owned());
        return Ok(Kernel { path, symbols, variant, image_bytes, compressed_bytes: None });
    }
    let variant = Variant::of(options);
    let folder = workspace.own().join("kernels").join(variant.name());
    fs::create_dir_all(&folder).map_err(Error::file("make the folder", &folder))?;
    let _lock = lock(&workspace.own().join("build.lock"), observer)?;
    let built = build(&variant.program(), variant, None, workspace, observer)?;
    let symbols = folder.join(KERNEL.name);
    let not_a_kernel = |reason: String| Error::NotAKernel { path: symbols.clone(), reason };
    let kernel = seal::sealed(fs::read(&built).map_err(Error::file("read", &built))?);
    let kernel = kernel.map_err(|error| not_a_kernel(error.to_string()))?;
    keep(&kernel, &symbols)?;
    let size = |elf: &[u8]| image_bytes(elf).map_err(|error| not_a_kernel(error.to_string()));
    let image_bytes = size(&kernel)?;
    let (mut path, mut compressed_bytes) = (symbols.clone(), None);
    if variant.compressed {
        let payload = pack::payload(&kernel).map_err(|error| not_a_kernel(error.to_string()))?;
        let payload_path = folder.join("payload");
        keep(&payload, &payload_path)?;
        let built = build(&UNPACKER, variant, Some(&payload_path), workspace, observer)?;
        let unpacker = fs::read(&built).map_err(Error::file("read", &built))?;
        path = folder.join(UNPACKER.name);
        keep(&unpacker, &path)?;
        compressed_bytes = Some(size(&unpacker)?);
    }
    Ok(Kernel { path, symbols, variant: variant.name(), image_bytes, compressed_bytes })
}

/// Keeps what cargo has built where the next build, of another variant, does not replace it.
fn keep(bytes: &[u8], path: &Path) -> Result<(), Error> {
    if !fs::read(path).is_ok_and(|present| present == bytes) {
        replace(path, bytes).map_err(Error::file("write", path))?;
    }
    Ok(())
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

fn build(
    program: &Program<'_>,
    variant: Variant<'_>,
    payload: Option<&Path>,
    workspace: &Workspace,
    observer: &mut dyn Observer,
) -> Result<PathBuf, Error> {
    observer.notice(Notice::Step("building the kernel"));
    let mut command = cargo(program, variant, workspace);
    if let Some(payload) = payload {
        command.env(PAYLOAD, payload);
    }
    let mut cargo = Supervised::spawn(&mut command, Streams::default())
        .map_err(|source| Error::Program { program: "cargo".to_owned(), source })?;
    let deadline = Instant::now() + BUILD_LIMIT;
    let (mut diagnostics, mut executable) = (String::new(), None);
    let status = loop {
        match cargo.next(deadline) {
            Happening::Line(Stream::Stdout, line) => {
                if let Ok(Message::CompilerArtifact(artifact)) = serde_json::from_str(&line)
                    && artifact.target.name == program.name
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
    executable.map(Into::into).ok_or(Error::NoExecutable { target: program.name.to_owned() })
}

fn cargo(program: &Program<'_>, variant: Variant<'_>, workspace: &Workspace) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&workspace.root).args(["build", "--package", program.package]);
    command.arg(format!("--{}", program.kind)).arg(program.name);
    command.args(["--target", TARGET, "--profile", variant.profile]);
    command.args(["--message-format", "json-render-diagnostics", "--color", "always"]);
    if program.package == KERNEL.package {
        let features = [(variant.faults, "faults"), (variant.selftest, "selftest")];
        for (_, feature) in features.into_iter().filter(|(wanted, _)| *wanted) {
            command.args(["--features", feature]);
        }
    }
    if program.kind == "example" {
        command.args(["--features", "examples"]);
    }
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        // A relative one would mean another folder from the workspace's root.
        command.env("CARGO_TARGET_DIR", &workspace.target);
    }
    forget_outer_cargo(&mut command);
    command
}

/// Keeps from a cargo what the cargo that started the launcher has set, and what is meant for the host's programs alone.
pub(crate) fn forget_outer_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let unwanted = NOT_FOR_THE_BUILD.iter().any(|prefix| text.starts_with(prefix));
        if unwanted || NOT_FOR_THE_KERNEL.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
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
        let name = |debug, fault: Option<&str>, compressed| {
            let fault = fault.map(|name| name.parse().unwrap());
            Variant::of(&Options { debug, fault, compressed, ..Options::default() }).name()
        };
        let told = |words: &str| {
            let append = vec![words.parse().unwrap()];
            variant(&Options { append, ..Options::default() })
        };
        assert_eq!([told("work=selftest"), told("work=selftest work=boot")], ["kernel-selftest", "kernel"]);
        let example = Options { example: Some("hello".parse().unwrap()), ..Options::default() };
        assert_eq!(variant(&example), "kernel-hello");
        assert_eq!([name(false, None, false), name(true, None, false)], ["kernel", "dev"]);
        assert_eq!(
            [name(false, Some("x"), false), name(true, Some("x"), false)],
            ["kernel-faults", "dev-faults"]
        );
        assert_eq!(
            [name(false, None, true), name(true, Some("x"), true)],
            ["kernel-compressed", "dev-faults-compressed"]
        );
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
