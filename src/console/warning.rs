//! Warnings about a CPU that malfunctions while the run continues. Any context may send one, also a CPU that waits for the
//! console's lock: a warning that cannot be written at once is deferred in a lock-free queue, as lines are.

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

use super::LineBuffer;
use super::deferred::DeferredQueue;
use super::line::{self, Unsent};
use super::logger::{may_wait, write_deferred};
use super::serial::Serial;
use crate::sync::{LockWait, Site};
use crate::wire::{self, MAX_FRAME_BYTES, MAX_RECORD_BYTES, Record};

/// The most return addresses of a warning.
pub(crate) const MAX_FRAMES: usize = 32;

/// The longest record of a return address: its JSON, its frame, and the end of the line.
const MAX_FRAME_RECORD_BYTES: usize =
    r#"{"warning_frame":{"cpu":4294967295,"address":18446744073709551615}}"#.len() + MAX_FRAME_BYTES + 2;

/// The longest warning with all its records. They are appended under one lock, so that records of two warnings do not mix.
pub(super) const MAX_WARNING_BYTES: usize = MAX_RECORD_BYTES + 2 + MAX_FRAMES * MAX_FRAME_RECORD_BYTES;

/// A warning about a CPU.
#[derive(Clone)]
pub(crate) struct Warning {
    /// The CPU.
    pub cpu: u32,
    /// The detector: see [`wire::Warning::kind`].
    pub kind: &'static str,
    /// The message, without a full stop.
    pub message: LineBuffer<120>,
    /// The spin lock that the CPU waits for.
    pub wait: Option<LockWait>,
    /// The CPU's RIP, if known.
    pub rip: Option<u64>,
    /// The KASLR slide: an address minus this is that in the ELF file.
    pub slide: u64,
    /// The return addresses on the CPU's stack, innermost first.
    pub frames: heapless::Vec<u64, MAX_FRAMES>,
}

/// Warnings that could not be written at once.
static DEFERRED: DeferredQueue<Warning, 32> = DeferredQueue::new();

/// The number of deferred warnings.
static WAITING: AtomicU64 = AtomicU64::new(0);

/// Logs a warning and sends its records. If the context cannot wait for the console, both are deferred.
///
/// **Context:** any.
pub(crate) fn warn(warning: Warning) {
    match &warning.wait {
        None => log::warn!("cpu {}: {}", warning.cpu, warning.message.as_str()),
        Some(wait) => log::warn!("cpu {}: {}: it {wait}", warning.cpu, warning.message.as_str()),
    }
    if may_wait() {
        // `Wait`: the CPU that takes the port's interrupt may be the one that the warning is about.
        let has_room = |serial: &Serial| serial.has_room_for(MAX_WARNING_BYTES);
        line::write_when(has_room, Unsent::Wait, |serial| write(serial, &warning));
    } else {
        match DEFERRED.push(warning) {
            // Counted after the push: see `logger::write_deferred`.
            Ok(()) => drop(WAITING.fetch_add(1, Ordering::Relaxed)),
            // No verdict depends on a warning's record, so no record number is used up. The line above reports the warning.
            Err(Warning { cpu, .. }) => log::warn!("cpu {cpu}: warning not recorded: no room to defer it"),
        }
    }
    write_deferred();
}

/// Whether there are deferred warnings.
pub(super) fn has_deferred() -> bool {
    WAITING.load(Ordering::Relaxed) > 0
}

/// Appends the oldest deferred warning. Returns `false` if there is none.
pub(super) fn write_next_deferred(serial: &mut Serial) -> bool {
    let Some(warning) = DEFERRED.pop() else { return false };
    WAITING.fetch_sub(1, Ordering::Relaxed);
    write(serial, &warning);
    true
}

/// Appends a warning's records.
fn write(serial: &mut Serial, warning: &Warning) {
    let Warning { cpu, kind, rip, slide, ref message, ref wait, ref frames } = *warning;
    let sites = wait.as_ref().map(LockWaitSites::of);
    let record = wire::Warning {
        cpu,
        kind,
        message: message.as_str(),
        rip,
        slide,
        wait: wait.as_ref().zip(sites.as_ref()).map(|(wait, sites)| sites.record(wait)),
    };
    line::append_record(serial, &Record::Warning(record));
    for &address in frames {
        line::append_record(serial, &Record::WarningFrame(wire::WarningFrame { cpu, address }));
    }
}

/// The source locations of a [`LockWait`] as text.
pub(crate) struct LockWaitSites {
    at: SiteText,
    held_at: SiteText,
}

/// `FILE:LINE`, or empty.
type SiteText = LineBuffer<80>;

impl LockWaitSites {
    /// Formats the locations of a wait.
    pub(crate) fn of(wait: &LockWait) -> LockWaitSites {
        LockWaitSites { at: site_text(wait.at), held_at: site_text(wait.held_at) }
    }

    /// Creates the record of the wait.
    pub(crate) fn record(&self, wait: &LockWait) -> wire::LockWait<&str> {
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

fn site_text(site: Site) -> SiteText {
    let mut text = SiteText::new();
    if let Some(at) = site.location() {
        // Writing never fails; it truncates.
        let _ = write!(text, "{}:{}", at.file(), at.line());
    }
    text
}
