//! One run: starts the emulator, hears it out, and ends it at the latest when the time is up.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use octopod::wire::{MAX_RECORD_BYTES, Record};

use crate::bochs;
use crate::emulator::{Kind, QMP, Ready};
use crate::error::Error;
use crate::notice::{Notice, Observer};
use crate::process::{Happening, Stream, Streams, Supervised};
use crate::qmp::{Qmp, QmpError};
use crate::records::{Line, Seen, printable, read_line};
use crate::rundir::RunDir;
use crate::verdict::End;

/// A line of the kernel's may be this long; what is longer comes from one that has lost its way.
const MAX_LINE_BYTES: usize = 16 * MAX_RECORD_BYTES;

/// The plain lines that are kept in memory; serial.log has them all.
const MAX_LINES_KEPT: usize = 20_000;

/// The emulator's answer about its registers may take this long, on a machine with a thousand CPUs.
const REGISTERS_LIMIT: Duration = Duration::from_secs(10);

/// The emulator may use this long to end when it is asked to.
const QUIT_GRACE: Duration = Duration::from_secs(3);

/// Of Bochs only a panic is a complaint. What QEMU says of every feature that a CPU model has and its TCG has not; and what its KVM says of more CPUs than
/// the host has.
const HARMLESS: [&str; 2] =
    ["TCG doesn't support requested feature", "exceeds the recommended cpus supported by KVM"];

/// All that a run showed.
#[derive(Debug)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// What the kernel's records said.
    pub seen: Seen,
    /// What the kernel said to people.
    pub serial: Vec<String>,
    /// What the emulator complained of, less what is known to be harmless.
    pub complaint: String,
    /// From the emulator's start until the kernel's CPUs were online.
    pub start_to_online: Option<Duration>,
    /// From the emulator's start to its end.
    pub wall: Duration,
    /// The CPUs' registers, if the run was given up.
    pub registers: Option<String>,
}

/// Runs `machine` for at most `limit`.
pub fn run(
    machine: &Ready,
    folder: &RunDir,
    limit: Duration,
    observer: &mut dyn Observer,
) -> Result<Run, Error> {
    let streams = Streams {
        max_line_bytes: MAX_LINE_BYTES,
        stdout_log: Some(folder.open("serial.log")?),
        stderr_log: Some(folder.open(machine.log_name())?),
        ..Streams::default()
    };
    let mut command = Command::new(&machine.program);
    command.args(&machine.arguments);
    let started = Instant::now();
    let mut child = Supervised::spawn(&mut command, streams)
        .map_err(|source| Error::Program { program: machine.program.display().to_string(), source })?;
    let mut hearing = Hearing::new(started, machine.kind, observer);
    let (end, registers) = loop {
        match child.next(started + limit) {
            Happening::Line(Stream::Stdout, line) => hearing.serial_line(&line),
            Happening::Line(Stream::Stderr, line) => hearing.complaint_line(&line),
            Happening::Ended(_) if hearing.log.shut_down => break (End::ShutDown, None),
            Happening::Ended(status) => break (ended(status), None),
            Happening::Interrupted => {
                child.end(QUIT_GRACE);
                break (End::Interrupted, None);
            }
            Happening::Deadline => {
                let registers = match machine.socket(QMP) {
                    Some(socket) => registers(&socket).unwrap_or_else(|error| format!("{error}\n")),
                    None => interrupted_registers(&mut child),
                };
                child.end(QUIT_GRACE);
                break (End::Deadline(limit), Some(registers));
            }
        }
    };
    if let Some(text) = &registers {
        let path = folder.file("registers.txt");
        std::fs::write(&path, text).map_err(Error::file("write", path))?;
    }
    let Hearing { seen, serial, complaint, start_to_online, .. } = hearing;
    Ok(Run { end, seen, serial, complaint, start_to_online, wall: started.elapsed(), registers })
}

fn ended(status: ExitStatus) -> End {
    match status.code() {
        Some(code) => End::Status(code),
        None => End::Signal(status.signal().unwrap_or(0)),
    }
}

/// Where every CPU is, and QEMU asked to end.
fn registers(socket: &Path) -> Result<String, QmpError> {
    let deadline = Instant::now() + REGISTERS_LIMIT;
    let mut qmp = Qmp::connect(socket, deadline)?;
    let text = qmp.monitor("info registers -a", deadline)?;
    // QEMU may close the connection before it answers; it is killed if it stays.
    let _ = qmp.execute("quit", serde_json::json!({}), deadline);
    Ok(text)
}

/// The same of Bochs, which shows them at its end.
fn interrupted_registers(child: &mut Supervised) -> String {
    child.interrupt();
    let deadline = Instant::now() + REGISTERS_LIMIT;
    let mut log = bochs::Log::default();
    loop {
        match child.next(deadline) {
            Happening::Line(Stream::Stderr, line) => drop(log.take(&line)),
            Happening::Line(Stream::Stdout, _) | Happening::Interrupted => {}
            Happening::Ended(_) | Happening::Deadline => return log.registers,
        }
    }
}

/// Takes the lines of a run apart.
struct Hearing<'a> {
    started: Instant,
    kind: Kind,
    log: bochs::Log,
    observer: &'a mut dyn Observer,
    seen: Seen,
    serial: Vec<String>,
    complaint: String,
    start_to_online: Option<Duration>,
}

impl Hearing<'_> {
    fn new(started: Instant, kind: Kind, observer: &mut dyn Observer) -> Hearing<'_> {
        let (log, seen, serial, complaint) = Default::default();
        Hearing { started, kind, log, observer, seen, serial, complaint, start_to_online: None }
    }

    fn serial_line(&mut self, line: &str) {
        match read_line(line) {
            Line::Plain(text) => self.plain(&text),
            Line::Record(words, record) => {
                if !words.trim().is_empty() {
                    self.plain(&words);
                }
                match &*record {
                    Record::Progress(progress) => self.observer.notice(Notice::Progress(progress)),
                    other => self.observer.notice(Notice::Record(other)),
                }
                if matches!(*record, Record::Boot(_)) {
                    self.start_to_online.get_or_insert(self.started.elapsed());
                }
                self.seen.take(*record);
            }
            Line::Unreadable(line) => {
                self.seen.take_unreadable(&line);
                self.observer
                    .notice(Notice::Note(&format!("a record that cannot be read: {}", printable(&line))));
            }
        }
    }

    fn plain(&mut self, text: &str) {
        let text = printable(text);
        self.observer.notice(Notice::Kernel(&text));
        if self.serial.len() < MAX_LINES_KEPT {
            self.serial.push(text);
        }
    }

    fn complaint_line(&mut self, line: &str) {
        let complains = match self.kind {
            Kind::Qemu => !HARMLESS.iter().any(|known| line.contains(known)),
            Kind::Bochs => self.log.take(line).is_some(),
        };
        if complains {
            self.observer.notice(Notice::Tool(line));
            if self.complaint.lines().count() < 20 {
                self.complaint.push_str(line);
                self.complaint.push('\n');
            }
        }
    }
}
