//! The records of warnings.

use core::fmt::Write;

use super::LineBuffer;
use super::deferred_warnings::{self, Warning};
use super::port;
use super::serial::Serial;
use crate::sync::{LockWait, Site};
use crate::wire::{self, Record};

/// Appends the oldest deferred warning. Returns `false` if there is none.
pub(super) fn write_next_deferred(serial: &mut Serial) -> bool {
    let Some(warning) = deferred_warnings::pop() else { return false };
    write(serial, &warning);
    true
}

/// Appends a warning's records.
pub(super) fn write(serial: &mut Serial, warning: &Warning) {
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
    port::append_record(serial, &Record::Warning(record));
    for &address in frames {
        port::append_record(serial, &Record::WarningFrame(wire::WarningFrame { cpu, address }));
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
