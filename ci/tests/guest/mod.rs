//! A running kernel in QEMU for a test: it reads the kernel's lines, and sends commands to QEMU's monitor.

// Each test program uses a part.
#![allow(dead_code)]

use std::ffi::OsString;
use std::io::Write;
use std::process::{ChildStdin, Command};
use std::time::{Duration, Instant};

use octopod::wire::ExitCode;
use octopod_ci::base::files::RunFolder;
use octopod_ci::base::process::{ProcessEvent, Stream, Streams, Supervised};
use octopod_ci::base::{Silent, Workspace};
use octopod_ci::kernel::build;
use octopod_ci::machine::accelerator::Accel;
use octopod_ci::machine::media;
use octopod_ci::machine::qemu::{Machine, QmpSocket};
use octopod_ci::machine::qmp::Qmp;
use octopod_ci::run::Seen;
use octopod_ci::run::records::{Framing, draw_nonce};
use octopod_ci::{parse, setup};
use serde_json::{Value, json};

/// Only a hang uses it up, however busy the host is.
const LIMIT: Duration = Duration::from_secs(600);

/// The guest, under TCG. It is ended when this is dropped.
pub(crate) struct Guest {
    machine: Supervised,
    /// Its serial input, where a test types.
    keyboard: Option<ChildStdin>,
    /// The part of an incomplete line.
    open_line: Vec<u8>,
    socket: std::path::PathBuf,
    began: Instant,
    limit: Duration,
    framing: Framing,
    /// The lines for people, so far.
    pub(crate) lines: Vec<String>,
    /// The records, so far.
    pub(crate) seen: Seen,
    /// The kernel's file, with its symbols.
    pub(crate) kernel: std::path::PathBuf,
    /// For files that belong to it.
    pub(crate) folder: tempfile::TempDir,
}

impl Guest {
    /// Boots the kernel by the launcher's `arguments`.
    pub(crate) fn boot(arguments: &[&str]) -> Guest {
        Guest::boot_with(arguments, false, |_| true)
    }

    /// Boots it by the command `shell`, until it reads what is typed. So its work ends when the test lets it, however fast it
    /// runs.
    pub(crate) fn boot_to_shell(arguments: &[&str]) -> Guest {
        Guest::boot_with(&[&["shell"], arguments].concat(), true, |_| true)
    }

    /// Boots it, and gives it another time than a test usually has.
    pub(crate) fn boot_for(arguments: &[&str], limit: Duration) -> Guest {
        let mut guest = Guest::boot(arguments);
        guest.limit = limit;
        guest
    }

    /// Boots it on a machine that it cannot end: what it did last stays to be looked at.
    pub(crate) fn boot_without_end(arguments: &[&str]) -> Guest {
        let is_exit = |part: &OsString| part.to_string_lossy().starts_with("isa-debug-exit");
        Guest::boot_with(arguments, false, |group| !group.iter().any(is_exit))
    }

    fn boot_with(arguments: &[&str], is_typed_at: bool, wanted: impl Fn(&[OsString]) -> bool) -> Guest {
        let launch = parse(arguments).unwrap().0;
        let config = &launch.machine;
        let named = std::env::var_os("OCTOPOD_QEMU");
        let qemu = setup::qemu::provide(named.as_deref(), &mut Silent).unwrap();
        setup::target::provide(&mut Silent).unwrap();
        let tools = setup::media::provide(config.boot, Some(&qemu.program), &mut Silent).unwrap();
        let workspace = Workspace::find().unwrap();
        let kernel = build::provide(&launch.kernel, &workspace, &mut Silent).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::take(folder.path()).unwrap();
        let line = launch.command_line.to_string();
        let loaded = media::Loaded { kernel: &kernel.path, command_line: &line, modules: &[] };
        let medium = media::prepare(config.boot, loaded, &tools, &run, None, &mut Silent).unwrap();
        let socket = folder.path().join("qmp");
        let machine = Machine {
            config,
            accel: Accel::Tcg,
            medium: &medium,
            qmp: Some(QmpSocket::Listens(&socket)),
            trace_file: None,
        };
        let arguments = qemu.arguments(&machine);
        let mut command = Command::new(&qemu.program);
        command.args(arguments.iter().filter(|group| wanted(group)).flatten());
        let streams = Streams { interactive: is_typed_at, ..Streams::default() };
        let mut machine = Supervised::spawn(&mut command, streams).unwrap();
        Guest {
            keyboard: machine.take_stdin(),
            machine,
            open_line: Vec::new(),
            socket,
            limit: LIMIT + config.boot.grace(),
            began: Instant::now(),
            lines: Vec::new(),
            // A kernel without a nonce: its records are framed by none.
            framing: Framing::new(draw_nonce()),
            seen: Seen::default(),
            kernel: kernel.path,
            folder,
        }
    }

    /// Hears the guest out until `enough` holds.
    pub(crate) fn hear_until(&mut self, what: &str, enough: impl Fn(&Guest) -> bool) {
        while !enough(self) {
            match self.hear() {
                None => {}
                Some(end) => panic!("{end} before {what}:\n{}", self.lines.join("\n")),
            }
        }
    }

    /// Hears the guest out to its end, which the kernel itself has to bring about.
    pub(crate) fn hear_out(&mut self) -> ExitCode {
        loop {
            match self.hear() {
                None => {}
                Some(End::Exit(code)) => return code,
                Some(end) => panic!("{end}:\n{}", self.lines.join("\n")),
            }
        }
    }

    fn hear(&mut self) -> Option<End> {
        match self.machine.next(self.deadline()) {
            ProcessEvent::Line(Stream::Stdout, line) => self.read(&line),
            ProcessEvent::Line(Stream::Stderr, line) => self.lines.push(format!("QEMU: {line}")),
            ProcessEvent::Ended(status) => {
                let code = status.code().and_then(ExitCode::from_qemu_status);
                return Some(code.map_or(End::Other(status), End::Exit));
            }
            ProcessEvent::Deadline => return Some(End::Deadline(self.limit)),
            ProcessEvent::Bytes(bytes) => {
                self.open_line.extend(bytes);
                while let Some(end) = self.open_line.iter().position(|byte| *byte == b'\n') {
                    let line = self.open_line.drain(..=end).collect::<Vec<_>>();
                    self.read(String::from_utf8_lossy(&line).trim_end());
                }
            }
            ProcessEvent::Interrupted => panic!("interrupted"),
        }
        None
    }

    fn read(&mut self, line: &str) {
        let reading = self.framing.read(line);
        if let Some(Err(unreadable)) = &reading.record {
            panic!("a record that cannot be read: {unreadable:?}");
        }
        self.seen.read(&reading);
        if reading.record.is_none() || !reading.text.is_empty() {
            self.lines.push(reading.text);
        }
    }

    /// Types a line at a guest that was [booted to its shell](Guest::boot_to_shell).
    pub(crate) fn type_line(&mut self, line: &str) {
        let keyboard = self.keyboard.as_mut().expect("a guest that is typed at");
        keyboard.write_all(format!("{line}\r").as_bytes()).unwrap();
        keyboard.flush().unwrap();
    }

    /// How many of the lines that it has written contain this.
    pub(crate) fn count_lines(&self, text: &str) -> usize {
        self.lines.iter().filter(|line| line.contains(text)).count()
    }

    /// Runs a line of QEMU's monitor for people.
    pub(crate) fn monitor(&self, line: &str) -> String {
        self.qmp().monitor(line, self.deadline()).unwrap()
    }

    /// Stops the machine, its clocks included, while something is done to it: its work cannot end meanwhile, however busy
    /// the host is.
    pub(crate) fn while_stopped<T>(&self, act: impl FnOnce(&Guest) -> T) -> T {
        self.execute("stop", json!({}));
        let result = act(self);
        self.execute("cont", json!({}));
        result
    }

    /// Runs a command of QEMU's machine protocol.
    pub(crate) fn execute(&self, command: &str, arguments: Value) -> Value {
        self.qmp().execute(command, arguments, self.deadline()).unwrap()
    }

    /// When the guest's time is over.
    pub(crate) fn deadline(&self) -> Instant {
        self.began + self.limit
    }

    /// A connection to QEMU, which lasts as long as it is kept.
    pub(crate) fn qmp(&self) -> Qmp {
        Qmp::connect(&self.socket, self.deadline()).unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.machine.end(Duration::from_secs(1));
    }
}

/// How QEMU ended, or did not.
#[derive(Debug)]
enum End {
    Exit(ExitCode),
    Other(std::process::ExitStatus),
    Deadline(Duration),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Exit(code) => write!(f, "the kernel ended ({code:?})"),
            End::Other(status) => write!(f, "QEMU ended with {status}"),
            End::Deadline(limit) => write!(f, "{limit:?} passed"),
        }
    }
}
