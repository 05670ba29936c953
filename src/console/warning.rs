//! Warnings: a CPU does not do what it should, and the run goes on. Any context may send one, also a CPU that waits for the
//! console's own lock: what cannot be written at once waits where no lock is taken, as lines do.

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

use super::LineBuffer;
use super::kept::Kept;
use super::line::{self, Rest};
use super::logger::{may_wait, write_kept};
use super::serial::Serial;
use crate::sync::{LockWait, Site};
use crate::wire::{self, MAX_FRAME_BYTES, MAX_RECORD_BYTES, Record};

/// The most return addresses of a warning.
pub const MAX_FRAMES: usize = 32;

/// The longest record of a return address: its JSON text, its frame, and the line's end.
const MAX_FRAME_RECORD_BYTES: usize =
    r#"{"warning_frame":{"cpu":4294967295,"address":18446744073709551615}}"#.len() + MAX_FRAME_BYTES + 2;

/// The longest warning, all its records together: they are appended while the lock is held, so that no other warning about that
/// CPU comes between.
pub(super) const MAX_WARNING_BYTES: usize = MAX_RECORD_BYTES + 2 + MAX_FRAMES * MAX_FRAME_RECORD_BYTES;

/// What is wrong with a CPU, and where it is.
#[derive(Clone)]
pub struct Warning {
    /// The CPU.
    pub cpu: u32,
    /// Who noticed: see [`wire::Warning::kind`].
    pub kind: &'static str,
    /// What is wrong, without a full stop.
    pub message: LineBuffer<120>,
    /// The spin lock that it waits for, if it does.
    pub wait: Option<LockWait>,
    /// The instruction that it was at, if that is known.
    pub rip: Option<u64>,
    /// What to subtract from an address to find it in the kernel's ELF file.
    pub slide: u64,
    /// The return addresses on its stack, innermost first.
    pub frames: heapless::Vec<u64, MAX_FRAMES>,
}

/// Warnings that could not be written when they came.
static KEPT: Kept<Warning, 32> = Kept::new();

/// How many of these there are.
static WAITING: AtomicU64 = AtomicU64::new(0);

/// Logs a warning and sends its records. Any context; where the console cannot be waited for, both are written by the next
/// CPU that has it.
pub fn warn(warning: Warning) {
    match &warning.wait {
        None => log::warn!("cpu {}: {}", warning.cpu, warning.message.as_str()),
        Some(wait) => log::warn!("cpu {}: {}: it {wait}", warning.cpu, warning.message.as_str()),
    }
    if may_wait() {
        // The CPU that takes the port's interrupt may be the one that the warning is about.
        let has_room = |serial: &Serial| serial.has_room_for(MAX_WARNING_BYTES);
        line::write_when(has_room, Rest::Send, |serial| write(serial, &warning));
    } else {
        match KEPT.push(warning) {
            // Counted after it is there: see `logger::write_kept`.
            Ok(()) => drop(WAITING.fetch_add(1, Ordering::Relaxed)),
            // Nothing that a verdict rests on, so no number is missing among the records: the line above tells of it.
            Err(Warning { cpu, .. }) => log::warn!("cpu {cpu}: no room to keep that warning for the report"),
        }
    }
    write_kept();
}

/// Whether warnings wait.
pub(super) fn are_waiting() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}

/// Appends a warning that waits and is complete; false if there is none.
pub(super) fn write_next_kept(serial: &mut Serial) -> bool {
    let Some(warning) = KEPT.pop() else { return false };
    WAITING.fetch_sub(1, Ordering::Relaxed);
    write(serial, &warning);
    true
}

fn write(serial: &mut Serial, warning: &Warning) {
    let Warning { cpu, kind, rip, slide, ref message, ref wait, ref frames } = *warning;
    let places = wait.as_ref().map(Places::of);
    let record = wire::Warning {
        cpu,
        kind,
        message: message.as_str(),
        rip,
        slide,
        wait: wait.as_ref().zip(places.as_ref()).map(|(wait, places)| places.record(wait)),
    };
    line::append_record(serial, &Record::Warning(record));
    for &address in frames {
        line::append_record(serial, &Record::WarningFrame(wire::WarningFrame { cpu, address }));
    }
}

/// The places that a [`LockWait`] speaks of, as text.
pub struct Places {
    at: Place,
    held_at: Place,
}

/// `file:line`, or empty.
type Place = LineBuffer<80>;

impl Places {
    /// Those of a wait.
    pub fn of(wait: &LockWait) -> Places {
        Places { at: place(wait.at), held_at: place(wait.held_at) }
    }

    /// The wait as a record.
    pub fn record(&self, wait: &LockWait) -> wire::LockWait<&str> {
        wire::LockWait {
            lock: wait.lock,
            at: Some(self.at.as_str()).filter(|at| !at.is_empty()),
            since_ns: wait.since_ns,
            waited_ns: wait.waited_ns,
            holder: wait.holder.map(|holder| holder.0),
            held_at: Some(self.held_at.as_str()).filter(|at| !at.is_empty() && wait.holder.is_some()),
        }
    }
}

fn place(site: Site) -> Place {
    let mut text = Place::new();
    if let Some(at) = site.location() {
        // Never fails: what is too long is cut.
        let _ = write!(text, "{}:{}", at.file(), at.line());
    }
    text
}
