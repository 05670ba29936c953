//! The panic in a report: the CPU that panicked first, and the state of every other CPU.

use octopod::wire::{BootStage, LockWait, PanicCpu, PanicThread, Registers};
use serde::{Deserialize, Serialize};

use crate::kernel::StackFrame;
use crate::report::lock_wait::lock_wait_in_words;
use crate::report::program_call::called_from;
use crate::report::trace::EventReport;
use crate::run::Seen;

/// The panic record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PanicReport {
    /// True if the kernel did not panic: the launcher requested the report at the time limit, by NMI.
    #[serde(default)]
    pub requested: bool,
    /// The CPU that panicked first, or that reported.
    pub cpu: u32,
    /// The message.
    pub message: String,
    /// The place in the source.
    pub location: Option<String>,
    /// The program's innermost call, if the place is not in its source: `FUNCTION (FILE:LINE)`.
    #[serde(default)]
    pub called_from: Option<String>,
    /// The stage of the boot.
    pub stage: Option<String>,
    /// The calls that led there, innermost first.
    pub backtrace: Vec<StackFrame>,
    /// The state of each CPU, including this one.
    #[serde(default)]
    pub cpus: Vec<PanicCpuReport>,
    /// The lines that the program has added, by name.
    #[serde(default)]
    pub contexts: Vec<PanicContextReport>,
    /// The newest threads, the newest first.
    #[serde(default)]
    pub threads: Vec<PanicThreadReport>,
}

/// A thread when the kernel had panicked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicThreadReport {
    /// Its number.
    pub id: u64,
    /// Its name; may be empty.
    pub name: String,
    /// `running`, `ready`, `parked`, `blocked` or `ended`.
    pub state: String,
    /// The CPU that ran it or had run it last.
    pub cpu: u32,
    /// The mutex that it waited for, if that is known.
    pub waits_for: Option<String>,
    /// Its innermost call outside the scheduler, if it did not run: `FUNCTION (FILE:LINE)`.
    pub call: Option<String>,
    /// Its calls, innermost first, if it did not run.
    pub backtrace: Vec<StackFrame>,
}

impl PanicThreadReport {
    fn of(thread: &PanicThread<String>) -> PanicThreadReport {
        let PanicThread { id, name, state, cpu, waits_for, .. } = thread.clone();
        PanicThreadReport { id, name, state, cpu, waits_for, call: None, backtrace: Vec::new() }
    }

    /// The thread in a line.
    pub fn in_words(&self) -> String {
        let PanicThreadReport { id, name, state, cpu, .. } = self;
        let waits_for = self.waits_for.as_ref().map(|it| format!(", waits for {it}")).unwrap_or_default();
        let call = self.call.as_ref().map(|call| format!(", in {call}")).unwrap_or_default();
        format!("thread {id} {name:?}: {state}, CPU {cpu}{waits_for}{call}")
    }
}

/// Lines that the program has added to the panic report under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicContextReport {
    /// The name.
    pub name: String,
    /// The lines.
    pub lines: Vec<String>,
}

impl PanicContextReport {
    fn all(seen: &Seen) -> Vec<PanicContextReport> {
        let mut all: Vec<PanicContextReport> = Vec::new();
        for line in &seen.panic_context {
            match all.iter_mut().find(|context| context.name == line.name) {
                Some(context) => context.lines.push(line.text.clone()),
                None => {
                    all.push(PanicContextReport { name: line.name.clone(), lines: vec![line.text.clone()] })
                }
            }
        }
        all
    }
}

/// A CPU when the kernel had panicked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PanicCpuReport {
    /// Its number.
    pub cpu: u32,
    /// `panicked`, `stopped`, `silent`, `offline` or `failed`.
    pub state: String,
    /// The stage of its bring-up.
    pub stage: String,
    /// Its own panic message, if it was not the first.
    pub message: Option<String>,
    /// Its registers by name, each in hexadecimal; JSON's numbers would round them.
    pub registers: Vec<(String, String)>,
    /// The named locks that it holds.
    pub locks: Vec<String>,
    /// The spin lock that it waited for, if it did.
    #[serde(default)]
    pub wait: Option<LockWait<String>>,
    /// Its calls, innermost first; of the first CPU, those are the report's own.
    pub backtrace: Vec<StackFrame>,
    /// Its last trace events, oldest first.
    #[serde(default)]
    pub events: Vec<EventReport>,
}

impl PanicReport {
    /// Without the other CPUs' backtraces, which take symbols.
    pub(super) fn of(seen: &Seen, backtrace: Vec<StackFrame>) -> Option<PanicReport> {
        let panic = seen.panic.clone()?;
        Some(PanicReport {
            requested: !seen.has_panicked(),
            cpu: panic.cpu,
            message: panic.message,
            called_from: called_from(panic.location.as_deref(), &backtrace),
            location: panic.location,
            stage: panic.stage,
            backtrace,
            cpus: seen.panic_cpus.iter().map(|(cpu, _)| PanicCpuReport::of(cpu, seen)).collect(),
            contexts: PanicContextReport::all(seen),
            threads: seen.panic_threads.iter().map(PanicThreadReport::of).collect(),
        })
    }

    /// The place to name first: the program's, then the one in octopod.
    pub fn place(&self) -> Option<String> {
        match (&self.called_from, &self.location) {
            (Some(call), Some(location)) => Some(format!("{call}, in {location}")),
            (Some(place), None) | (None, Some(place)) => Some(place.clone()),
            (None, None) => None,
        }
    }

    /// The stage that the boot had come to, unless it was over.
    pub fn boot_stage(&self) -> Option<&str> {
        let mut after_boot = BootStage::ALL.iter().filter(|stage| !stage.is_boot());
        self.stage.as_deref().filter(|name| after_boot.all(|stage| stage.name() != *name))
    }

    /// A CPU's last trace events, without the stages of a boot that is over.
    pub fn events<'a>(&self, cpu: &'a PanicCpuReport) -> Vec<&'a EventReport> {
        let is_booting = self.stage.is_none() || self.boot_stage().is_some();
        cpu.events.iter().filter(|event| is_booting || !event.is_stage()).collect()
    }

    /// The state of the CPU that panicked first.
    pub fn first(&self) -> Option<&PanicCpuReport> {
        self.cpus.iter().find(|cpu| cpu.cpu == self.cpu)
    }

    /// The others, those together of which the same is known but for their registers.
    pub fn others(&self) -> Vec<(Vec<u32>, &PanicCpuReport)> {
        let mut groups: Vec<(Vec<u32>, &PanicCpuReport)> = Vec::new();
        for cpu in self.cpus.iter().filter(|cpu| cpu.cpu != self.cpu) {
            match groups.iter_mut().find(|(_, known)| known.is_like(cpu)) {
                Some((numbers, _)) => numbers.push(cpu.cpu),
                None => groups.push((vec![cpu.cpu], cpu)),
            }
        }
        groups
    }
}

impl PanicCpuReport {
    fn of(cpu: &PanicCpu<String>, seen: &Seen) -> PanicCpuReport {
        let wait = seen.panic_waits.iter().find(|wait| wait.cpu == cpu.cpu).map(|wait| wait.wait.clone());
        let PanicCpu { cpu, state, stage, message, registers, locks } = cpu.clone();
        let named = registers.iter().flat_map(Registers::named);
        PanicCpuReport {
            cpu,
            state,
            stage,
            message,
            registers: named.map(|(name, value)| (name.to_owned(), format!("{value:#018x}"))).collect(),
            locks: locks.into_iter().collect(),
            wait,
            backtrace: Vec::new(),
            events: Vec::new(),
        }
    }

    fn is_like(&self, other: &PanicCpuReport) -> bool {
        let known = |cpu: &PanicCpuReport| {
            (
                cpu.state.clone(),
                cpu.stage.clone(),
                cpu.message.clone(),
                cpu.locks.clone(),
                // Since when may differ.
                cpu.wait.as_ref().map(|wait| (wait.lock.clone(), wait.holder, wait.at.clone())),
                cpu.backtrace.clone(),
            )
        };
        known(self) == known(other)
    }

    /// Its state in words, without its number.
    pub fn headline(&self) -> String {
        let mut line = self.state.clone();
        // All are, once they have come up.
        if self.stage != "online" {
            line.push_str(&format!(", stage {}", self.stage));
        }
        if let Some(message) = &self.message {
            line.push_str(&format!(": {message}"));
        }
        if !self.locks.is_empty() {
            line.push_str(&format!("; holds {}", self.locks.join(", ")));
        }
        if let Some(wait) = &self.wait {
            line.push_str(&format!("; {}", lock_wait_in_words(wait)));
        }
        line
    }
}

/// Numbers of CPUs in words: `CPU 3`, `CPUs 0-2, 5`.
pub fn cpus_in_words(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let shown = |&(first, last): &(u32, u32)| match last == first {
        true => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    let list: Vec<_> = ranges.iter().map(shown).collect();
    format!("{} {}", if numbers.len() == 1 { "CPU" } else { "CPUs" }, list.join(", "))
}

#[cfg(test)]
mod tests {
    use octopod::wire::{Panic, PanicContextLine, Record};

    use super::*;

    #[test]
    fn cpus_with_equal_state_are_grouped() {
        let mut seen = Seen::default();
        seen.take(Record::Panic(Panic { cpu: 1, ..Panic::default() }));
        for cpu in 0..6 {
            let state = if cpu == 4 { "silent" } else { "stopped" }.to_owned();
            let registers = Some(Registers([cpu.into(); Registers::COUNT]));
            seen.take(Record::PanicCpu(PanicCpu { cpu, state, registers, ..PanicCpu::default() }));
        }
        let report = PanicReport::of(&seen, Vec::new()).unwrap();
        let groups: Vec<_> = report.others().iter().map(|(numbers, _)| cpus_in_words(numbers)).collect();
        assert_eq!(groups, ["CPUs 0, 2-3, 5", "CPU 4"]);
        assert_eq!(report.first().unwrap().registers[0], ("RIP".to_owned(), "0x0000000000000001".to_owned()));
    }

    #[test]
    fn lines_of_the_program_are_by_name() {
        let mut seen = Seen::default();
        seen.take(Record::Panic(Panic::default()));
        for (name, text) in [("queue", "3 items"), ("disk", "idle"), ("queue", "full")] {
            let (name, text) = (name.to_owned(), text.to_owned());
            seen.take(Record::PanicContextLine(PanicContextLine { name, text }));
        }
        let contexts = PanicReport::of(&seen, Vec::new()).unwrap().contexts;
        let shown: Vec<_> =
            contexts.iter().map(|at| format!("{}: {}", at.name, at.lines.join("/"))).collect();
        assert_eq!(shown, ["queue: 3 items/full", "disk: idle"]);
    }

    #[test]
    fn a_thread_is_shown_with_what_it_waits_for() {
        let mut seen = Seen::default();
        seen.take(Record::Panic(Panic::default()));
        let thread = PanicThread {
            id: 7,
            name: "worker".to_owned(),
            state: "blocked".to_owned(),
            cpu: 1,
            waits_for: Some("the mutex made at a.rs:1".to_owned()),
            ..PanicThread::default()
        };
        seen.take(Record::PanicThread(thread));
        let mut shown = PanicReport::of(&seen, Vec::new()).unwrap().threads.remove(0);
        shown.call = Some("main (b.rs:2)".to_owned());
        let text =
            r#"thread 7 "worker": blocked, CPU 1, waits for the mutex made at a.rs:1, in main (b.rs:2)"#;
        assert_eq!(shown.in_words(), text);
        (shown.waits_for, shown.call) = (None, None);
        assert_eq!(shown.in_words(), r#"thread 7 "worker": blocked, CPU 1"#);
    }

    #[test]
    fn stages_of_a_boot_that_is_over_are_not_named() {
        let stage = |stage: &str| {
            let mut seen = Seen::default();
            seen.take(Record::Panic(Panic { stage: Some(stage.to_owned()), ..Panic::default() }));
            PanicReport::of(&seen, Vec::new()).unwrap().boot_stage().map(str::to_owned)
        };
        assert_eq!(stage("clock").as_deref(), Some("clock"));
        assert_eq!((stage("work"), stage("verdict")), (None, None));
        let event = |text: &str| EventReport { cycles_before: 1, us_before: None, text: text.to_owned() };
        let events = |stage: &str| {
            let mut seen = Seen::default();
            seen.take(Record::Panic(Panic { stage: Some(stage.to_owned()), ..Panic::default() }));
            seen.take(Record::PanicCpu(PanicCpu::default()));
            let mut report = PanicReport::of(&seen, Vec::new()).unwrap();
            let all = ["boot stage, stage clock", "cpu stage, stage gs", "frame drain"];
            report.cpus[0].events = all.map(event).to_vec();
            report.events(&report.cpus[0]).len()
        };
        assert_eq!((events("clock"), events("work")), (3, 1));
        let headline = |stage: &str| {
            let (state, stage) = ("stopped".to_owned(), stage.to_owned());
            PanicCpuReport::of(&PanicCpu { state, stage, ..PanicCpu::default() }, &Seen::default()).headline()
        };
        assert_eq!(
            (headline("online"), headline("gs")),
            ("stopped".to_owned(), "stopped, stage gs".to_owned())
        );
    }
}
