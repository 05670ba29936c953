//! A shell script in the role of QEMU, and a launcher that uses it.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use octopod_ci::Launch;
use octopod_ci::base::Workspace;
use octopod_ci::base::files::output;
use octopod_ci::kernel::KernelSource;
use rustix::fs::{Mode as FileMode, OFlags};

/// An ELF file for x86-64 of one segment: itself, with a Multiboot header at its end, and memory up to 2 MiB.
fn small_elf() -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(128, 0);
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    // A program for x86-64; one program header of 56 bytes behind the file's header of 64.
    put(16, &[2, 0, 62, 0, 1]);
    put(32, &[64]);
    put(52, &[64, 0, 56, 0, 1, 0, 64]);
    put(64, &[1, 0, 0, 0, 5]);
    // 128 bytes of the file at 1 MiB, and 1 MiB in memory.
    for at in [80, 88, 104] {
        put(at, &[0, 0, 16]);
    }
    put(96, &[128]);
    put(120, &0x1bad_b002_u32.to_le_bytes());
    bytes
}

/// The launcher's program, as cargo names it at run time: this test may have been built in another folder.
pub(crate) fn launcher() -> PathBuf {
    std::env::var_os("CARGO_BIN_EXE_octopod").map_or_else(|| LAUNCHER.into(), PathBuf::from)
}

/// The launcher's program where this test was built.
pub(crate) const LAUNCHER: &str = env!("CARGO_BIN_EXE_octopod");

/// The record of a CPU that is online.
macro_rules! cpu {
    ($number:literal) => {
        concat!(
            r#"@octopod {"cpu":{"cpu":"#,
            $number,
            r#","apic_id":"#,
            $number,
            r#","state":"online","failed_stage":null,"stages_us":{"online":5}}}"#,
            "\n"
        )
    };
}

/// The log of a kernel up to the start of its work, on the launcher's default number of CPUs.
pub(crate) const SOUND_BOOT: &str = concat!(
    r#"@octopod {"boot":{"protocol":"pvh","kaslr":"off","direct_map_base":"0xffff800000000000","slide":"0x0","#,
    r#""apic_mode":"x2apic","clock_source":"hpet","tsc_khz":1000000,"apic_timer_khz":1000000,"cpus_listed":8,"#,
    r#""cpus_online":8,"entry_to_online_us":5,"init_to_online_us":1,"bring_up":{}}}"#,
    "\n",
    cpu!(0),
    cpu!(1),
    cpu!(2),
    cpu!(3),
    cpu!(4),
    cpu!(5),
    cpu!(6),
    cpu!(7),
    r#"@octopod {"memory":{"frames_total":9,"metadata_bytes":1,"free_frames_before":7}}"#
);

/// The result of a workload.
pub(crate) const PAIRS: &str = concat!(
    r#"@octopod {"stress":{"workload":"pairs","allocator":"octopod","cpus":8,"operations":5,"elapsed_us":1000000,"#,
    r#""lost":0,"double_allocated":0,"cycles":{"p50":1,"p99":2,"p999":3,"max":4}}}"#
);

/// The last record of a kernel that passes.
pub(crate) const VERDICT_PASS: &str =
    r#"@octopod {"verdict":{"pass":true,"reason":null,"free_frames_after":7}}"#;

/// Only a hang uses it up, however busy the host is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// A machine that a test has written.
pub(crate) struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    /// A QEMU that gives its version, and runs `script` for a machine.
    pub(crate) fn new(script: &str) -> Fake {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("qemu");
        let version = "if [ \"$1\" = --version ]; then echo 'QEMU emulator version 10.0.2'; exit; fi";
        // Every process that the machine starts inherits the pipe's writing end: its reader sees the end of the last process.
        let hold = "if [ -p \"$0.alive\" ]; then exec 9>\"$0.alive\"; fi";
        write_program(&program, &format!("#!/bin/sh\n{version}\n{hold}\n{script}\n"));
        Fake { folder }
    }

    /// Its program.
    pub(crate) fn program(&self) -> PathBuf {
        self.folder.path().join("qemu")
    }

    /// The run's folder.
    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// A kernel that is only a file with a segment and a Multiboot header: nothing runs it.
    pub(crate) fn kernel() -> PathBuf {
        static KERNEL: LazyLock<PathBuf> = LazyLock::new(|| {
            let folder = Workspace::find().unwrap().own().join("tests");
            fs::create_dir_all(&folder).unwrap();
            let path = folder.join("fake-kernel");
            output::write(&path, &small_elf()).unwrap();
            path
        });
        KERNEL.clone()
    }

    /// A boot on the same machine, for the library.
    pub(crate) fn boot(&self) -> Launch {
        let mut launch = Launch::default();
        launch.machine.qemu = Some(OsString::from(self.program()));
        launch.kernel.source = KernelSource::File(Fake::kernel());
        launch.output.out = Some(self.out());
        launch.run.limit = PATIENCE;
        launch
    }

    /// Begins to watch the machine's processes; must be called before it starts.
    pub(crate) fn watch(&self) -> Watch {
        let pipe = self.folder.path().join("qemu.alive");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // A machine that is ended before it opens its end must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Watch { pipe: fs::File::from(rustix::fs::open(&pipe, flags, FileMode::empty()).unwrap()) }
    }

    /// Starts the launcher on this machine.
    pub(crate) fn start(&self, arguments: &[&str]) -> Started {
        self.spawn(self.command(arguments))
    }

    /// The launcher on this machine, yet to be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let at = arguments.iter().position(|argument| *argument == "--").unwrap_or(arguments.len());
        let (own, machine) = arguments.split_at(at);
        let mut command = Command::new(launcher());
        command.args(own).arg("--kernel").arg(Fake::kernel()).arg("--out").arg(self.out()).args(machine);
        command.env("OCTOPOD_QEMU", self.program());
        command
    }

    /// Starts the launcher's matrix on this machine, with these rows.
    pub(crate) fn start_matrix(&self, rows: &str, arguments: &[&str]) -> Started {
        self.spawn(self.matrix_command(rows, arguments))
    }

    /// The same, yet to be started.
    pub(crate) fn matrix_command(&self, rows: &str, arguments: &[&str]) -> Command {
        let file = self.folder.path().join("machines.toml");
        fs::write(&file, rows).unwrap();
        let mut command = Command::new(launcher());
        command.arg("matrix").arg("--rows").arg(file).arg("--out").arg(self.out()).args(arguments);
        command.env("OCTOPOD_QEMU", self.program());
        command
    }

    /// Starts this command, a launcher on this machine.
    pub(crate) fn spawn(&self, mut command: Command) -> Started {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Started { child, stdout, stderr, seen: String::new(), out: self.out() }
    }

    /// Runs the launcher on this machine to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }
}

/// Writes a program by another process. Written by this one, it could not be run while a child that another test has
/// just forked still holds the file open for writing.
pub(crate) fn write_program(path: &Path, text: &str) {
    let script = "cat >\"$0\" && chmod +x \"$0\"";
    let mut writer = Command::new("sh").args(["-c", script]).arg(path).stdin(Stdio::piped()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}

/// Copies a program by another process, for the same reason as [`write_program`].
pub(crate) fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}

/// Whether any of a machine's processes is left.
pub(crate) struct Watch {
    pipe: fs::File,
}

impl Watch {
    /// Fails unless the last of them ends.
    pub(crate) fn all_gone(mut self) {
        let deadline = Instant::now() + PATIENCE;
        // Without a writer a pipe is at its end; with one, reading it would block.
        while !matches!(self.pipe.read(&mut [0]), Ok(0)) {
            assert!(Instant::now() < deadline, "a process of the machine's is left");
            thread::yield_now();
        }
    }
}

fn lines(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(source).lines() {
            let _ = sender.send(line.unwrap());
        }
    });
    receiver
}

/// A launcher at work.
pub(crate) struct Started {
    /// Its process.
    pub(crate) child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    seen: String,
    out: PathBuf,
}

impl Started {
    /// Waits until the launcher prints `wanted`.
    pub(crate) fn wait_for_line(&mut self, wanted: &str) {
        while !self.seen.lines().any(|line| line == wanted) {
            self.seen +=
                &self.stdout.recv_timeout(PATIENCE).expect("the launcher says what its machine says");
            self.seen.push('\n');
        }
    }

    /// Waits for the launcher's end.
    pub(crate) fn end(mut self) -> Ended {
        let rest = |from: &Receiver<String>| {
            let mut text = String::new();
            loop {
                match from.recv_timeout(PATIENCE) {
                    Ok(line) => text = text + &line + "\n",
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return text,
                    Err(error) => panic!("the launcher does not end: {error}"),
                }
            }
        };
        let stdout = std::mem::take(&mut self.seen) + &rest(&self.stdout);
        let stderr = rest(&self.stderr);
        Ended { status: self.child.wait().unwrap().code(), stdout, stderr, out: self.out }
    }
}

/// The result of a launcher.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status; none if a signal ended it.
    pub(crate) status: Option<i32>,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
    /// The run's folder.
    pub(crate) out: PathBuf,
}

impl Ended {
    /// The verdict's line.
    pub(crate) fn last_line(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }

    /// The run's report.
    pub(crate) fn report(&self) -> serde_json::Value {
        let path = self.out.join("report.json");
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }
}
