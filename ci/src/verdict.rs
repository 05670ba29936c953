//! How a run ended, judged from three witnesses: QEMU's status, the kernel's records, and the clock. Of Bochs, whose
//! status does not depend on the kernel, only that the kernel ended it.
//!
//! A pass needs QEMU's status, or Bochs's end, and the kernel's verdict to agree. Where witnesses contradict each other,
//! the run has failed, and the reason names the contradiction.

use std::time::Duration;

use octopod::wire::{ExitCode, Progress};

use crate::bochs;
use crate::emulator::Kind;
use crate::records::Seen;
use crate::report::VerdictKind;

/// How a run ended, as the launcher saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The emulator ended with a status.
    Status(i32),
    /// The kernel ended Bochs.
    ShutDown,
    /// A signal ended the emulator.
    Signal(i32),
    /// The launcher ended the emulator when the time was up.
    Deadline(Duration),
    /// The launcher ended the emulator because it was asked to.
    Interrupted,
}

/// The result, and unless it is a pass, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The result.
    pub kind: VerdictKind,
    /// One line, without a full stop.
    pub reason: Option<String>,
}

/// Judges a run. `last_line` is the kernel's last plain line, `complaint` what the emulator complained
/// of.
pub fn judge(emulator: Kind, end: &End, seen: &Seen, last_line: Option<&str>, complaint: &str) -> Judgement {
    let code = match *end {
        End::ShutDown => code_of_the_records(seen),
        // QEMU's status for a machine that is reset, as this one was to be.
        End::Status(0) if emulator == Kind::Qemu && seen.reset => code_of_the_records(seen),
        End::Status(status) if emulator == Kind::Qemu => ExitCode::from_qemu_status(status),
        _ => None,
    };
    let title = emulator.title();
    let (kind, reason) = match *end {
        End::Interrupted => (VerdictKind::Interrupted, Some("interrupted".to_owned())),
        End::Deadline(limit) => on_deadline(limit, seen, last_line),
        End::Signal(signal) => {
            (VerdictKind::Error, Some(format!("signal {signal} ended {title}{}", quoted(complaint))))
        }
        End::ShutDown | End::Status(_) => match code {
            Some(ExitCode::Pass) => match contradiction(seen) {
                None => (VerdictKind::Pass, None),
                Some(reason) => (VerdictKind::Fail, Some(reason)),
            },
            Some(ExitCode::Fail) => (VerdictKind::Fail, Some(failure(seen))),
            Some(ExitCode::Panicked) => (VerdictKind::Panic, Some(last_words(seen))),
            Some(ExitCode::Refused) => (
                VerdictKind::Refused,
                seen.refused
                    .clone()
                    .or(last_line.map(str::to_owned))
                    .or(Some("it did not say why".to_owned())),
            ),
            Some(ExitCode::Usage) => (
                VerdictKind::Usage,
                seen.usage
                    .clone()
                    .or(Some("the kernel's command line is wrong; it did not say how".to_owned())),
            ),
            None => without_a_code(emulator, end, seen, last_line, complaint),
        },
    };
    Judgement { kind, reason }
}

fn on_deadline(limit: Duration, seen: &Seen, last_line: Option<&str>) -> (VerdictKind, Option<String>) {
    let seconds = limit.as_secs();
    if seen.panic.is_some() {
        let reason = format!("{} (and the machine did not end within {seconds} s)", last_words(seen));
        return (VerdictKind::Panic, Some(reason));
    }
    let reason = match (&seen.verdict, &seen.progress, &seen.boot) {
        (Some(verdict), ..) => {
            let said = if verdict.pass { "pass" } else { "fail" };
            format!("the kernel's verdict is {said}, but the machine did not end within {seconds} s")
        }
        (None, Some(at), _) => {
            let Progress { workload, allocator, cpus, .. } = at;
            format!(
                "no verdict within {seconds} s; last seen in workload {workload} on {allocator} with {cpus} CPUs"
            )
        }
        (None, None, Some(_)) => format!("no verdict within {seconds} s, though the CPUs came online"),
        (None, None, None) => {
            let after = last_line.map(|line| format!("; its last line: {line}")).unwrap_or_default();
            format!("no answer within {seconds} s{after}")
        }
    };
    (VerdictKind::Timeout, Some(reason))
}

/// What in the records speaks against the pass that QEMU's status stands for.
fn contradiction(seen: &Seen) -> Option<String> {
    let lossy = seen.stress.iter().find(|stress| stress.lost > 0 || stress.doubled > 0);
    if let Some(panic) = &seen.panic {
        Some(format!("the exit code says pass, but CPU {} panicked: {}", panic.cpu, panic.message))
    } else if let Some(reason) = seen.refused.as_ref().or(seen.usage.as_ref()) {
        Some(format!("the exit code says pass, but the kernel refused to run: {reason}"))
    } else if seen.unreadable > 0 {
        let first = seen.unreadable_lines.first().map_or("", String::as_str);
        Some(format!("{} record lines could not be read, the first: {first}", seen.unreadable))
    } else if let Some(stress) = lossy {
        Some(format!(
            "the exit code says pass, but workload {} lost {} frames and handed {} out twice",
            stress.workload, stress.lost, stress.doubled
        ))
    } else {
        match &seen.verdict {
            None => Some("the exit code says pass, but there was no verdict on the serial port".to_owned()),
            Some(verdict) if !verdict.pass => {
                let reason = verdict.reason.as_deref().unwrap_or("no reason given");
                Some(format!("the exit code says pass, but the verdict says fail: {reason}"))
            }
            Some(_) => None,
        }
    }
}

fn failure(seen: &Seen) -> String {
    match &seen.verdict {
        Some(verdict) if verdict.pass => "the exit code says fail, but the verdict says pass".to_owned(),
        Some(verdict) => verdict.reason.clone().unwrap_or_else(|| "the kernel did not say why".to_owned()),
        None => "the exit code says fail, and there was no verdict on the serial port".to_owned(),
    }
}

fn last_words(seen: &Seen) -> String {
    match &seen.panic {
        Some(panic) => {
            let place = panic.location.as_ref().map(|place| format!(", at {place}")).unwrap_or_default();
            format!("CPU {}: {}{place}", panic.cpu, panic.message)
        }
        None => "the kernel panicked without last words".to_owned(),
    }
}

/// What the kernel's records say of its end: its code, where nobody could hear that.
fn code_of_the_records(seen: &Seen) -> Option<ExitCode> {
    match &seen.verdict {
        _ if seen.panic.is_some() => Some(ExitCode::Panicked),
        _ if seen.refused.is_some() => Some(ExitCode::Refused),
        _ if seen.usage.is_some() => Some(ExitCode::Usage),
        Some(verdict) if verdict.pass => Some(ExitCode::Pass),
        Some(_) => Some(ExitCode::Fail),
        None => None,
    }
}

/// The emulator ended by itself, or the kernel ended it and gave no code.
fn without_a_code(
    emulator: Kind,
    end: &End,
    seen: &Seen,
    last_line: Option<&str>,
    complaint: &str,
) -> (VerdictKind, Option<String>) {
    let spoke = last_line.is_some() || seen.boot.is_some() || !seen.cpus.is_empty();
    let title = emulator.title();
    // Bochs ends with status 1 whatever it is, and says which it was.
    let was_reset = match emulator {
        Kind::Qemu => *end == End::Status(0),
        Kind::Bochs => bochs::is_triple_fault(complaint),
    };
    match *end {
        _ if was_reset && seen.panic.is_some() => {
            (VerdictKind::Panic, Some(format!("{} (then {title} reset or powered off)", last_words(seen))))
        }
        _ if was_reset => {
            let after = last_line.map(|line| format!("; its last line: {line}")).unwrap_or_default();
            let reason = format!("{title} reset or powered off without a verdict (a triple fault?){after}");
            (VerdictKind::Panic, Some(reason))
        }
        End::Status(1) if !spoke => {
            (VerdictKind::Error, Some(format!("{title} did not start{}", quoted(complaint))))
        }
        End::Status(status) => {
            let reason =
                format!("{title} ended with status {status}, which is not the kernel's{}", quoted(complaint));
            (VerdictKind::Error, Some(reason))
        }
        _ => (VerdictKind::Fail, Some("the kernel ended the machine, but there was no verdict".to_owned())),
    }
}

fn quoted(complaint: &str) -> String {
    let complaint = complaint.trim();
    if complaint.is_empty() { String::new() } else { format!(": {complaint}") }
}

#[cfg(test)]
mod tests;
