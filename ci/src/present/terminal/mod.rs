//! The terminal: the kernel's lines as they arrive, bars during the work, and a table at the end.

mod bars;
mod each_cpu;
mod outlet;
mod target;

use std::io;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use octopod::wire::{BringUpProgress, MemoryRegion, Record};
use strum::VariantArray;

use crate::base::{Error, Message, Observer, VerdictKind, text};
use crate::kernel::StackFrame;
use crate::machine::EmulatorKind;
use crate::present::calls::{CallPart, folded};
use crate::present::styles::{BAD, FAINT, GOOD, WARN};
use crate::present::table;
use crate::report::lock_wait::lock_wait_in_words;
use crate::report::panic::cpus_in_words;
use crate::report::trace::EventReport;
use crate::report::{Outcome, Report, headline};
use crate::run::folder::PAGE;
use crate::setup::doctor::{Part, State};
use bars::Bars;
use outlet::{Outlet, Stream};

/// Registers of this many CPUs are worth showing; registers.txt has them all.
const CPUS_SHOWN: usize = 16;

/// So many call sites of the heap are shown.
const SITES_SHOWN: usize = 10;

/// The threads of a panic that are shown.
const THREADS_SHOWN: usize = 16;

/// Of a CPU that was only stopped by a panic, so many of the last events are shown.
const EVENTS_SHOWN: usize = 4;

/// The output on the terminal.
#[derive(Clone, Copy, Debug, Default)]
pub struct TerminalConfig {
    /// The verdict only.
    pub quiet: bool,
    /// Also what the tools say, QEMU's command line, and the records.
    pub verbose: bool,
    /// The time between two lines about progress, where no terminal shows a bar.
    pub progress: Duration,
    /// True if the report goes to standard output; all else then goes to standard error.
    pub is_report_on_stdout: bool,
}

/// Prints to the terminal, or where its output is sent.
pub struct Console {
    outlet: Outlet,
    /// The stream of the lines: standard error where standard output belongs to the report.
    stream: Stream,
    /// True if the one there shows colours.
    has_colours: bool,
    quiet: bool,
    verbose: bool,
    bars: Bars,
    /// The kernel has panicked; the panic record comes in names at the end.
    has_panicked: bool,
    /// True if the kernel's console has the terminal.
    in_session: bool,
}

impl Console {
    /// As the configuration wants it.
    pub fn new(config: &TerminalConfig) -> Console {
        let TerminalConfig { quiet, verbose, progress, is_report_on_stdout } = *config;
        let outlet = Outlet::new();
        let target = target::target(outlet.handle());
        let bars = Bars::new(target, quiet, progress);
        let (stream, choice) = match is_report_on_stdout {
            true => (Stream::Stderr, AutoStream::choice(&io::stderr())),
            false => (Stream::Stdout, AutoStream::choice(&io::stdout())),
        };
        let has_colours = choice != ColorChoice::Never;
        let (has_panicked, in_session) = (false, false);
        Console { outlet, stream, has_colours, quiet, verbose, bars, has_panicked, in_session }
    }

    /// Prints a line past the bars. Foreign text in it stays on the line, and commands no terminal.
    fn line(&self, text: &str) {
        let mut line = if self.has_colours { text::styled(text) } else { text::line(text) };
        line.push('\n');
        self.bars.suspend(|| self.outlet.write(self.stream, line.as_bytes()));
    }

    /// Prints untrusted text of several lines, indented so that none looks like one of the launcher's own.
    fn lines(&self, text: &str) {
        text.lines().for_each(|line| self.line(&format!("    {}", text::line(line))));
    }

    /// Prints a line that was asked for.
    pub fn say(&self, text: &str) {
        self.line(text);
    }

    /// Shows what keeps the launcher from its work; returns the exit status.
    pub fn refuse(&self, error: &Error) -> u8 {
        let word = if error.verdict() == VerdictKind::Usage { "USAGE" } else { "ERROR" };
        let text = error.to_string();
        let (sentence, details) = text.split_once('\n').unwrap_or((&text, ""));
        self.line(&format!("{BAD}{word}{BAD:#}  {}", text::line(sentence)));
        self.lines(details);
        error.verdict().status()
    }

    /// Prints whether something is as it must be; what is on further lines of `text` goes before.
    pub fn verdict(&mut self, good: bool, text: &str) {
        self.bars.clear();
        let (style, word) = if good { (GOOD, "PASS") } else { (BAD, "FAIL") };
        let (sentence, details) = text.split_once('\n').unwrap_or((text, ""));
        details.lines().for_each(|line| self.line(&text::line(line)));
        self.line(&format!("{style}{word}{style:#}  {}", text::line(sentence)));
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

    /// Shows what the kernel's console writes, as it is.
    fn console(&mut self, bytes: &[u8]) {
        if !self.in_session {
            self.in_session = true;
            self.bars.clear();
        }
        self.outlet.write(self.stream, bytes);
    }

    /// Prints the outcome of a launch, the verdict last. With `--json -`, standard output gets the report only.
    ///
    /// # Errors
    /// The report cannot be written there.
    pub fn finish(&mut self, outcome: &Outcome) -> io::Result<()> {
        self.bars.clear();
        let report = &outcome.report;
        if !self.quiet {
            self.warnings(report);
            self.panic(report);
            self.heap_sites(report);
            self.places(outcome);
            if !self.verbose {
                let kind = report.host.as_ref().map_or("", |host| &host.emulator);
                let title = EmulatorKind::VARIANTS.iter().find(|known| known.name() == kind);
                let title = title.copied().unwrap_or_default().title();
                let said = |line: &str| self.line(&format!("{FAINT}{title}:{FAINT:#} {}", text::line(line)));
                outcome.complaint.lines().for_each(said);
            }
            if self.verbose && !report.interrupts.is_empty() {
                table::interrupts(&report.interrupts).iter().for_each(|line| self.line(line));
            }
            for line in table::summary(report) {
                self.line(&line);
            }
            if let Some(folder) = &outcome.run_dir {
                let page = folder.join(PAGE);
                let shown = text::path(if page.exists() { &page } else { folder });
                self.line(&format!("{FAINT}{}{FAINT:#}", text::line(&shown)));
            }
        }
        let style = match report.verdict {
            VerdictKind::Pass => GOOD,
            VerdictKind::Refused | VerdictKind::Interrupted => WARN,
            _ => BAD,
        };
        let (word, text) = headline::verdict(report);
        // Long output of a tool, and the rest of a panic's message, is printed above, so that the last line is the verdict.
        let (sentence, details) = text.split_once('\n').unwrap_or((&text, ""));
        // Nothing else has what a compiler said of a build that failed.
        let shows_details = !self.quiet || report.verdict == VerdictKind::Error;
        if shows_details && !details.is_empty() && report.panic.is_none() {
            self.lines(details);
        }
        self.line(&format!("{style}{word}{style:#}  {}", text::line(sentence.trim_end_matches(':'))));
        if self.stream == Stream::Stderr {
            self.outlet.write(Stream::Stdout, report.to_json().as_bytes());
            self.outlet.flush()?;
        }
        Ok(())
    }

    fn panic(&self, report: &Report) {
        let Some(panic) = &report.panic else { return };
        let place = panic.place().map(|place| format!(" at {}", text::line(&place)));
        let (sentence, details) = panic.message.split_once('\n').unwrap_or((&panic.message, ""));
        if panic.requested {
            self.line(&format!("{WARN}CPU {}{WARN:#} at the time limit", panic.cpu));
        } else {
            let place = place.unwrap_or_default();
            self.line(&format!("{BAD}CPU {} panicked{BAD:#}{place}: {}", panic.cpu, text::line(sentence)));
            self.lines(details);
        }
        if let Some(stage) = panic.boot_stage() {
            self.line(&format!("    in stage {}", text::line(stage)));
        }
        self.calls(&panic.backtrace);
        if let Some(first) = panic.first() {
            for four in first.registers.chunks(4) {
                let four: Vec<_> = four.iter().map(|(name, value)| format!("{name:<6} {value}")).collect();
                self.line(&text::line(&format!("    {}", four.join("  "))));
            }
            if !first.locks.is_empty() {
                self.line(&text::line(&format!("    holds {}", first.locks.join(", "))));
            }
            if let Some(wait) = &first.wait {
                self.line(&text::line(&format!("    {}", lock_wait_in_words(wait))));
            }
            self.events(&panic.events(first), usize::MAX);
        }
        for (numbers, cpu) in panic.others() {
            let shown = cpus_in_words(&numbers);
            self.line(&format!("{WARN}{shown}{WARN:#} {}", text::line(&cpu.headline())));
            self.calls(&cpu.backtrace);
            // Of several, each has its own; report.json has them.
            self.events(&panic.events(cpu), if numbers.len() == 1 { EVENTS_SHOWN } else { 0 });
        }
        for thread in panic.threads.iter().take(THREADS_SHOWN) {
            self.line(&text::line(&thread.in_words()));
        }
        let more = panic.threads.len().saturating_sub(THREADS_SHOWN);
        if more > 0 {
            self.line(&format!("and {more} more threads; see the report"));
        }
        for context in &panic.contexts {
            for line in &context.lines {
                self.line(&format!("{WARN}{}{WARN:#}: {}", text::line(&context.name), text::line(line)));
            }
        }
    }

    /// The newest trace events; report.json has the others.
    fn events(&self, events: &[&EventReport], most: usize) {
        for event in &events[events.len().saturating_sub(most)..] {
            self.line(&format!("    {:>15} before: {}", event.time_before(), text::line(&event.text)));
        }
    }

    fn calls(&self, frames: &[StackFrame]) {
        for part in folded(frames) {
            match part {
                CallPart::Call(frame) => self.line(&format!("    {}", shown(frame))),
                CallPart::Repeated { .. } | CallPart::Library(_) => self.line(&format!("    {part}")),
            }
        }
    }

    /// The CPUs that did not do what they should. What is wrong with them the kernel has said; here is where they were.
    fn warnings(&self, report: &Report) {
        for warning in report.warnings.iter().filter(|warning| !warning.backtrace.is_empty()) {
            let message = text::line(&warning.message);
            self.line(&format!("{WARN}CPU {}{WARN:#}: {message}, at", warning.cpu));
            if let Some(wait) = &warning.wait {
                self.line(&text::line(&format!("    {}", lock_wait_in_words(wait))));
            }
            self.calls(&warning.backtrace);
        }
    }

    /// Shows which calls have allocated and freed the object of a panic, or have left objects.
    fn heap_sites(&self, report: &Report) {
        for site in report.heap_sites.iter().take(SITES_SHOWN) {
            self.line(&text::line(&site.in_words()));
        }
        let more = report.heap_sites.len().saturating_sub(SITES_SHOWN);
        if more > 0 {
            self.line(&format!("and {more} more call sites of the heap; see the report"));
        }
    }

    /// Shows the places of the CPUs when the run was given up.
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
            self.line(&format!("    no registers: {}", text::line(text)));
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
            part.found.trim().lines().for_each(|line| self.line(&format!("        {}", text::line(line))));
        }
    }
}

impl Observer for Console {
    fn receive(&mut self, message: Message<'_>) {
        self.has_panicked |= matches!(message, Message::Record(Record::Panic(_)));
        match message {
            Message::Console(bytes) if self.quiet => self.console(bytes),
            Message::RawMode => self.outlet.settle(),
            _ if self.quiet => {}
            Message::Step(text) => {
                let told = self.bars.step(text);
                self.tell(told);
            }
            Message::Count { what, done, of, now } => {
                let told = self.bars.count(what, done, of, now);
                self.tell(told);
            }
            Message::Note(text) => self.note(text),
            Message::Tool(text) if self.verbose => self.line(text),
            Message::Kernel(_) if self.has_panicked && !self.verbose => {}
            Message::Kernel(text) => self.line(text),
            Message::Console(_) if self.has_panicked && !self.verbose => {}
            Message::Console(bytes) => self.console(bytes),
            // A bar would stand where people type.
            Message::Progress(_) if self.in_session => {}
            Message::Progress(progress) => {
                let told = self.bars.workload(progress);
                self.tell(told);
            }
            Message::Record(Record::BringUpProgress(BringUpProgress { called, online })) => {
                let told = self.bars.count("CPUs online", (*online).into(), (*called).into(), "");
                self.tell(told);
            }
            Message::Record(Record::Region(region)) if self.verbose => self.line(&region_line(region)),
            // A table at the end shows them.
            Message::Record(Record::Interrupts(_)) => {}
            Message::Record(record) if self.verbose => {
                let text = serde_json::to_string(record).unwrap_or_default();
                self.line(&format!("{FAINT}{text}{FAINT:#}"));
            }
            Message::Tool(_) | Message::Record(_) => {}
        }
    }
}

/// A line of the table of memory.
fn region_line(region: &MemoryRegion<String>) -> String {
    let kib = region.end.saturating_sub(region.start).div_ceil(1024);
    format!("{:#014x}..{:#014x} {kib:>13} KiB  {}", region.start, region.end, text::line(&region.owner))
}

fn shown(frame: &StackFrame) -> String {
    let function = frame.function.as_deref().unwrap_or("(no symbol)");
    let inlined = if frame.inlined { " (inlined)" } else { "" };
    let place = frame.location.as_ref().map(|place| format!("  {place}")).unwrap_or_default();
    text::line(&format!("{} {function}{inlined}{place}", frame.address))
}
