//! Splits the output of a machine as it arrives: records, text, messages of the emulator.

use std::time::{Duration, Instant};

use octopod::wire::{MAX_RECORD_BYTES, Nonce, Record};

use crate::base::{Message, Observer, text};
use crate::machine::{EmulatorKind, bochs};
use crate::run::Seen;
use crate::run::console::{Attached, Piece, RecordFilter};
use crate::run::records::{Framing, Reading};

/// A line of the kernel's may be this long; what is longer comes from one that has lost its way.
pub(crate) const MAX_LINE_BYTES: usize = 16 * MAX_RECORD_BYTES;

/// The plain lines that are kept in memory; serial.log has them all.
const MAX_LINES_KEPT: usize = 20_000;
/// The bytes that these may have together.
const MAX_BYTES_KEPT: usize = 8 << 20;

/// Lines of the emulator's that are kept in memory; its log has them all.
const MAX_COMPLAINTS: usize = 20;

/// QEMU's messages about each feature that a CPU model has and its TCG lacks, and about more CPUs than the host has under KVM.
/// Of Bochs only a panic is a complaint.
const HARMLESS: [&str; 2] =
    ["TCG doesn't support requested feature", "exceeds the recommended cpus supported by KVM"];

/// The output of a machine so far.
pub(crate) struct Transcript<'a> {
    started: Instant,
    kind: EmulatorKind,
    observer: &'a mut dyn Observer,
    framing: Framing,
    /// Of Bochs: what it wrote, taken apart.
    pub log: bochs::Log,
    /// The kernel's records.
    pub seen: Seen,
    /// True if a record came, or what is taken for one.
    pub has_records: bool,
    /// The log of the kernel.
    pub serial: Vec<String>,
    /// Bytes of these lines.
    kept_bytes: usize,
    /// The messages of the emulator, without those that are known to be harmless.
    pub complaint: String,
    complaints: usize,
    /// From the emulator's start until the kernel's CPUs were online.
    pub start_to_online: Option<Duration>,
    /// The user of the console, if there is one, and its bytes so far that are no whole line.
    pub attached: Option<Attached>,
    filter: RecordFilter,
    line: Vec<u8>,
}

impl Transcript<'_> {
    /// Of a machine that has just been started, whose kernel is given that nonce.
    pub(crate) fn new(
        started: Instant,
        kind: EmulatorKind,
        nonce: Nonce,
        observer: &mut dyn Observer,
    ) -> Transcript<'_> {
        let (log, seen, serial, complaint, complaints, line) = Default::default();
        let (framing, filter) = (Framing::new(nonce), RecordFilter::new(MAX_LINE_BYTES));
        let (start_to_online, attached) = (None, None);
        Transcript {
            started,
            kind,
            observer,
            framing,
            log,
            seen,
            has_records: false,
            serial,
            kept_bytes: 0,
            complaint,
            complaints,
            start_to_online,
            attached,
            filter,
            line,
        }
    }

    /// The output of a kernel with a console.
    pub(crate) fn serial_bytes(&mut self, mut bytes: &[u8]) {
        while let Some(piece) = self.filter.next(&mut bytes, &mut self.framing) {
            match piece {
                Piece::Record(reading) => self.take(&reading),
                Piece::Text(text) => self.console_text(&text),
            }
        }
    }

    fn console_text(&mut self, text: &[u8]) {
        if let Some(attached) = self.attached.as_mut().filter(|attached| attached.shows_keys()) {
            let slide = self.seen.boot.as_ref().map_or(0, |boot| boot.slide);
            self.observer.receive(Message::Console(&attached.names.put_into(text, slide)));
        }
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.plain(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']));
            }
        }
    }

    /// No more will come.
    pub(crate) fn serial_end(&mut self) {
        let rest = self.filter.rest();
        self.console_text(&rest);
        if !self.line.is_empty() {
            self.console_text(b"\r\n");
        }
        self.attached = None;
    }

    /// A line of a kernel without a console.
    pub(crate) fn serial_line(&mut self, line: &str) {
        let reading = self.framing.read(line);
        self.take(&reading);
    }

    fn take(&mut self, reading: &Reading) {
        self.has_records |= reading.record.is_some();
        if reading.record.is_none() || !reading.text.trim().is_empty() {
            self.plain(&reading.text);
        }
        let Some(record) = self.seen.read(reading) else {
            if let Some(Err(unreadable)) = &reading.record {
                let line = &unreadable.line;
                self.observer.receive(Message::Note(&format!("a record that cannot be read: {line}")));
            }
            return;
        };
        match record {
            Record::Progress(progress) => self.observer.receive(Message::Progress(progress)),
            other => self.observer.receive(Message::Record(other)),
        }
        if let (Record::Prompt, Some(attached)) = (record, &mut self.attached) {
            if attached.is_to_enter_raw_mode() {
                self.observer.receive(Message::RawMode);
            }
            attached.prompted();
        }
        if matches!(record, Record::Boot(_)) {
            self.start_to_online.get_or_insert(self.started.elapsed());
        }
    }

    fn plain(&mut self, line: &str) {
        let line = text::line(line);
        match self.attached.as_mut().filter(|attached| attached.in_session()) {
            None => self.observer.receive(Message::Kernel(&line)),
            // It has been shown as it came.
            Some(attached) if attached.shows_keys() => {}
            Some(attached) => {
                let slide = self.seen.boot.as_ref().map_or(0, |boot| boot.slide);
                let mut named = attached.names.put_into(format!("{line}\r").as_bytes(), slide);
                named.pop();
                named.push(b'\n');
                self.observer.receive(Message::Console(&named));
            }
        }
        if self.serial.len() < MAX_LINES_KEPT && self.kept_bytes + line.len() <= MAX_BYTES_KEPT {
            self.kept_bytes += line.len();
            self.serial.push(line);
        }
    }

    /// A line that the emulator wrote.
    pub(crate) fn complaint_line(&mut self, line: &str) {
        let complains = match self.kind {
            EmulatorKind::Qemu => !HARMLESS.iter().any(|known| line.contains(known)),
            EmulatorKind::Bochs => self.log.take(line).is_some(),
        };
        if complains {
            let line = text::line(line);
            self.observer.receive(Message::Tool(&line));
            if self.complaints < MAX_COMPLAINTS {
                self.complaints += 1;
                self.complaint.extend([line.as_str(), "\n"]);
            }
        }
    }
}
