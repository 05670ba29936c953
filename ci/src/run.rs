//! One run: starts the emulator, hears it out, and ends it at the latest when the time is up.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use octopod::wire::{MAX_RECORD_BYTES, Record};

use crate::bochs;
use crate::cli::{Mode, Options};
use crate::emulator::{Kind, QMP, Ready};
use crate::error::Error;
use crate::notice::{Notice, Observer};
use crate::process::{Happening, Stream, Streams, Supervised};
use crate::qmp::{Qmp, QmpError};
use crate::records::{Line, Seen, printable, read_line};
use crate::rundir::RunDir;
use crate::shell::{Attached, Names, Piece, Sieve};
use crate::verdict::End;

/// A line of the kernel's may be this long; what is longer comes from one that has lost its way.
const MAX_LINE_BYTES: usize = 16 * MAX_RECORD_BYTES;

/// The plain lines that are kept in memory; serial.log has them all.
const MAX_LINES_KEPT: usize = 20_000;

/// The emulator's answer about its registers may take this long, on a machine with a thousand CPUs.
const REGISTERS_LIMIT: Duration = Duration::from_secs(10);

/// The emulator may use this long to end when it is asked to.
const QUIT_GRACE: Duration = Duration::from_secs(3);

/// Of Bochs only a panic is a complaint. What QEMU says of every feature that a CPU model has and its TCG has not; and what
/// its KVM says of more CPUs than the host has.
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

/// Runs `machine` for at most as long as `options` say. `names` are for the kernel's console.
pub fn run(
    options: &Options,
    machine: &Ready,
    folder: &RunDir,
    names: Names,
    observer: &mut dyn Observer,
) -> Result<Run, Error> {
    let limit = options.time_limit();
    let streams = Streams {
        interactive: options.mode == Mode::Shell,
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
    hearing.attached = child.take_stdin().map(|stdin| Attached::new(options, stdin, names));
    let (end, registers) = loop {
        match child.next(started + limit) {
            Happening::Line(Stream::Stdout, line) => hearing.serial_line(&line),
            Happening::Bytes(bytes) => hearing.serial_bytes(&bytes),
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
    hearing.serial_end();
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
            Happening::Line(Stream::Stdout, _) | Happening::Bytes(_) | Happening::Interrupted => {}
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
    /// Where there is a console: who uses it, and its bytes so far that are no whole line.
    attached: Option<Attached>,
    sieve: Sieve,
    line: Vec<u8>,
}

impl Hearing<'_> {
    fn new(started: Instant, kind: Kind, observer: &mut dyn Observer) -> Hearing<'_> {
        let (log, seen, serial, complaint) = Default::default();
        let sieve = Sieve::new(MAX_LINE_BYTES);
        let (start_to_online, attached, line) = (None, None, Vec::new());
        Hearing {
            started,
            kind,
            log,
            observer,
            seen,
            serial,
            complaint,
            start_to_online,
            attached,
            sieve,
            line,
        }
    }

    /// What came on the line of a kernel with a console.
    fn serial_bytes(&mut self, bytes: &[u8]) {
        for piece in self.sieve.take(bytes) {
            match piece {
                Piece::Record(record) => self.serial_line(&String::from_utf8_lossy(&record)),
                Piece::Text(text) => self.console_text(&text),
            }
        }
    }

    fn console_text(&mut self, text: &[u8]) {
        if let Some(attached) = self.attached.as_mut().filter(|attached| attached.shows_keys()) {
            let slide = self.seen.boot.as_ref().map_or(0, |boot| boot.slide);
            self.observer.notice(Notice::Console(&attached.names.put_into(text, slide)));
        }
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE_BYTES - self.line.len();
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.plain(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
            }
        }
    }

    /// No more will come.
    fn serial_end(&mut self) {
        let rest = std::mem::replace(&mut self.sieve, Sieve::new(0)).rest();
        self.console_text(&rest);
        if !self.line.is_empty() {
            self.console_text(b"\r\n");
        }
        self.attached = None;
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
                if let (Record::Prompt, Some(attached)) = (&*record, &mut self.attached) {
                    attached.prompted();
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
        match self.attached.as_mut().filter(|attached| attached.in_session()) {
            None => self.observer.notice(Notice::Kernel(&text)),
            // It has been shown as it came.
            Some(attached) if attached.shows_keys() => {}
            Some(attached) => {
                let slide = self.seen.boot.as_ref().map_or(0, |boot| boot.slide);
                let mut line = attached.names.put_into(format!("{text}\r").as_bytes(), slide);
                line.pop();
                line.push(b'\n');
                self.observer.notice(Notice::Console(&line));
            }
        }
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
