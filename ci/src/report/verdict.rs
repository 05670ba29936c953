//! The verdict of a run, from four sources: QEMU's status, QEMU's reason for its end, the kernel's records, and the clock. The
//! status of Bochs does not depend on the kernel; only the fact that the kernel ended it counts.
//!
//! A pass needs QEMU's status, or the end of Bochs, to agree with the kernel's verdict, and records that contain what was
//! requested (module `evidence`). If sources contradict each other, the run fails, and the reason names the contradiction.

use octopod::wire::{ExitCode, Progress};

use crate::base::VerdictKind;
use crate::kernel::StackFrame;
use crate::machine::shutdown::Shutdown;
use crate::machine::{EmulatorKind, bochs};
use crate::report::program_call::{called_from, in_words};
use crate::run::{End, Seen, TimeLimit};

mod asked;
mod evidence;
mod shutdown;

pub use asked::{Requested, RequestedWork};

/// The result, and unless it is a pass, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The result.
    pub kind: VerdictKind,
    /// One line, without a full stop.
    pub reason: Option<String>,
}

/// The sources of a verdict.
#[derive(Clone, Copy, Debug)]
pub struct RunEvidence<'a> {
    /// The emulator.
    pub emulator: EmulatorKind,
    /// The end of the run.
    pub end: &'a End,
    /// QEMU's reason for it over QMP; `None` if QEMU sent none.
    pub shutdown: Option<&'a Shutdown>,
    /// The kernel's records.
    pub seen: &'a Seen,
    /// The calls that led to a panic, innermost first.
    pub backtrace: &'a [StackFrame],
    /// The first line on the serial port that is no record.
    pub first_line: Option<&'a str>,
    /// The last one.
    pub last_line: Option<&'a str>,
    /// The messages of the emulator.
    pub complaint: &'a str,
    /// The request of the run.
    pub asked: &'a Requested,
}

/// Judges a run.
pub fn judge(run: &RunEvidence<'_>) -> Judgement {
    let (kind, reason) = run.judge();
    Judgement { kind, reason }
}

type Judged = (VerdictKind, Option<String>);

impl RunEvidence<'_> {
    fn judge(&self) -> Judged {
        let seen = self.seen;
        let title = self.emulator.title();
        // The machine of the first boot was reset, whatever the second boot reports.
        if seen.booted_again && *self.end != End::Interrupted {
            let reason = match &seen.panic {
                Some(_) => self.panic_summary(" (and the kernel booted a second time)"),
                None => "the machine was reset: the kernel booted a second time".to_owned(),
            };
            return (VerdictKind::Panic, Some(reason));
        }
        match *self.end {
            End::Interrupted => (VerdictKind::Interrupted, Some("interrupted".to_owned())),
            End::Deadline(ref limit) => self.on_deadline(limit),
            End::Signal(signal) => {
                let reason = format!("signal {signal} ended {title}{}", quoted(self.complaint));
                (VerdictKind::Error, Some(reason))
            }
            End::SecondBoot | End::ShutDown | End::Status(_) => match self.code() {
                Some(ExitCode::Pass) => {
                    if let Some(reason) = evidence::contradiction(seen) {
                        return (VerdictKind::Fail, Some(reason));
                    }
                    if let Some(reason) = evidence::without_work(seen, self.asked) {
                        return (VerdictKind::Usage, Some(reason));
                    }
                    let missing = evidence::missing(seen, self.asked);
                    (missing.as_ref().map_or(VerdictKind::Pass, |_| VerdictKind::Fail), missing)
                }
                Some(ExitCode::Fail) => (VerdictKind::Fail, Some(failure(seen))),
                Some(ExitCode::Panicked) => (VerdictKind::Panic, Some(self.panic_summary(""))),
                Some(ExitCode::Refused) => {
                    let line = self.last_line.map(str::to_owned);
                    let reason = seen.refused.clone().or(line).or(Some("it did not say why".to_owned()));
                    (VerdictKind::Refused, reason)
                }
                Some(ExitCode::Usage) => {
                    let unsaid = "the kernel's command line is wrong; it did not say how".to_owned();
                    (VerdictKind::Usage, seen.usage.clone().or(Some(unsaid)))
                }
                None => self.without_a_code(),
            },
        }
    }

    /// The kernel's exit code, where there is one.
    fn code(&self) -> Option<ExitCode> {
        let is_qemu = self.emulator == EmulatorKind::Qemu;
        match *self.end {
            End::ShutDown => code_of_the_records(self.seen),
            // QEMU's status for a machine that is reset, as this one was to be.
            End::Status(0) if is_qemu && self.seen.reset => code_of_the_records(self.seen),
            End::Status(status) if is_qemu => ExitCode::from_qemu_status(status),
            _ => None,
        }
    }

    fn on_deadline(&self, limit: &TimeLimit) -> Judged {
        let (no_verdict, no_answer, seen) = (limit.without("verdict"), limit.without("answer"), self.seen);
        if seen.has_panicked() {
            let reason = self.panic_summary(&format!(" (and the machine did not end {limit})"));
            return (VerdictKind::Panic, Some(reason));
        }
        // The last line is that of the report, if the kernel has made one.
        let stage = seen.panic.as_ref().and_then(|panic| panic.stage.as_deref());
        let reason = match (&seen.verdict, &seen.progress, &seen.boot) {
            (None, None, None) if stage.is_some() => {
                format!("{no_verdict}, in stage {}", stage.unwrap_or_default())
            }
            (Some(verdict), ..) => {
                let said = if verdict.pass { "pass" } else { "fail" };
                format!("the kernel's verdict is {said}, but the machine did not end {limit}")
            }
            (None, Some(at), _) => {
                format!("{no_verdict}; last seen in {}{}", workload_of(at), self.call_at_the_limit())
            }
            (None, None, Some(_)) => {
                format!("{no_verdict}, though the CPUs came online{}", self.call_at_the_limit())
            }
            (None, None, None) => match self.last_line {
                Some(line) => format!("{no_answer}; its last line: {line}"),
                None if self.has_output() => no_answer,
                None => format!("{no_answer}: nothing came on the serial line"),
            },
        };
        (VerdictKind::Timeout, Some(reason))
    }

    /// The program's call in which a CPU was at the time limit, in the report that the launcher has requested.
    fn call_at_the_limit(&self) -> String {
        let call = self.seen.panic.as_ref().zip(called_from(None, self.backtrace));
        call.map(|(panic, call)| format!(", cpu {} in {call}", panic.cpu)).unwrap_or_default()
    }

    /// The emulator ended by itself, or the kernel ended it and gave no code.
    fn without_a_code(&self) -> Judged {
        let (title, seen) = (self.emulator.title(), self.seen);
        // Bochs ends with status 1 in any case, and writes the reason.
        let ended_quietly = match self.emulator {
            EmulatorKind::Qemu => *self.end == End::Status(0),
            EmulatorKind::Bochs => bochs::is_triple_fault(self.complaint),
        };
        if ended_quietly && seen.panic.is_some() {
            let reason = self.panic_summary(&format!(" (then {title} reset or powered off)"));
            return (VerdictKind::Panic, Some(reason));
        }
        let after = self.last_line.map(|line| format!("; its last line: {line}")).unwrap_or_default();
        match *self.end {
            End::Status(0) if self.emulator == EmulatorKind::Qemu => self.quiet_end(&after),
            _ if ended_quietly => (
                VerdictKind::Panic,
                Some(format!("{title} reset or powered off without a verdict (a triple fault?){after}")),
            ),
            End::Status(1) if !self.has_output() => {
                let hint = shutdown::hint(self.complaint).map(|hint| format!("; {hint}")).unwrap_or_default();
                let reason = format!("{title} did not start{}{hint}", quoted(self.complaint));
                (VerdictKind::Error, Some(reason))
            }
            End::Status(status) => {
                let reason = format!(
                    "{title} ended with status {status}, which is not the kernel's{}",
                    quoted(self.complaint)
                );
                (VerdictKind::Error, Some(reason))
            }
            _ => {
                let reason = "the kernel ended the machine, but there was no verdict".to_owned();
                (VerdictKind::Fail, Some(reason))
            }
        }
    }

    /// QEMU's status is 0, which it has for everything but a start that failed.
    fn quiet_end(&self, after: &str) -> Judged {
        if shutdown::is_by_gdb(self.complaint) {
            // Its `kill`. The reason that QEMU gives is that of a guest which powers off.
            let reason = format!("gdb ended the machine before the kernel's verdict{after}");
            return (VerdictKind::Interrupted, Some(reason));
        }
        if let Some(shutdown) = self.shutdown {
            let (kind, what) = shutdown::judge(shutdown);
            let said = if kind == VerdictKind::Error { quoted(self.complaint) } else { String::new() };
            return (kind, Some(format!("{what} before the kernel's verdict{said}{after}")));
        }
        if let Some(signal) = shutdown::signal_in(self.complaint) {
            let reason = format!("signal {signal} ended QEMU before the kernel's verdict{after}");
            return (VerdictKind::Error, Some(reason));
        }
        if self.has_output() {
            let reason = format!("QEMU reset or powered off without a verdict (a triple fault?){after}");
            return (VerdictKind::Panic, Some(reason));
        }
        let said = self.first_line.or(self.complaint.trim().lines().next()).unwrap_or("nothing");
        let reason = format!(
            "QEMU ended with status 0 before it ran a machine, as it does for `help` and `-version`; it said: {said}"
        );
        (VerdictKind::Error, Some(reason))
    }

    /// The panic on a line, with its place and what came after it; further lines of its message follow. An exception has no
    /// place of its own in the source: it is that of the instruction. The program's innermost call comes first.
    fn panic_summary(&self, after: &str) -> String {
        let Some(panic) = &self.seen.panic else {
            return format!("the kernel panicked without a panic record{after}");
        };
        let innermost = panic.location.clone().or_else(|| place(self.backtrace));
        let place = match (called_from(panic.location.as_deref(), self.backtrace), innermost) {
            (Some(call), Some(innermost)) if call != innermost => format!(", at {call}, in {innermost}"),
            (Some(place), _) | (None, Some(place)) => format!(", at {place}"),
            (None, None) => String::new(),
        };
        // None where a workload has ended.
        let at = self.seen.progress.as_ref();
        let workload = at.map(|at| format!(", in {}", workload_of(at))).unwrap_or_default();
        let message = panic.message.trim_end();
        let sentence_end = message.find('\n').unwrap_or(message.len());
        let (sentence, details) = message.split_at(sentence_end);
        format!("CPU {}: {sentence}{place}{workload}{after}{details}", panic.cpu)
    }

    /// Returns whether the kernel has said anything. QEMU's own words come on the serial line's stream as well, where it does
    /// not come to run a machine.
    fn has_output(&self) -> bool {
        let has_record =
            self.seen.boot.is_some() || !self.seen.cpus.is_empty() || !self.seen.regions.is_empty();
        has_record || self.seen.verdict.is_some() || self.last_line.is_some_and(is_kernels)
    }
}

/// A workload, in words.
fn workload_of(at: &Progress<String>) -> String {
    let Progress { workload, allocator, cpus, .. } = at;
    format!("workload {workload} on {allocator} with {cpus} CPUs")
}

/// Returns whether a line has the form of the kernel's: its log's time stamps, or its name.
fn is_kernels(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with('[') || line.starts_with("octopod")
}

/// The function of the first call that has a name, with file and line. Of those that the compiler has put into it, the
/// innermost that is not of Rust's library.
fn place(backtrace: &[StackFrame]) -> Option<String> {
    let first = backtrace.iter().find(|frame| frame.function.is_some())?;
    let is_librarys =
        |frame: &&StackFrame| frame.location.as_ref().is_some_and(|at| at.starts_with("library/"));
    let of_call = backtrace.iter().filter(|frame| frame.address == first.address && frame.function.is_some());
    let frame = of_call.clone().find(|frame| !is_librarys(frame)).unwrap_or(first);
    Some(in_words(frame))
}

fn failure(seen: &Seen) -> String {
    match &seen.verdict {
        Some(verdict) if verdict.pass => "the exit code says fail, but the verdict says pass".to_owned(),
        Some(verdict) => verdict.reason.clone().unwrap_or_else(|| "the kernel did not say why".to_owned()),
        None => "the exit code says fail, and there was no verdict on the serial port".to_owned(),
    }
}

/// The end of the kernel by its records: its exit code, if the emulator does not report one.
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

fn quoted(complaint: &str) -> String {
    let complaint = complaint.trim();
    if complaint.is_empty() { String::new() } else { format!(": {complaint}") }
}

#[cfg(test)]
mod tests;
