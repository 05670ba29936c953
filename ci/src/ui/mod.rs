//! What people see: the kernel's lines as they come, bars while work goes on, and a table at the end.

mod bars;
mod each_cpu;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use octopod::wire::{Arrivals, Record, Region};

use crate::cli::Options;
use crate::emulator::Kind;
use crate::error::Error;
use crate::launch::Outcome;
use crate::notice::{Notice, Observer};
use crate::records::printable;
use crate::report::{EventReport, FrameReport, Report, VerdictKind, cpus_in_words};
use crate::setup::doctor::{Part, State};
use crate::table;
use bars::Bars;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
const FAINT: Style = Style::new().dimmed();

/// Registers of this many CPUs are worth showing; registers.txt has them all.
const CPUS_SHOWN: usize = 16;

/// Of a CPU that was only stopped by a panic, so many of the last events are shown.
const EVENTS_SHOWN: usize = 4;

/// Prints to the terminal, or where its output is sent.
pub struct Console {
    /// Standard output belongs to the report.
    to_stderr: bool,
    quiet: bool,
    verbose: bool,
    emulator: Kind,
    bars: Bars,
    /// The kernel has panicked; its last words come in names at the end.
    has_panicked: bool,
    /// Whether the kernel's console has the terminal.
    in_session: bool,
}

impl Console {
    /// As `options` want it.
    pub fn new(options: &Options) -> Console {
        let to_stderr = options.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
        let Options { quiet, verbose, emulator, progress, .. } = *options;
        let bars = Bars::new(quiet, Duration::from_secs(progress));
        Console { to_stderr, quiet, verbose, emulator, bars, has_panicked: false, in_session: false }
    }

    /// Prints a line past the bars. Nobody is left to be told if that fails.
    fn line(&self, text: &str) {
        self.bars.suspend(|| {
            let _ = match self.to_stderr {
                true => writeln!(anstream::stderr(), "{text}"),
                false => writeln!(anstream::stdout(), "{text}"),
            };
        });
    }

    /// Prints a line that was asked for.
    pub fn say(&self, text: &str) {
        self.line(text);
    }

    /// Says what keeps the launcher from doing as it was told; returns its exit status.
    pub fn refuse(&self, error: &Error) -> ExitCode {
        let word = if error.verdict() == VerdictKind::Usage { "USAGE" } else { "ERROR" };
        let text = error.to_string();
        let lines: Vec<String> = text.lines().map(printable).collect();
        self.line(&format!("{BAD}{word}{BAD:#}  {}", lines.join("\n")));
        ExitCode::from(error.verdict().status())
    }

    /// Prints whether something is as it must be; what is on further lines of `text` goes before.
    pub fn verdict(&mut self, good: bool, text: &str) {
        self.bars.clear();
        let (style, word) = if good { (GOOD, "PASS") } else { (BAD, "FAIL") };
        let (sentence, details) = text.split_once('\n').unwrap_or((text, ""));
        details.lines().for_each(|line| self.line(&printable(line)));
        self.line(&format!("{style}{word}{style:#}  {}", printable(sentence)));
    }

    /// A line that stands in for a bar, if it is time for one.
    fn tell(&self, text: Option<String>) {
        if let Some(text) = text {
            self.note(&text);
        }
    }

    fn note(&self, text: &str) {
        self.line(&format!("{FAINT}launcher:{FAINT:#} {text}"));
    }

    /// Shows what the kernel's console writes, as it is. Nobody is left to be told if that fails.
    fn console(&mut self, bytes: &[u8]) {
        if !self.in_session {
            self.in_session = true;
            self.bars.clear();
        }
        let _ = match self.to_stderr {
            true => std::io::stderr().write_all(bytes).and_then(|()| std::io::stderr().flush()),
            false => std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush()),
        };
    }

    /// Prints what came of a launch, the verdict last; with `--json -`, the report alone on standard output.
    pub fn finish(&mut self, outcome: &Outcome) {
        self.bars.clear();
        let report = &outcome.report;
        if !self.quiet {
            self.warnings(report);
            self.panic(report);
            self.places(outcome);
            if !outcome.complaint.is_empty() && !self.verbose {
                self.line(&format!(
                    "{FAINT}{}:{FAINT:#} {}",
                    self.emulator.title(),
                    outcome.complaint.trim_end()
                ));
            }
            if self.verbose && !report.interrupts.is_empty() {
                table::interrupts(&report.interrupts).iter().for_each(|line| self.line(line));
            }
            for line in table::summary(report) {
                self.line(&line);
            }
            if let Some(folder) = &outcome.run_dir {
                // Shorter from here, where it is below.
                let here = std::env::current_dir().unwrap_or_default();
                let folder = folder.strip_prefix(here).unwrap_or(folder);
                self.line(&format!("{FAINT}{}{FAINT:#}", folder.display()));
            }
        }
        let style = match report.verdict {
            VerdictKind::Pass => GOOD,
            VerdictKind::Refused | VerdictKind::Interrupted => WARN,
            _ => BAD,
        };
        let (word, text) = table::verdict(report);
        // What a tool said at length stands above, so that the last line is the verdict.
        let (sentence, details) = text.split_once('\n').unwrap_or((&text, ""));
        if !self.quiet && !details.is_empty() {
            self.line(details);
        }
        self.line(&format!("{style}{word}{style:#}  {}", printable(sentence.trim_end_matches(':'))));
        if self.to_stderr {
            let _ = anstream::stdout().write_all(report.to_json().as_bytes());
        }
    }

    fn panic(&self, report: &Report) {
        let Some(panic) = &report.panic else { return };
        let place = printable(panic.location.as_deref().unwrap_or("an unknown place"));
        self.line(&format!(
            "{BAD}CPU {} panicked{BAD:#} at {place}: {}",
            panic.cpu,
            printable(&panic.message)
        ));
        if let Some(stage) = &panic.stage {
            self.line(&format!("    in stage {}", printable(stage)));
        }
        self.calls(&panic.backtrace);
        if let Some(first) = panic.first() {
            for four in first.registers.chunks(4) {
                let four: Vec<_> = four.iter().map(|(name, value)| format!("{name:<6} {value}")).collect();
                self.line(&printable(&format!("    {}", four.join("  "))));
            }
            if !first.locks.is_empty() {
                self.line(&printable(&format!("    holds {}", first.locks.join(", "))));
            }
            self.events(&first.events, usize::MAX);
        }
        for (numbers, cpu) in panic.others() {
            let shown = cpus_in_words(&numbers);
            self.line(&format!("{WARN}{shown}{WARN:#} {}", printable(&cpu.headline())));
            self.calls(&cpu.backtrace);
            // Of several, each has its own; report.json has them.
            self.events(&cpu.events, if numbers.len() == 1 { EVENTS_SHOWN } else { 0 });
        }
    }

    /// The newest trace events; report.json has the others.
    fn events(&self, events: &[EventReport], most: usize) {
        for event in &events[events.len().saturating_sub(most)..] {
            self.line(&format!("    {:>12.1} us before: {}", event.us_before, printable(&event.text)));
        }
    }

    fn calls(&self, frames: &[FrameReport]) {
        for frame in frames {
            self.line(&format!("    {}", shown(frame)));
        }
    }

    /// The CPUs that did not do what they should. What is wrong with them the kernel has said; here is where they were.
    fn warnings(&self, report: &Report) {
        for warning in report.warnings.iter().filter(|warning| !warning.backtrace.is_empty()) {
            let message = printable(&warning.message);
            self.line(&format!("{WARN}CPU {}{WARN:#}: {message}, at", warning.cpu));
            self.calls(&warning.backtrace);
        }
    }

    /// Where the CPUs were when the run was given up.
    fn places(&self, outcome: &Outcome) {
        for place in outcome.cpus_at.iter().take(CPUS_SHOWN) {
            let state = if place.halted { "halted at" } else { "runs at" };
            let mut head = format!("    CPU {} {state}", place.cpu);
            for frame in &place.frames {
                self.line(&format!("{head} {}", shown(frame)));
                head = " ".repeat(head.len());
            }
        }
        let more = outcome.cpus_at.len().saturating_sub(CPUS_SHOWN);
        if more > 0 {
            self.line(&format!("    and {more} more CPUs; see registers.txt"));
        }
        if let (Some(text), true) = (&outcome.registers, outcome.cpus_at.is_empty()) {
            self.line(&format!("    no registers: {}", text.trim()));
        }
    }

    /// Prints the doctor's table.
    pub fn doctor(&self, parts: &[Part]) {
        for part in parts {
            let (style, word) = match part.state {
                State::Present => (GOOD, "ok"),
                State::Missing => (BAD, "missing"),
                State::Absent => (WARN, "absent"),
            };
            let Part { name, purpose, .. } = part;
            self.line(&format!("{style}{word:<8}{style:#}{name:<16} {FAINT}{purpose}{FAINT:#}"));
            self.line(&format!("        {}", part.found.trim().replace('\n', "\n        ")));
        }
    }
}

impl Observer for Console {
    fn notice(&mut self, notice: Notice<'_>) {
        self.has_panicked |= matches!(notice, Notice::Record(Record::Panic(_)));
        match notice {
            Notice::Console(bytes) if self.quiet => self.console(bytes),
            _ if self.quiet => {}
            Notice::Step(text) => {
                let told = self.bars.step(text);
                self.tell(told);
            }
            Notice::Count { what, done, of, now } => {
                let told = self.bars.count(what, done, of, now);
                self.tell(told);
            }
            Notice::Note(text) => self.note(text),
            Notice::Tool(text) if self.verbose => self.line(text),
            Notice::Kernel(_) if self.has_panicked && !self.verbose => {}
            Notice::Kernel(text) => self.line(text),
            Notice::Console(_) if self.has_panicked && !self.verbose => {}
            Notice::Console(bytes) => self.console(bytes),
            // A bar would stand where people type.
            Notice::Progress(_) if self.in_session => {}
            Notice::Progress(progress) => {
                let told = self.bars.workload(progress);
                self.tell(told);
            }
            Notice::Record(Record::Arrivals(Arrivals { called, online })) => {
                let told = self.bars.count("CPUs online", (*online).into(), (*called).into(), "");
                self.tell(told);
            }
            Notice::Record(Record::Region(region)) if self.verbose => self.line(&region_line(region)),
            // A table at the end shows them.
            Notice::Record(Record::Interrupts(_)) => {}
            Notice::Record(record) if self.verbose => {
                let text = serde_json::to_string(record).unwrap_or_default();
                self.line(&format!("{FAINT}{text}{FAINT:#}"));
            }
            Notice::Tool(_) | Notice::Record(_) => {}
        }
    }
}

/// A line of the table of memory.
fn region_line(region: &Region<String>) -> String {
    let kib = region.end.saturating_sub(region.start).div_ceil(1024);
    format!("{:#014x}..{:#014x} {kib:>13} KiB  {}", region.start, region.end, printable(&region.owner))
}

fn shown(frame: &FrameReport) -> String {
    let function = frame.function.as_deref().unwrap_or("(no symbol)");
    let inlined = if frame.inlined { " (inlined)" } else { "" };
    let place = frame.location.as_ref().map(|place| format!("  {place}")).unwrap_or_default();
    format!("{} {function}{inlined}{place}", frame.address)
}
